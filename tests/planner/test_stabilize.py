"""Stage `stabilize`: windows and rates with the meaning that they have in HPA v2, and where the stage applies them."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import NOW, Variant, proposal

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy
from pertoken.domain.trace import Limit
from pertoken.planner.assessment import Grade
from pertoken.planner.hpa_rules import ScalingHistory, hold_back, limit_rate
from pertoken.planner.memory import Change, PastRecommendation, VariantMemory
from pertoken.planner.proposal import SizingFigures, Stance, Status
from pertoken.planner.stabilize import Window, resolved, stabilize
from pertoken.planner.tuning import TUNING


def rules(window=0, *policies, select=SelectPolicy.MAX):
    return ScalingRules(window, policies, select)


PODS2 = ScalingPolicy(PolicyType.PODS, 2, 60)


DOWN_300 = Behavior(scale_down=ScalingRules(300, (ScalingPolicy(PolicyType.PERCENT, 100, 15),)))


HALF = ScalingPolicy(PolicyType.PERCENT, 50, 60)


@pytest.mark.parametrize(
    ("wanted", "current", "policies", "select", "changes", "expected"),
    [
        (9, 4, (PODS2, HALF), SelectPolicy.MAX, (), 6),
        (9, 10, (PODS2,), SelectPolicy.MAX, (), 9),
        (9, 4, (PODS2,), SelectPolicy.MAX, ((-10, 2),), 4),
        (9, 4, (PODS2,), SelectPolicy.MAX, ((-61, 2),), 6),
        (9, 8, (ScalingPolicy(PolicyType.PERCENT, 100, 60), PODS2), SelectPolicy.MIN, (), 9),
        (20, 8, (ScalingPolicy(PolicyType.PERCENT, 100, 60), PODS2), SelectPolicy.MIN, (), 10),
        (9, 4, (PODS2,), SelectPolicy.DISABLED, (), 4),
        (3, 0, (HALF,), SelectPolicy.MAX, (), 1),
        (9, 4, (), SelectPolicy.MAX, (), 4),
    ],
    ids=[
        "wider of two", "down is another rule", "used up", "period over", "min", "min binds", "disabled", "from zero",
        "no policy",
    ],
)  # fmt: skip
def test_scale_up_policies(wanted, current, policies, select, changes, expected):
    behavior = Behavior(rules(0, *policies, select=select), rules(0, ScalingPolicy(PolicyType.PERCENT, 100, 15)))
    history = ScalingHistory(0.0, (), tuple(Change(1000.0 + at, delta) for at, delta in changes))

    assert limit_rate(wanted, current, behavior, history, 1000.0).replicas == expected


@pytest.mark.parametrize(
    ("wanted", "policies", "select", "changes", "expected"),
    [
        (1, (PODS2, HALF), SelectPolicy.MAX, (), 4),
        (1, (PODS2, HALF), SelectPolicy.MIN, (), 6),
        (1, (PODS2,), SelectPolicy.MAX, ((-10, -1),), 7),
        (1, (PODS2,), SelectPolicy.DISABLED, (), 8),
        (7, (PODS2,), SelectPolicy.MAX, (), 7),
    ],
    ids=["wider of two", "narrower of two", "partly used", "disabled", "within"],
)
def test_scale_down_policies(wanted, policies, select, changes, expected):
    behavior = Behavior(rules(0, PODS2), rules(0, *policies, select=select))
    history = ScalingHistory(0.0, (), tuple(Change(1000.0 + at, delta) for at, delta in changes))
    limited = limit_rate(wanted, 8, behavior, history, 1000.0)

    assert limited.replicas == expected
    assert (limited.reason is None) == (expected == wanted)


@pytest.mark.parametrize(
    ("wanted", "since", "past", "expected"),
    [
        (2, 0.0, ((-100, 4),), 4),
        (2, 0.0, ((-301, 4), (-10, 3)), 3),
        (2, 0.0, (), 2),
        (2, 800.0, (), 5),
        (2, 0.0, ((-10, 9),), 5),
        (7, 900.0, ((-10, 3),), 7),
    ],
    ids=[
        "highest of the window", "old ones are forgotten", "no history", "window not watched yet", "never up",
        "up at once",
    ],
)  # fmt: skip
def test_stabilization(wanted, since, past, expected):
    history = ScalingHistory(since, tuple(PastRecommendation(1000.0 + at, count) for at, count in past))

    assert hold_back(wanted, 5, DOWN_300, history, 1000.0).replicas == expected


@pytest.mark.parametrize(
    ("given", "stay", "window", "policy"),
    [
        (Behavior(), Window(170.2, 0.0, proven=True), 69, (50, 171)),
        (Behavior(), Window(170.2, 1.0, proven=True), 171, (50, 171)),
        (Behavior(), Window(500.0, 1.0, proven=True), 500, (50, 500)),
        (Behavior(), Window(170.2, 0.0, proven=False), 300, (50, 171)),
        (Behavior(), Window(600.0, 1.0, proven=False), 600, (50, 600)),
        (DOWN_300, Window(60.0, 0.0, proven=True), 300, (100, 15)),
    ],
    ids=[
        "a part of a start-up",
        "all of it where requests are long",
        "as long as a late one",
        "five minutes until forecasts are proven",
        "slow starters",
        "what is said stands",
    ],
)
def test_scaling_down_takes_its_time_from_the_start_up_unless_it_is_said(given, stay, window, policy):
    behavior = resolved(given, stay, TUNING).scale_down

    assert behavior.window == window
    assert [(policy.value, policy.period_seconds) for policy in behavior.policies] == [policy]


def test_an_up_window_takes_the_lowest():
    behavior = replace(Behavior(), scale_up=rules(60, PODS2))
    history = ScalingHistory(0.0, (PastRecommendation(970.0, 6), PastRecommendation(985.0, 9)))

    assert hold_back(9, 5, behavior, history, 1000.0).replicas == 6


# -- the stage ---------------------------------------------------------------------------------------------------

AT_ONCE = Behavior(scale_down=rules(0, ScalingPolicy(PolicyType.PERCENT, 100, 15)))
ONE_BY_ONE = Behavior(rules(0, ScalingPolicy(PolicyType.PODS, 1, 60)), rules(0, ScalingPolicy(PolicyType.PODS, 1, 60)))


def stabilized(replicas, wants, behavior=AT_ONCE, *, least=1, most=20, memory=None, remembered=None, **work):
    spec = variant_spec(min_replicas=least, max_replicas=most)
    variant = Variant(spec, replicas=replicas, memory=memory or VariantMemory())
    after = stabilize(proposal(variant, wants=[wants], behavior=behavior, memory=remembered, **work))
    only = after.variants[0]
    return only.replicas, only.reason, only.status, after.trace


@pytest.mark.parametrize(
    ("replicas", "wants", "behavior", "memory", "expected"),
    [
        (2, 2, AT_ONCE, {}, (2, Reason.AT_DESIRED, Status.FREE)),
        (2, 4, AT_ONCE, {}, (4, Reason.AT_DESIRED, Status.FREE)),
        (2, 4, ONE_BY_ONE, {}, (3, Reason.SCALE_UP_LIMITED, Status.FREE)),
        (4, 2, AT_ONCE, {}, (2, Reason.AT_DESIRED, Status.FREE)),
        (4, 2, ONE_BY_ONE, {}, (3, Reason.SCALE_DOWN_LIMITED, Status.LAGGING)),
        (
            4,
            2,
            DOWN_300,
            {"recommendations": (PastRecommendation(NOW - 60.0, 4),)},
            (4, Reason.STABILIZED, Status.LAGGING),
        ),
        (
            4,
            2,
            DOWN_300,
            {"recommendations": (PastRecommendation(NOW - 60.0, 3),)},
            (3, Reason.STABILIZED, Status.LAGGING),
        ),
        (
            4,
            2,
            DOWN_300,
            {"recommendations": (PastRecommendation(NOW - 301.0, 4),)},
            (2, Reason.AT_DESIRED, Status.FREE),
        ),
        (4, 2, ONE_BY_ONE, {"changes": (Change(NOW - 30.0, -1),)}, (4, Reason.SCALE_DOWN_LIMITED, Status.LAGGING)),
    ],
    ids=[
        "stays",
        "up",
        "up by a rate",
        "down",
        "down by a rate",
        "held by the window",
        "held in part",
        "the window is over",
        "the rate is used up",
    ],
)
def test_a_count_moves_as_fast_as_it_may(replicas, wants, behavior, memory, expected):
    after = stabilized(replicas, wants, behavior, memory=VariantMemory(**memory))

    count, reason, _ = expected
    assert after[:3] == expected
    assert [(step.before, step.after, step.reason) for step in after[3]] == (
        [] if reason is Reason.AT_DESIRED else [(str(wants), str(count), reason)]
    )


def test_only_what_keeps_replicas_back_from_rising_limits_scaling():
    up, down = stabilized(2, 4, ONE_BY_ONE)[3], stabilized(4, 2, ONE_BY_ONE)[3]

    assert up[0].detail == Limit("the scale-up policy allows 3 now, 4 are needed")
    assert not isinstance(down[0].detail, Limit)


def test_nothing_goes_before_a_window_has_been_watched():
    assert stabilized(4, 2, DOWN_300, remembered={"seen_since": NOW - 299.0})[0] == 4
    assert stabilized(4, 2, DOWN_300, remembered={"seen_since": NOW - 300.0})[0] == 2


@pytest.mark.parametrize(
    ("grade", "wants", "behavior", "count", "reason", "status"),
    [
        (Grade.PANIC, 6, replace(AT_ONCE, scale_up=rules(60, PODS2)), 4, Reason.SCALE_UP_LIMITED, Status.FREE),
        (Grade.PANIC, 2, AT_ONCE, 2, Reason.AT_DESIRED, Status.FREE),
        (Grade.PANIC, 1, AT_ONCE, 2, Reason.QUEUE_BACKLOG, Status.FREE),
        (Grade.UP_ONLY, 1, AT_ONCE, 2, Reason.METRICS_WARMING_UP, Status.LAGGING),
        (Grade.UP_ONLY, 4, AT_ONCE, 4, Reason.AT_DESIRED, Status.FREE),
    ],
    ids=["panic skips the window", "panic stays", "panic never falls", "up only never falls", "up only rises"],
)
def test_what_metrics_allow_comes_before_rates(grade, wants, behavior, count, reason, status):
    lower = VariantMemory(recommendations=(PastRecommendation(NOW - 15.0, 2),))

    assert stabilized(2, wants, behavior, grade=grade, memory=lower)[:3] == (count, reason, status)


@pytest.mark.parametrize(
    ("behavior", "count", "status"),
    [
        (Behavior(), 0, Status.IDLE),
        (ONE_BY_ONE, 3, Status.LAGGING),
        (Behavior(scale_down=ScalingRules(300, ())), 4, Status.LAGGING),
    ],
    ids=["at once", "by the user's rate", "by the user's window"],
)
def test_an_idle_service_has_waited_for_its_idle_time_already(behavior, count, status):
    busy = VariantMemory(recommendations=(PastRecommendation(NOW - 250.0, 4),) if behavior != Behavior() else ())
    after = stabilized(4, 0, behavior, least=0, status=Status.IDLE, memory=busy)

    assert (after[0], after[2]) == (count, status)


@pytest.mark.parametrize(
    ("behavior", "wants", "count", "reason", "status"),
    [
        (AT_ONCE, 8, 3, Reason.AT_MAXIMUM, Status.FREE),
        (ONE_BY_ONE, 8, 7, Reason.SCALE_DOWN_LIMITED, Status.LAGGING),
        (ONE_BY_ONE, 1, 7, Reason.SCALE_DOWN_LIMITED, Status.LAGGING),
    ],
    ids=["at once", "by the rate", "by the rate whatever is needed"],
)
@pytest.mark.parametrize("grade", [Grade.UP_ONLY, Grade.NORMAL, Grade.PANIC])
def test_a_lowered_maximum_is_reached_whatever_is_needed(behavior, wants, count, reason, status, grade):
    after = stabilized(8, wants, behavior, most=3, grade=grade)

    assert after[:3] == (count, reason, status)
    assert after[3][0].detail.words.startswith("maxReplicas of a100 is 3: 8 replicas come down")


@pytest.mark.parametrize(("trust", "window"), [(TUNING.stabilization.proven_trust, 66), (0.0, 300)])
def test_the_behaviour_is_resolved_by_what_forecasts_are_worth(trust, window):
    asked = replace(proposal(behavior=Behavior()), sizing=SizingFigures(trust=trust))

    assert stabilize(asked).behavior.scale_down.window == window


@pytest.mark.parametrize("work", [{"grade": Grade.HOLD}, {"stance": Stance(Reason.SWITCHED_OFF, off=True)}])
def test_what_is_not_planned_is_left_alone(work):
    assert stabilized(8, 8, ONE_BY_ONE, most=3, **work)[:3] == (8, Reason.AT_DESIRED, Status.FREE)
