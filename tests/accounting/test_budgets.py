"""What is left to spend, and to miss."""

import pytest
from accounts import both, latencies, pod, service, snapshot, tells, view, world
from hypothesis import given
from hypothesis import strategies as st

from pertoken.accounting.bill import Bill
from pertoken.accounting.billed import billed_service
from pertoken.accounting.budgets import miss_budget, money_budget
from pertoken.accounting.cost_index import Tokens, cost_index, list_value
from pertoken.accounting.goodput import attained
from pertoken.accounting.ledger import NOT_ATTAINED, Attained, Entry, ServiceLedger, post
from pertoken.accounting.window import WindowSums, sums
from pertoken.domain.cost import MissBudget, MoneyBudget
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import LatencyKind, Missing

NOW = 1000.0
TOKENS = Tokens(100, 5e6, 1e6, 1e6)  # 4 x 0.10 + 1 x 0.02 + 1 x 0.40 = 0.82 USD


def window(bill=None, tokens=TOKENS, kept=NOT_ATTAINED):
    return WindowSums(bill or Bill(0, 36 * 10**8 // 2), tokens, 600.0, 0.0, 0.0, attained=kept)


def test_what_is_left_is_the_list_value_less_the_bill():
    budget = money_budget(service(), window(), told=True)

    assert budget == MoneyBudget(pytest.approx(0.82), 0.5)
    assert budget.left == pytest.approx(0.32)


@pytest.mark.parametrize(
    ("spec", "sums", "told", "why"),
    [
        (service(cost=None), window(), True, "no cost objective is set"),
        (service(), window(Bill(1, 0, priced=False)), True, "a pool in use has no price per GPU-hour"),
        (service(), window(), False, "finished tokens are not all told"),
    ],
    ids=["no list", "no price", "half-seen counters"],
)
def test_money_that_is_not_known_is_missing(spec, sums, told, why):
    assert money_budget(spec, sums, told=told) == Missing(why)


@given(usd=st.integers(0, 10**6), requests=st.floats(1, 1e4))
def test_money_is_left_exactly_while_the_index_is_below_one(usd, requests):
    tokens = Tokens(requests, requests * 100, 0, requests * 20)
    sums = window(Bill(0, usd * 36 * 10**5), tokens)
    budget, index = money_budget(service(), sums, told=True), cost_index(sums.bill.usd, tokens, service().cost.prices)

    assert (budget.left >= 0) == (index <= 1.0)


@pytest.mark.parametrize(
    ("shares", "kept"),
    [
        (both(0.9, 1.0), Attained(100, 90, 90)),
        (both(0.9, 0.8), Attained(100, 70, 80)),
        ({LatencyKind.TTFT: latencies(0.9, edge=1.0)}, Attained()),
        (
            {LatencyKind.TTFT: latencies(0.9, edge=2.0), LatencyKind.TIME_PER_OUTPUT_TOKEN: latencies(1.0)},
            Attained(100, 0, 90),
        ),
        ({}, Attained()),
    ],
    ids=["one misses", "both miss", "one is not measured", "a bucket hides it", "nothing is measured"],
)
def test_requests_within_the_objectives(shares, kept):
    seen = view(service(), [pod()])
    billed = billed_service(seen, world(seen, metrics=snapshot(tells(histograms=shares))), NOW)

    assert attained(billed, 100.0, 60.0) == kept


@pytest.mark.parametrize(("seconds", "known"), [(15.0, 100.0), (60.0, 100.0), (600.0, 10.0), (0.0, 0.0)])
def test_requests_of_before_the_rate_window_are_unknown(seconds, known):
    seen = view(service(), [pod()])
    billed = billed_service(seen, world(seen, metrics=snapshot(tells(histograms=both(1.0, 1.0)))), NOW)

    assert attained(billed, 100.0, seconds).known == known


def test_misses_that_are_left():
    budget = miss_budget(service(), window(tokens=Tokens(1000), kept=Attained(800, 740, 780)))

    assert budget == MissBudget(800, 200, 740, 780, pytest.approx(0.05))
    assert budget.outside == (20, 60)
    assert budget.share_within == (0.925, 0.975)
    assert budget.left == (pytest.approx(-20), pytest.approx(20))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (service(latency=LatencyObjective()), "no latency objective is set"),
        (service(), "no latency of a finished request was told"),
    ],
)
def test_misses_that_are_not_known_are_missing(spec, why):
    assert miss_budget(spec, window()) == Missing(why)


@given(known=st.floats(0.1, 1e6), low=st.floats(0, 1), high=st.floats(0, 1), unknown=st.floats(0, 1e6))
def test_the_parts_of_a_miss_budget_belong_together(known, low, high, unknown):
    low, high = sorted((low, high))
    kept = Attained(known, known * low, known * high)
    budget = miss_budget(service(), window(tokens=Tokens(known + unknown), kept=kept))

    assert 0 <= budget.outside[0] <= budget.outside[1] <= known
    assert budget.left[0] <= budget.left[1] <= 0.05 * known + 1e-6
    assert 0 <= budget.share_within[0] <= budget.share_within[1] <= 1
    assert budget.unknown == pytest.approx(unknown, abs=1e-6 * (known + unknown))


def day_of(hour):
    """Value of the finished tokens and least bill, USD per hour: three hours' traffic by day, none of it by night."""
    return (8.0, 3.0) if hour % 24 < 12 else (1.0, 2.0)


def test_dear_nights_are_paid_by_days():
    """A service that spends all it may, but never less than it needs: once a day is known, each day's index is 1."""
    ledger, window = ServiceLedger("uid"), 86400.0
    million = Tokens(1, 1e6, 0.0, 0.0)
    indices = []
    for quarter in range(24 * 4 * 4):
        now = 900.0 * (quarter + 1)
        value, least = day_of(quarter / 4)
        budget = money_budget(service(), sums(ledger, now, window), told=True)
        spent = max(least, budget.affordable(value)) / 4
        worth = value / 4 / list_value(million, service().cost.prices)
        entry = Entry(Bill(0, round(spent * 3.6e9)), Tokens(1, worth * 1e6, 0.0, 0.0))
        ledger = post(ledger, entry, now, window)
        seen = sums(ledger, now, window)
        indices.append(float(seen.bill.usd) / list_value(seen.tokens, service().cost.prices))

    assert max(indices[24 * 4 : 48 * 4]) > 1.02  # the first night comes as a surprise
    assert all(0.98 <= index <= 1.02 for index in indices[3 * 24 * 4 :])


@given(value=st.floats(0, 100), spent=st.floats(0, 100), horizon=st.floats(60, 86400), ahead=st.floats(0, 100))
def test_spending_what_is_affordable_ends_at_an_index_of_one_or_spends_nothing(value, spent, horizon, ahead):
    affordable = MoneyBudget(value, spent, horizon).affordable(ahead)
    hours = horizon / 3600

    assert affordable == 0 or spent + affordable * hours == pytest.approx(value + ahead * hours)
