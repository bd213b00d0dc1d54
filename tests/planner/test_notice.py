"""Stage `notice`: what others did to the workloads, and whether decisions are carried out."""

import pytest
from lab import variant_spec
from states import NOW, Variant, pod, service_state

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.planner.memory import Command, VariantMemory
from pertoken.planner.notice import notice
from pertoken.planner.proposal import Stance, Status, begun

COMMAND = Command(NOW - 15.0, 2, 4, "kubectl", "1")


def noticed(*variants, **state):
    return notice(begun(service_state(*variants, **state)))


def variant_memory(*variants, **state):
    return noticed(*variants, **state).state.variants[0].memory


@pytest.mark.parametrize(
    ("spec", "stance"),
    [
        ({}, Stance()),
        ({"mode": Mode.RECOMMEND}, Stance(Reason.RECOMMENDING)),
        ({"mode": Mode.OFF}, Stance(Reason.SWITCHED_OFF, off=True)),
        ({"paused": True}, Stance(Reason.PAUSED)),
        ({"paused": True, "mode": Mode.RECOMMEND}, Stance(Reason.PAUSED)),
        ({"paused": True, "mode": Mode.OFF}, Stance(Reason.SWITCHED_OFF, off=True)),
    ],
    ids=["auto", "recommend", "off", "paused", "paused and recommend", "paused and off"],
)
def test_what_the_user_said(spec, stance):
    given = noticed(**spec).stance

    assert given == stance
    assert given.acts == (stance == Stance())


def test_a_foreign_autoscaler_is_named_and_means_hands_off():
    stance = noticed(Variant(workload={"foreign_autoscaler": "HorizontalPodAutoscaler llm/mine"})).stance

    assert (stance.conflict, stance.acts, stance.taken_back) == (Reason.FOREIGN_AUTOSCALER, False, False)
    assert stance.conflict_words == "HorizontalPodAutoscaler llm/mine scales Deployment llm/chat-a100"


@pytest.mark.parametrize(
    "told",
    [
        {"workload": {"foreign_autoscaler": "ScaledObject llm/mine"}},
        {"memory": VariantMemory(reverts=(NOW, NOW, NOW)), "workload": {"replicas_manager": "keda"}},
    ],
    ids=["autoscaler", "taken back"],
)
@pytest.mark.parametrize(("paused", "why"), [(False, Reason.RECOMMENDING), (True, Reason.PAUSED)])
def test_what_only_recommends_is_in_conflict_with_nobody(told, paused, why):
    memory = {"conflicted_until": NOW + 1.0, "conflict": "argocd took back 3 changes"}
    stance = noticed(Variant(**told), mode=Mode.RECOMMEND, paused=paused, memory=memory).stance
    words = "ScaledObject llm/mine scales Deployment llm/chat-a100" if "memory" not in told else ""

    assert stance == Stance(why, conflict_words=words)


@pytest.mark.parametrize(
    ("ages", "conflict"),
    [((10.0, 20.0), None), ((10.0, 20.0, 30.0), Reason.CONFLICTING_MANAGER), ((10.0, 20.0, 601.0), None)],
    ids=["two", "three", "three, one long ago"],
)
def test_three_changes_taken_back_in_ten_minutes_are_a_conflict(ages, conflict):
    memory = VariantMemory(reverts=tuple(NOW - age for age in ages))
    stance = noticed(Variant(memory=memory, workload={"replicas_manager": "argocd"})).stance

    assert stance.conflict is conflict
    assert stance.taken_back == (conflict is not None)
    assert ("argocd took back 3 changes" in stance.conflict_words) == (conflict is not None)


@pytest.mark.parametrize(("until", "acts"), [(NOW + 1.0, False), (NOW, True)])
def test_hands_stay_off_for_the_time_that_was_said(until, acts):
    stance = noticed(memory={"conflicted_until": until, "conflict": "argocd took back 3 changes"}).stance

    assert stance.acts == acts
    assert stance.conflict_words == ("" if acts else "argocd took back 3 changes")


@pytest.mark.parametrize(
    ("replicas", "workload", "applied", "command", "reverts"),
    [
        (4, {}, False, True, 0),
        (2, {"replicas_manager": "kubectl"}, False, True, 0),
        (2, {"replicas_manager": "argocd", "resource_version": "2"}, False, False, 1),
        (2, {"replicas_manager": "argocd", "resource_version": "1"}, False, True, 0),
        (2, {"replicas_manager": "argocd"}, True, False, 1),
        (3, {"replicas_manager": "pertoken-scaler"}, True, False, 0),
        (3, {}, True, False, 0),
    ],
    ids=[
        "is there",
        "not there yet",
        "another manager wrote since",
        "nobody wrote since",
        "was there and is not",
        "pertoken itself",
        "by nobody known",
    ],
)
def test_what_was_commanded_is_compared_with_what_is_there(replicas, workload, applied, command, reverts):
    memory = VariantMemory(command=Command(NOW - 15.0, 2, 4, "kubectl", "1", applied))
    kept = variant_memory(Variant(replicas=replicas, memory=memory, workload=workload))

    assert (kept.command is not None) == command
    assert kept.reverts == (NOW,) * reverts
    assert kept.command is None or kept.command.applied == (replicas == 4)


@pytest.mark.parametrize(
    ("replicas", "pods", "workload", "absent", "refusal"),
    [
        (2, 2, {}, None, ""),
        (3, 2, {"failure": "exceeded quota"}, None, "exceeded quota"),
        (2, 2, {"failure": "exceeded quota"}, None, ""),
        (3, 2, {}, NOW - 30.0, ""),
        (3, 2, {}, NOW - 60.0, "1 have no pod for 60 s"),
    ],
    ids=["all there", "refused in words", "old words", "missing for a moment", "missing for long"],
)
def test_replicas_that_nobody_creates(replicas, pods, workload, absent, refusal):
    serving = [pod(f"a100-{index}") for index in range(pods)]
    variant = Variant(replicas=replicas, pods=serving, workload=workload, memory=VariantMemory(absent_since=absent))
    variant_state = noticed(variant).state.variants[0]

    assert variant_state.refusal.startswith(refusal)
    assert bool(variant_state.refusal) == bool(refusal)


def test_pods_on_their_way_explain_the_missing_ones():
    pods = [pod("a100-0"), pod("a100-1", served=None)]
    variant_state = noticed(
        Variant(replicas=3, pods=pods, memory=VariantMemory(absent_since=NOW - 600.0))
    ).state.variants[0]

    assert (variant_state.refusal, variant_state.memory.absent_since) == ("", None)


def test_nothing_moves_yet():
    proposal = noticed(Variant(replicas=3), Variant(variant_spec(name="dear")))

    assert [(variant.replicas, variant.status) for variant in proposal.variants] == [(3, Status.HELD), (2, Status.HELD)]
