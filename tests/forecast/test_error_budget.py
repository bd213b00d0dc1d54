"""The error budget: what was missed lately decides what may be missed next, within limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.forecast.error_budget import ErrorBudget, Promise, caution, counted, share_to_miss
from pertoken.forecast.tuning import BUDGET

SOON, LATE = 120.0, 600.0
RATE = 5.0


def owed(lead=SOON, margin=0.2, percentile=95):
    return Promise(percentile, margin, caution(lead))


def spent(share, requests=20_000.0):
    return ErrorBudget(requests, share * requests, 1000.0)


@pytest.mark.parametrize(
    ("lately", "next_share"),
    [
        (0.04, 0.04),  # as planned: a fifth of the twentieth is left unused
        (0.02, 0.058),  # half unspent: spent next
        (0.0, 0.076),
        (0.06, 0.022),  # overspent: owed
        (0.5, 0.015),  # but not earned back faster than the limit
    ],
)
def test_what_was_not_missed_lately_may_be_missed_next_and_the_reverse(lately, next_share):
    assert share_to_miss(spent(lately), owed(), RATE) == pytest.approx(next_share, abs=0.002)


def test_nothing_known_plans_for_what_is_allowed_less_the_margin():
    assert share_to_miss(ErrorBudget(), owed(), 0.0) == pytest.approx(0.04)
    assert share_to_miss(ErrorBudget(), owed(), RATE) == pytest.approx(0.04)


def test_a_few_requests_do_not_spend_the_budget():
    few = share_to_miss(spent(0.0, requests=50.0), owed(), RATE)

    assert 0.04 < few < 0.042


def test_where_replicas_come_late_less_is_spent_and_more_is_held_back():
    unspent = spent(0.0)

    assert share_to_miss(unspent, owed(LATE), RATE) < share_to_miss(unspent, owed(SOON), RATE)
    assert share_to_miss(ErrorBudget(), owed(LATE), 0.0) == pytest.approx(0.05 * BUDGET.least_late)


@pytest.mark.parametrize(("lead", "expected"), [(30, 0), (200, 0), (267, 0.5), (400, 1), (3600, 1)])
def test_caution_grows_with_the_lead(lead, expected):
    assert caution(lead) == pytest.approx(expected, abs=0.01)


def test_half_of_a_budget_is_forgotten_in_its_half_life():
    budget = counted(counted(ErrorBudget(), 100.0, 40.0, 0.0), 0.0, 0.0, BUDGET.half_life)

    assert (budget.requests, budget.missed) == pytest.approx((50.0, 20.0))
    assert budget.share_missed == pytest.approx(0.4)


@given(
    lately=st.floats(0, 1),
    more=st.floats(0, 0.5),
    lead=st.floats(0, 3600),
    margin=st.floats(-1, 0.99),
    percentile=st.integers(50, 99),
    rate=st.floats(0, 1000),
)
def test_more_misses_lately_never_allow_more_and_limits_hold(lately, more, lead, margin, percentile, rate):
    promise = owed(lead, margin, percentile)
    allowed = promise.allowed

    share = share_to_miss(spent(lately), promise, rate)

    assert share_to_miss(spent(min(1.0, lately + more)), promise, rate) <= share + 1e-12
    assert allowed * BUDGET.least <= share <= max(BUDGET.most, allowed * max(1 - margin, BUDGET.least_late)) + 1e-12


@pytest.mark.parametrize(
    ("window", "floor", "half_life", "most"),
    [
        (None, None, BUDGET.half_life, BUDGET.most),
        (86_400.0, None, BUDGET.half_life, BUDGET.most),
        (600.0, None, 300.0, BUDGET.most),
        (None, 0.94, BUDGET.half_life, 0.06),
    ],
)
def test_the_user_says_over_which_time_how_much_is_owed(window, floor, half_life, most):
    rules = BUDGET.within(window, floor)
    assert (rules.half_life, rules.most) == (pytest.approx(half_life), pytest.approx(most))


@given(st.floats(0.0, 1.0), st.floats(0.5, 0.95))
def test_nothing_below_the_users_floor_is_aimed_at(lately, floor):
    assert share_to_miss(spent(lately), owed(), RATE, BUDGET.within(None, floor)) <= 1.0 - floor + 1e-9
