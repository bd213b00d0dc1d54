import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.forecast.slo_knee import Aim, KneeEvidence, SloKnee, expected_share, learn
from pertoken.forecast.slo_knee import work_to_carry as work_for
from pertoken.forecast.tuning import KNEE
from pertoken.units import HALVINGS

P = 95
CYCLE = 15.0


def work_to_carry(cases, percentile, aim):
    return work_for(cases, Aim(percentile, aim))


def kept(utilization, share, seconds=CYCLE):
    """A cycle of a service with four requests per second."""
    return KneeEvidence(utilization, share, seconds, 4.0 * seconds)


def cycles(knee, seen, count=400):
    for _ in range(count):
        knee = learn(knee, seen, P)
    return knee


def share(utilization, knee):
    return float(expected_share(utilization / knee, P))


def test_exactly_the_percentile_is_kept_at_the_edge_and_less_beyond():
    assert expected_share(1.0, P) == pytest.approx(0.95)
    assert expected_share(1.1, P) == pytest.approx(0.77, abs=0.01)
    assert expected_share(0.8, P) > 0.999


@pytest.mark.parametrize("apart", [0.0, 0.03])
@pytest.mark.parametrize("truth", [0.75, 0.9, 1.1])
def test_the_edge_is_found_from_shares_near_it_beside_misses_that_no_load_explains(truth, apart):
    knee = SloKnee()
    for part in (0.5, 0.8, 0.95, 1.0, 0.9) * 80:  # traffic that comes and goes
        knee = learn(knee, kept(part * truth, (1.0 - apart) * share(part * truth, truth)), P)

    assert knee.value == pytest.approx(truth, rel=0.03)
    assert knee.apart == pytest.approx(apart, abs=0.015)


def test_misses_at_little_load_are_not_for_more_replicas_to_mend():
    learnt = cycles(SloKnee(), kept(0.3, 0.9))

    assert learnt.value == pytest.approx(KNEE.prior, abs=1e-3)
    assert learnt.apart == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("lately", "now", "falls"),
    [(0.1, 0.9, True), (0.01, 0.9, False), (0.1, 0.97, False)],
    ids=["owes", "within the budget", "nothing missed any more"],
)
def test_misses_below_the_knee_lower_it_only_while_more_is_missed_than_allowed(lately, now, falls):
    learnt = cycles(SloKnee(), KneeEvidence(0.5, now, CYCLE, 60.0, lately), 40)

    assert (learnt.value < KNEE.prior - 0.1) is falls


def test_an_idle_service_teaches_nothing_of_the_edge():
    assert learn(SloKnee(), kept(0.0, 1.0), P).value == KNEE.prior


def test_all_kept_at_moderate_load_says_nothing_but_near_the_edge_it_raises_it():
    assert cycles(SloKnee(0.9), kept(0.7, 1.0)).value == pytest.approx(0.9, abs=0.02)
    assert cycles(SloKnee(0.9), kept(0.95, 1.0)).value > 0.97


def test_all_missed_far_beyond_the_edge_does_not_raise_it():
    assert cycles(SloKnee(0.8), kept(1.5, 0.0)).value < KNEE.prior


def test_one_cycle_moves_little_and_certainty_grows():
    once = learn(SloKnee(), kept(0.9, 0.3), P)

    assert 0.0 < SloKnee().value - once.value < 0.1
    assert once.variance < SloKnee().variance


def test_a_certain_demand_needs_its_own_work_at_the_edge():
    assert work_to_carry([(100.0, 1.0)], P, 0.95) == pytest.approx(100.0, rel=1e-6)
    assert work_to_carry([], P, 0.95) == 0.0
    assert work_to_carry([(0.0, 1.0)], P, 0.95) == 0.0


def test_a_rare_peak_counts_by_its_requests():
    calm = [(100.0, 0.99), (200.0, 0.01)]
    often = [(100.0, 0.9), (200.0, 0.1)]

    assert work_to_carry(calm, P, 0.95) < 115.0
    assert work_to_carry(often, P, 0.95) > 150.0


CASES = st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.01, 1.0)), min_size=1, max_size=30)


@given(cases=CASES, aim=st.floats(0.9, 0.99))
def test_the_expected_share_is_what_was_aimed_at(cases, aim):
    carried = work_to_carry(cases, P, aim)

    requests = sum(work * weight for work, weight in cases)
    kept = sum(work * weight * float(expected_share(work / carried, P)) for work, weight in cases)
    assert kept / requests == pytest.approx(aim, abs=1e-3)


@given(cases=CASES, factor=st.floats(0.1, 10.0), more=st.floats(0.0, 0.03))
def test_needs_scale_with_demand_and_rise_with_the_aim(cases, factor, more):
    scaled = [(work * factor, weight) for work, weight in cases]

    assert work_to_carry(scaled, P, 0.95) == pytest.approx(factor * work_to_carry(cases, P, 0.95), rel=1e-4)
    assert work_to_carry(cases, P, 0.95 + more) >= work_to_carry(cases, P, 0.95) * (1 - 1e-6)


@given(
    shown=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(1, 600)), max_size=60),
    percentile=st.integers(50, 99),
)
def test_the_knee_stays_within_bounds_whatever_is_shown(shown, percentile):
    knee = SloKnee()
    for utilization, good, seconds in shown:
        knee = learn(knee, kept(utilization, good, seconds), percentile)

    assert KNEE.least <= knee.value <= KNEE.most
    assert 0.0 < knee.variance < 0.01
    assert 0.0 <= knee.apart <= KNEE.most_apart


@pytest.mark.parametrize("seen", [(0.85, 0.9), (0.95, 0.999)], ids=["misses", "keeps all"])
def test_three_short_cycles_teach_what_a_long_one_does(seen):
    usual = cycles(SloKnee(), kept(*seen, 15.0), 40)
    fast = cycles(SloKnee(), kept(*seen, 5.0), 120)

    assert fast.value == pytest.approx(usual.value, rel=0.01)
    assert fast.variance == pytest.approx(usual.variance, rel=0.2)


def by_halves(cases, percentile, aim):
    """The search without a guess of where to look."""
    work = np.array([asked for asked, _ in cases])
    requests = work * np.array([probability for _, probability in cases])
    requests = requests / requests.sum()
    low, high = 0.0, KNEE.most_reserve * float(work.max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        enough = float(requests @ expected_share(work / middle, percentile)) >= aim
        low, high = (low, middle) if enough else (middle, high)
    return high


@given(
    st.lists(st.tuples(st.just(0.0) | st.floats(1e-6, 1e4), st.floats(0.01, 1.0)), min_size=1, max_size=40).filter(
        lambda cases: any(work > 0 for work, _ in cases)
    ),
    st.sampled_from((50, 90, 95, 99)),
    st.floats(0.5, 0.9999),
)
def test_the_guess_of_where_to_look_changes_nothing(cases, percentile, aim):
    assert work_to_carry(cases, percentile, aim) == by_halves(cases, percentile, aim)
