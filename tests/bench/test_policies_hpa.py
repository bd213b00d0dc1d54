"""Kubernetes' HPA as the baselines use it: tables worked out by hand from its rules, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.domain.service import (
    DEFAULT_SCALE_UP,
    Behavior,
    PolicyType,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
)
from pertoken_bench.policies.hpa import Hpa, HpaSettings, PodReadings, by_average, by_pods, by_value, combine

HPA_DOWN = ScalingRules(300, (ScalingPolicy(PolicyType.PERCENT, 100, 15),))  # as Kubernetes documents it


@pytest.mark.parametrize(
    ("current", "readings", "target", "wanted"),
    [
        pytest.param(2, PodReadings([5, 5]), 5, 2, id="on target"),
        pytest.param(2, PodReadings([5.5, 5.5]), 5, 2, id="upper edge of the tolerance"),
        pytest.param(2, PodReadings([4.5, 4.5]), 5, 2, id="lower edge of the tolerance"),
        pytest.param(2, PodReadings([6, 6]), 5, 3, id="2 x 1.2 = 2.4"),
        pytest.param(4, PodReadings([2, 2, 2, 2]), 5, 2, id="4 x 0.4 = 1.6"),
        pytest.param(3, PodReadings([10, 10]), 5, 4, id="ratio times sampled pods, not spec.replicas"),
        # Ratio 3 with two pods that are not ready: (15 + 0 + 0) / 3 = 5, on target: hold.
        pytest.param(3, PodReadings([15], unready=2), 5, 3, id="pods on their way are idle when scaling up"),
        # Ratio 4: (20 + 0 + 0) / 3 / 5 = 1.33, x 3 = 4.
        pytest.param(3, PodReadings([20], unready=2), 5, 4, id="and dampen"),
        # Ratio 2, one missing: (10 + 0) / 2 / 5 = 1: hold.
        pytest.param(2, PodReadings([10], missing=1), 5, 2, id="missing counts as 0 when scaling up"),
        # Ratio 0.2 with one missing: (1 + 1 + 5) / 3 / 5 = 0.467, x 3 = 1.4.
        pytest.param(3, PodReadings([1, 1], missing=1), 5, 2, id="missing counts as on target when scaling down"),
        # Ratio 0.8, unready pods are left out when scaling down: 0.8 x 2 = 1.6.
        pytest.param(4, PodReadings([4, 4], unready=2), 5, 2, id="not ready is left out when scaling down"),
        # Ratio 1.02 with one missing: (10.2 + 0) / 3 / 5 = 0.68: within the tolerance only before the correction.
        pytest.param(3, PodReadings([5.1, 5.1], missing=1), 5, 3, id="missing pods flip a ratio just above 1"),
        # Ratio 1.2, four missing as 0: 6 / 5 / 5 = 0.24: the direction would flip.
        pytest.param(5, PodReadings([6], missing=4), 5, 5, id="a flipped direction holds"),
        # Ratio 1.5 on 2 of 10: 3 < 10 would go against the direction. Nothing is missing, so the plain rule answers 3.
        pytest.param(10, PodReadings([7.5, 7.5]), 5, 3, id="plain rule trusts the samples"),
        # Ratio 2.6: (13 + 0) / 2 / 5 = 1.3, x 2 = 3, fewer than the 6 that are asked for already.
        pytest.param(6, PodReadings([13], missing=1), 5, 6, id="never against the direction"),
        pytest.param(2, PodReadings([], unready=2), 5, None, id="no sample: invalid"),
    ],
)
def test_pods_metric(current, readings, target, wanted):
    assert by_pods(current, readings, target) == wanted


@pytest.mark.parametrize(
    ("current", "total", "target", "wanted"),
    [(2, 40, 16, 3), (2, 35, 16, 2), (2, 28, 16, 2), (10, 11, 1, 10), (11, 12, 1, 11), (10, 12, 1, 12), (0, 5, 5, 1)],
)
def test_average_value(current, total, target, wanted):
    assert by_average(current, total, target) == wanted


@pytest.mark.parametrize(
    ("current", "ready", "value", "target", "wanted"), [(4, 4, 1.05, 1, 4), (4, 3, 2, 1, 6), (0, 0, 3, 2, 2)]
)
def test_value(current, ready, value, target, wanted):
    assert by_value(current, ready, value, target) == wanted


@pytest.mark.parametrize(
    ("current", "proposals", "wanted"),
    [(3, [2, 5], 5), (3, [2, None], None), (3, [4, None], 4), (3, [None, None], None), (3, [3, None], 3)],
)
def test_several_metrics(current, proposals, wanted):
    assert combine(current, proposals) == wanted


def run(
    hpa: Hpa, proposals: list[int], current: int, bounds: tuple[int, int] = (1, 100), step: float = 15.0
) -> list[int]:
    """Replicas after each sync."""
    counts = []
    for number, proposal in enumerate(proposals):
        current = hpa.sync(number * step, current, proposal, bounds)
        counts.append(current)
    return counts


def test_without_behavior_at_most_doubling_and_five_minutes_of_patience():
    hpa = Hpa()
    assert run(hpa, [10, 10, 10], 1) == [4, 8, 10]
    # The greatest recommendation of the last 300 s counts: the one of second 30 ends its reign at second 330.
    low = [hpa.sync(30.0 + 15.0 * n, 10, 2, (1, 100)) for n in range(1, 21)]
    assert low[:19] == [10] * 19
    assert low[19] == 2


def test_default_behavior_doubles_or_adds_four_per_quarter_minute():
    behavior = Behavior(DEFAULT_SCALE_UP, HPA_DOWN)
    assert run(Hpa(HpaSettings(behavior)), [50, 50, 50, 50], 1) == [5, 10, 20, 40]


def test_rate_limit_counts_from_the_start_of_the_period():
    up = ScalingRules(0, (ScalingPolicy(PolicyType.PODS, 1, 60),))
    hpa = Hpa(HpaSettings(Behavior(up, HPA_DOWN)))
    assert run(hpa, [9] * 9, 2) == [3, 3, 3, 3, 4, 4, 4, 4, 5]


def test_rate_limit_adds_up_every_change_of_its_period():
    up = ScalingRules(0, (ScalingPolicy(PolicyType.PODS, 3, 60),))
    hpa = Hpa(HpaSettings(Behavior(up, HPA_DOWN)))
    # One pod each at seconds 0, 15 and 30 use up the three of the minute; the first is free again after second 60.
    assert run(hpa, [3, 4, 5, 9, 9, 9, 9], 2) == [3, 4, 5, 5, 6, 7, 8]


def test_removals_of_a_period_widen_what_may_be_added():
    rules = ScalingRules(0, (ScalingPolicy(PolicyType.PODS, 2, 60),))
    hpa = Hpa(HpaSettings(Behavior(rules, rules)))
    # Two removed at second 0: the period began with six, so eight are allowed at second 15.
    assert run(hpa, [4, 9], 6) == [4, 8]


def test_scale_down_one_pod_per_two_minutes_after_its_window():
    down = ScalingRules(180, (ScalingPolicy(PolicyType.PODS, 1, 120),))
    hpa = Hpa(HpaSettings(Behavior(DEFAULT_SCALE_UP, down)))
    outcome = run(hpa, [5] + [1] * 24, 5)
    # The first recommendation (5 at second 0) holds to second 165; then one pod at 180 and 300.
    assert outcome[:12] == [5] * 12
    assert outcome[12:20] == [4] * 8
    assert outcome[20:25] == [3] * 5


def test_up_window_takes_the_least_recommendation():
    up = ScalingRules(30, (ScalingPolicy(PolicyType.PERCENT, 100, 15),))
    assert run(Hpa(HpaSettings(Behavior(up, HPA_DOWN))), [8, 3, 8, 8, 8], 2) == [2, 2, 3, 6, 8]


@pytest.mark.parametrize(
    ("select", "wanted"), [(SelectPolicy.MAX, 8), (SelectPolicy.MIN, 5), (SelectPolicy.DISABLED, 4)]
)
def test_selection_of_policies(select, wanted):
    policies = (ScalingPolicy(PolicyType.PERCENT, 100, 60), ScalingPolicy(PolicyType.PODS, 1, 60))
    hpa = Hpa(HpaSettings(Behavior(ScalingRules(0, policies, select), HPA_DOWN)))
    assert hpa.sync(0.0, 4, 50, (1, 100)) == wanted


def test_zero_is_off_and_bounds_are_taken_at_once():
    assert Hpa().sync(0.0, 0, 5, (1, 10)) == 0
    assert Hpa().sync(0.0, 12, 12, (1, 10)) == 10
    assert Hpa().sync(0.0, 1, 1, (3, 10)) == 3
    assert Hpa().sync(0.0, 4, None, (1, 10)) == 4


proposals = st.lists(st.integers(0, 60), min_size=1, max_size=60)
behaviors = st.sampled_from(
    [
        None,
        Behavior(DEFAULT_SCALE_UP, HPA_DOWN),
        Behavior(ScalingRules(30, (ScalingPolicy(PolicyType.PODS, 2, 60),)), HPA_DOWN),
    ]
)


@given(proposals, st.integers(1, 30), behaviors)
def test_stays_within_bounds_and_between_current_and_extreme_proposals(series, start, behavior):
    hpa, current = Hpa(HpaSettings(behavior)), start
    seen = [start]
    for number, proposal in enumerate(series):
        after = hpa.sync(15.0 * number, current, proposal, (1, 40))
        seen.append(proposal)
        assert 1 <= after <= 40
        assert min(*seen, current) <= after or after == 1
        assert after <= max(*seen, current)
        current = after


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.integers(0, 10), st.integers(0, 10))
def test_pods_that_do_not_answer_only_ever_move_the_answer_towards_now(values, unready, missing):
    current = len(values) + unready + missing
    full = by_pods(len(values), PodReadings(values), 5.0)
    part = by_pods(current, PodReadings(values, unready, missing), 5.0)
    assert full is not None
    assert part is not None
    if sum(values) / len(values) / 5.0 > 1.0 and (unready or missing):
        assert part <= max(full, current)
    if unready == missing == 0:
        assert part == full
