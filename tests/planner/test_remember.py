"""Stage `remember`: what the next cycle must know of this one's decision."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import NOW, Variant, proposal, settlement

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules
from pertoken.planner.assessment import Grade
from pertoken.planner.memory import Change, Command, Delivered, PastRecommendation, Roll, Utilization, VariantMemory
from pertoken.planner.proposal import SizingFigures, Stance
from pertoken.planner.remember import remember
from pertoken.planner.settlement import RollStep
from pertoken.planner.tuning import TUNING

RATE = ScalingPolicy(PolicyType.PODS, 4, 60)
RULES = Behavior(ScalingRules(0, (RATE,)), ScalingRules(300, (RATE,)))
RECOMMEND = Stance(Reason.RECOMMENDING)


def remembered(wants=2, *, memory=None, late=False, roll=None, sizing=None, service=None, **work):
    """The service's memory after a decision on two replicas."""
    variant = Variant(memory=memory or VariantMemory(), workload={"replicas_manager": "kubectl"})
    asked = replace(proposal(variant, wants=[wants], memory=service, **work), behavior=RULES)
    asked = asked.with_variants([replace(variant, late=late) for variant in asked.variants])
    item = settlement(asked if sizing is None else replace(asked, sizing=sizing))
    if roll is not None:
        item = item.with_variants([replace(item.variants[0], roll=roll)])
    return remember(item)


def of_variant(*args, **kwargs):
    return remembered(*args, **kwargs).variants["a100"]


def test_what_was_commanded():
    kept = of_variant(4)

    assert kept.command == Command(NOW, 2, 4, "kubectl", "1")
    assert kept.changes == (Change(NOW, 2),)
    assert of_variant(2).command is None
    assert of_variant(1).changes == (Change(NOW, -1),)


def test_who_does_not_act_has_commanded_nothing():
    kept = of_variant(4, stance=RECOMMEND)

    assert (kept.command, kept.changes) == (None, ())
    assert kept.recommendations == (PastRecommendation(NOW, 4),)


@pytest.mark.parametrize(("grade", "told"), [(Grade.HOLD, False), (Grade.UP_ONLY, True), (Grade.NORMAL, True)])
def test_what_was_recommended_while_metrics_told_something(grade, told):
    kept = of_variant(3, grade=grade)

    assert kept.recommendations == ((PastRecommendation(NOW, 3),) if told else ())


def test_what_no_window_can_ask_for_any_more_is_forgotten():
    memory = VariantMemory(
        recommendations=(PastRecommendation(NOW - 301.0, 9), PastRecommendation(NOW - 300.0, 8)),
        changes=(Change(NOW - 60.0, 1), Change(NOW - 59.0, 1)),
    )
    kept = of_variant(2, memory=memory)

    assert kept.recommendations == (PastRecommendation(NOW - 300.0, 8), PastRecommendation(NOW, 2))
    assert kept.changes == (Change(NOW - 59.0, 1),)


@pytest.mark.parametrize(
    ("late", "wants", "at"),
    [(True, 3, NOW), (True, 2, 5.0), (False, 3, 5.0)],
    ids=["added", "not granted", "by demand"],
)
def test_when_latency_added_a_replica(late, wants, at):
    assert of_variant(wants, late=late, memory=VariantMemory(fed_back_at=5.0)).fed_back_at == at


def test_a_roll_and_a_cap_that_failed():
    roll = Roll(NOW, 2, surge=False)
    kept = of_variant(roll=RollStep(roll, blocked=96))

    assert (kept.roll, kept.blocked_cap) == (roll, 96)
    assert kept.blocked_until == NOW + TUNING.cap.block_intervals * 1800.0
    assert of_variant(roll=RollStep(roll), stance=RECOMMEND).roll is None


def test_who_took_changes_back_is_left_alone_for_a_while():
    reverts = VariantMemory(reverts=(NOW - 3.0, NOW - 2.0, NOW - 1.0))
    stance = Stance(conflict=Reason.CONFLICTING_MANAGER, conflict_words="argocd did", taken_back=True)
    kept = remembered(memory=reverts, stance=stance)
    later = remembered(stance=stance, service={"conflicted_until": NOW + 9.0, "conflict": "argocd did"})

    assert (kept.conflicted_until, kept.conflict) == (NOW + TUNING.rails.hands_off_seconds, "argocd did")
    assert kept.variants["a100"].reverts == ()  # they count once
    assert later.conflicted_until == NOW + 9.0


def test_utilizations():
    old, lately = Utilization(NOW - TUNING.estimate.utilization_kept - 1.0, 0.3), Utilization(NOW - 15.0, 0.4)
    told = SizingFigures(utilization=0.81236)

    assert remembered(service={"utilizations": (old, lately)}, sizing=told).utilizations == (
        lately,
        Utilization(NOW, 0.8124),
    )
    assert remembered(service={"utilizations": (lately,)}).utilizations == (lately,)
    at_once = Utilization(NOW - 1.0, 0.4)
    assert remembered(service={"utilizations": (at_once,)}, sizing=told).utilizations == (at_once,)


def test_what_full_replicas_delivered():
    shown = Delivered("k", 0.7, NOW)

    assert of_variant(sizing=SizingFigures(delivered={"a100": shown})).delivered == shown
    assert of_variant(memory=VariantMemory(delivered=shown)).delivered == shown


def test_a_variant_whose_target_is_gone_for_a_moment_is_not_forgotten():
    asked = proposal(Variant(), Variant(variant_spec(name="b"), memory=VariantMemory(start_seconds=77.0)))
    state = replace(asked.state, variants=asked.state.variants[:1], missing=(("b", None),))
    kept = remember(settlement(replace(asked, state=state, variants=asked.variants[:1])))

    assert kept.variants["b"].start_seconds == 77.0
