"""Stage `decide`: final replicas, and the actions that bring them about."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import NOW, Variant, assessment, proposal, settlement

from pertoken.domain.plan import EvictPod, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.planner.assessment import Grade
from pertoken.planner.decide import decide
from pertoken.planner.memory import Roll
from pertoken.planner.proposal import Stance, Status
from pertoken.planner.settlement import NO_ACTIONS, RollStep

EVICTION = EvictPod(None, "a100", None, "uid-a100-0", Reason.BATCH_CHANGE_ROLLING, "")
RECOMMEND = Stance(Reason.RECOMMENDING)


def decided(variant, wants, *, roll=None, **work):
    item = settlement(proposal(variant, wants=[wants], **work))
    if roll is not None:
        item = item.with_variants([replace(item.variants[0], roll=roll)])
    return decide(item)


@pytest.mark.parametrize(
    ("replicas", "wants", "work", "count"),
    [
        (2, 4, {}, 4),
        (4, 2, {}, 2),
        (4, 2, {"grade": Grade.UP_ONLY}, 4),
        (4, 2, {"grade": Grade.PANIC}, 4),
        (4, 2, {"grade": Grade.UP_ONLY, "status": Status.GIVEN_UP}, 2),
        (2, 4, {"grade": Grade.UP_ONLY}, 4),
        (4, 4, {"grade": Grade.HOLD, "status": Status.HELD}, 4),
    ],
    ids=[
        "up",
        "down",
        "metrics allow no fall",
        "nor in panic",
        "but what is given up goes",
        "a rise is allowed",
        "held",
    ],
)
def test_final_counts(replicas, wants, work, count):
    settled = decided(Variant(replicas=replicas), wants, **work)

    assert settled.variants[0].replicas == count
    assert [step.after for step in settled.trace if step.stage == "decide"] == ([str(count)] if count != wants else [])


def test_a_lowered_maximum_holds_whatever_is_measured():
    lowered = Variant(variant_spec(max_replicas=3), replicas=6)

    assert decided(lowered, 5, grade=Grade.PANIC).variants[0].replicas == 5


@pytest.mark.parametrize(
    ("wants", "status", "most", "count", "reason"),
    [
        (2, Status.FREE, 10, 3, Reason.BATCH_CHANGE_ROLLING),
        (5, Status.FREE, 10, 5, Reason.AT_DESIRED),
        (2, Status.HELD, 10, 2, Reason.AT_DESIRED),
        (2, Status.FREE, 2, 2, Reason.BATCH_CHANGE_ROLLING),
    ],
    ids=["its extra replica", "demand takes it", "held without metrics", "never above the maximum"],
)
def test_a_roll_keeps_its_floor(wants, status, most, count, reason):
    rolling = RollStep(Roll(NOW, 2, surge=True), floor=3)
    settled = decided(Variant(variant_spec(max_replicas=most)), wants, roll=rolling, status=status)

    assert (settled.variants[0].replicas, settled.variants[0].reason) == (count, reason)


@pytest.mark.parametrize(
    ("wants", "roll", "places"),
    [
        (4, RollStep(), ("ups",)),
        (1, RollStep(), ("downs",)),
        (2, RollStep(), ()),
        (2, RollStep(action=EVICTION), ("batch",)),
        (1, RollStep(action=EVICTION), ("batch", "batch")),
        (4, RollStep(action=EVICTION), ("batch", "ups")),
    ],
    ids=["up", "down", "none", "roll", "the evicted pod is the one to go", "up during a roll"],
)
def test_actions(wants, roll, places):
    actions = decided(Variant(), wants, roll=roll).actions
    planned = [place for place in ("batch", "downs", "ups") for _ in getattr(actions, place)]

    assert tuple(planned) == places


def test_an_action_says_what_it_changes_and_why():
    (action,) = decided(Variant(workload={"resource_version": "7"}), 4).actions.ups

    assert isinstance(action, SetReplicas)
    assert (action.current, action.desired, action.resource_version) == (2, 4, "7")
    assert str(action.target) == "Deployment llm/chat-a100"
    assert "2 -> 4 replicas: AtDesired" in action.message


@pytest.mark.parametrize("stance", [RECOMMEND, Stance(conflict=Reason.FOREIGN_AUTOSCALER)])
def test_who_does_not_act_decides_and_does_nothing(stance):
    settled = decided(Variant(), 4, stance=stance)

    assert settled.variants[0].replicas == 4
    assert settled.actions == NO_ACTIONS


def test_reclaimed_replicas_go_whatever_is_measured():
    item = settlement(replace(proposal(Variant(replicas=4)), assessment=assessment(Grade.PANIC)))
    lost = replace(item.variants[0], replicas=3, status=Status.GIVEN_UP, reason=Reason.RECLAIMED_FOR_PRIORITY)

    assert decide(item.with_variants([lost])).variants[0].replicas == 3
