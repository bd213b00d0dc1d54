"""Purchases of least expected cost: beside hand calculations, and beside trying every combination."""

from dataclasses import replace
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.options import OnDemand, PoolOptions, PurchaseOptions, Reserved, Spot
from pertoken.capacity.purchase.plan import PurchaseError, purchase
from pertoken.domain.pool import PoolSpec

H100 = PoolSpec(name="h100", accelerator="h100-sxm", price_per_gpu_hour=Decimal("2.00"))
MONTH = Reserved("1 month", Decimal("1.20"), 30)
DAY = [1] * 12 + [2] * 6 + [4] * 6  # GPUs by hour


def futures(*days, pool=H100, size=1, existing=None, repeat=30):
    gpus = np.tile(np.array(days), (1, repeat))
    return Futures((PoolFutures(pool, gpus, 0, size, existing),), gpus.shape[1])


def options(*reserved, budget=None, **more):
    entry = PoolOptions("h100", OnDemand(Decimal("2.00"), more.pop("ceiling", None)), reserved, **more)
    return PurchaseOptions((entry,), budget)


def nodes(plan):
    return {(entry.offer, entry.begin_s // 3600): entry.nodes for entry in plan.pools[0].reserved}


def test_a_gpu_is_reserved_that_is_needed_in_a_larger_share_of_the_hours_than_the_prices_are_apart():
    """1.20 / 2.00 = 60 %: the first GPU is needed always, the second in 50 % of the hours."""
    plan = purchase(futures(DAY), options(MONTH))

    assert nodes(plan) == {("1 month", 0): 1}
    assert plan.usd_per_month == pytest.approx(730 * 1.20 + 730 / 24 * (6 * 1 + 6 * 3) * 2.00)
    assert plan.compared.all_on_demand == pytest.approx(730 / 24 * (12 + 12 + 24) * 2.00)
    assert plan.compared.peak_reserved == pytest.approx(730 * 4 * 1.20)


def test_at_equal_cost_nothing_is_reserved():
    assert nodes(purchase(futures([1] * 12 + [0] * 12), options(replace(MONTH, usd_per_gpu_hour=Decimal(1))))) == {}


def test_all_futures_are_weighed():
    """The second GPU is needed always in two of three futures: 67 % of the hours, above 60 %."""
    plan = purchase(futures([2] * 24, [2] * 24, [1] * 24), options(MONTH))

    assert nodes(plan) == {("1 month", 0): 2}
    assert plan.pools[0].reserved[0].used_share == pytest.approx(5 / 6)
    assert plan.pools[0].reserved[0].idle_usd_per_day == pytest.approx(1 / 3 * 24 * 1.20)


def test_past_weeks_weigh_in_money_and_not_in_what_suffices():
    """Forecasts of 4 and of 6 GPUs, and twice a past of 1: the mean costs, the forecasts' P90 must be there."""
    pool = replace(futures([4] * 24, [6] * 24, [1] * 24, [1] * 24).pools[0], again=2)
    given = Futures((pool,), pool.hours)
    free = purchase(given, options())

    assert free.usd_per_month == pytest.approx(730 * 3 * 2.00)
    assert free.pools[0].on_demand.peak_gpus == int(pool.quantile(90).max()) == 6
    assert purchase(given, options(spot=Spot(Decimal("0.50"), 0.1, 0.5))).pools[0].spot.peak_gpus == 3
    reserved = purchase(given, options(MONTH))
    assert (nodes(reserved), reserved.pools[0].on_demand.peak_gpus) == ({("1 month", 0): 1}, 5)
    assert reserved.compared.peak_reserved == pytest.approx(730 * 6 * 1.20)
    assert nodes(purchase(given, options(MONTH, ceiling=3))) == {("1 month", 0): 3}


def test_what_is_committed_is_used_first_and_shown_when_idle():
    pool = replace(H100, committed_gpus=2)
    plan = purchase(futures(DAY, pool=pool), options(MONTH, committed_usd_per_gpu_hour=Decimal(1)))

    assert nodes(plan) == {}
    assert plan.pools[0].committed.usd_per_month == pytest.approx(2 * 730)
    assert plan.pools[0].committed.idle_gpus == pytest.approx(0.5)
    assert plan.pools[0].committed.idle_usd_per_day == pytest.approx(12.0)
    assert plan.usd_per_month == pytest.approx(2 * 730 + 730 / 24 * 6 * 2 * 2.00)


def test_whole_nodes_are_bought():
    plan = purchase(futures(DAY, size=8), options(MONTH))

    assert nodes(plan) == {("1 month", 0): 1}
    assert plan.pools[0].reserved[0].gpus == 8
    assert plan.usd_per_month == pytest.approx(8 * 730 * 1.20)


def test_a_share_of_a_gpu_costs_its_share():
    plan = purchase(futures(DAY, pool=replace(H100, gpu_fraction=Decimal("0.5"))), options())

    assert plan.usd_per_month == pytest.approx(730 / 24 * 48 * 1.00)


def test_least_nodes_are_held_when_nobody_needs_them():
    plan = purchase(futures([0] * 24), options(MONTH, min_nodes=3))

    assert nodes(plan) == {("1 month", 0): 3}
    assert plan.usd_per_month == pytest.approx(3 * 730 * 1.20)


def test_spot_costs_its_price_while_it_lasts_and_on_demand_while_it_is_lost():
    """Half of the GPUs, half a dollar, lost a tenth of the time: 0.9 x 0.50 + 0.1 x 2.00 = 0.65 USD."""
    plan = purchase(futures([4] * 24), options(spot=Spot(Decimal("0.50"), 0.1, 0.5)))
    pool = plan.pools[0]

    assert plan.usd_per_month == pytest.approx(730 * (2 * 2.00 + 2 * 0.65))
    assert pool.spot.gpu_hours_per_month == pytest.approx(730 * 2 * 0.9)
    assert pool.spot.usd_per_month == pytest.approx(730 * 2 * 0.9 * 0.50)
    assert pool.on_demand.gpu_hours_per_month == pytest.approx(730 * (2 + 0.2))


def test_spot_that_is_lost_too_often_to_pay_is_not_used():
    plan = purchase(futures([4] * 24), options(spot=Spot(Decimal("2.50"), 0.1, 0.5)))

    assert plan.pools[0].spot.gpu_hours_per_month == 0
    assert plan.usd_per_month == pytest.approx(730 * 4 * 2.00)


def test_what_spot_serves_cheaper_than_a_reservation_is_not_reserved():
    spot = Spot(Decimal("0.50"), 0.1, 0.5)

    assert nodes(purchase(futures([4] * 24), options(MONTH, spot=spot))) == {("1 month", 0): 2}


def test_what_nobody_sells_on_demand_is_reserved():
    plan = purchase(futures(DAY), options(MONTH, ceiling=1))

    assert nodes(plan) == {("1 month", 0): 3}
    assert plan.pools[0].unserved_gpu_hours_per_month == 0


def test_what_can_be_had_nowhere_is_told():
    plan = purchase(futures(DAY), options(ceiling=3))

    assert plan.pools[0].unserved_gpu_hours_per_month == pytest.approx(730 / 24 * 6)


def test_a_reservation_begins_after_its_lead_time_and_is_ordered_before():
    plan = purchase(futures([1] * 24), options(replace(MONTH, lead_seconds=10 * 86400)))
    first = plan.pools[0].reserved[0]

    assert (first.begin_s, first.order_by_s) == (10 * 86400, 0)
    assert plan.pools[0].on_demand.usd_per_month == pytest.approx(730 / 3 * 2.00)


def test_an_order_has_its_least_size_or_is_not_made():
    large = replace(MONTH, min_nodes=4)

    assert nodes(purchase(futures(DAY), options(large))) == {}
    assert nodes(purchase(futures([3] * 24), options(large))) == {("1 month", 0): 4}


def test_no_more_than_is_offered():
    assert nodes(purchase(futures([4] * 24), options(replace(MONTH, max_nodes=3)))) == {("1 month", 0): 3}


def test_a_long_term_is_taken_for_what_the_last_week_still_needs():
    """Demand ends after 20 of 30 days: a year would be paid for nothing, at whatever discount."""
    gone = futures([1] * 20 * 24 + [0] * 10 * 24, repeat=1)
    stays = futures([1] * 24)
    year = Reserved("1 year", Decimal("0.80"), 365)

    assert nodes(purchase(gone, options(year))) == {}
    assert nodes(purchase(stays, options(MONTH, year))) == {("1 year", 0): 1}
    assert purchase(stays, options(year)).pools[0].reserved[0].owed_after_horizon_usd == pytest.approx(335 * 24 * 0.8)


def test_a_growing_demand_is_reserved_month_by_month():
    grows = futures(np.repeat([1, 2, 3], 720), repeat=1)
    plan = purchase(grows, options(MONTH))

    assert nodes(plan) == {("1 month", 0): 1, ("1 month", 720): 2, ("1 month", 1440): 3}
    assert [begin // 3600 for begin, _ in plan.months] == [0, 730, 1460]
    assert plan.worst_month_usd == plan.months[-1][1]


def test_todays_fleet_is_paid_used_or_not_and_its_lack_on_demand():
    plan = purchase(futures(DAY, existing=3), options(MONTH))

    assert plan.compared.todays_fleet == pytest.approx(730 * (3 * 2.00 + 0.25 * 1 * 2.00))
    assert purchase(futures(DAY), options(MONTH)).compared.todays_fleet is None


def brute_force(gpus, offers, price, spot):
    """Least USD over 30 hours: the day, and six hours that are like its mean; offer b begins at hour 6."""
    last = 30
    mean = [gpus[:, hour] if hour < 24 else gpus.ravel() for hour in range(last)]
    a, b = offers
    best = np.inf
    for first, late, again in product(range(6), repeat=3):
        if 0 < late < b.min_nodes:
            continue
        usd = first * 24 * float(a.usd_per_gpu_hour) + again * 6 * float(a.usd_per_gpu_hour)
        usd += late * 24 * float(b.usd_per_gpu_hour)
        for hour in range(last):
            held = (first if hour < 24 else again) + (late if hour >= 6 else 0)
            beyond = np.maximum(mean[hour] - held, 0)
            on_spot = np.minimum(beyond, mean[hour] // 2)
            usd += ((beyond - on_spot) * price + on_spot * spot).mean()
        best = min(best, usd)
    return best


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=24, max_size=24), min_size=1, max_size=3),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_no_combination_is_cheaper(days, price_a, price_b, least):
    gpus = np.array(days)
    offers = (
        Reserved("a", Decimal(price_a) / 10, 1),
        Reserved("b", Decimal(price_b) / 10, 1, lead_seconds=6 * 3600, min_nodes=least),
    )
    spot = Spot(Decimal("0.50"), 0.1, 0.5)
    want = brute_force(gpus, offers, 2.0, 0.65)
    got = priced(gpus, offers, spot)

    assert got == pytest.approx(want, rel=1e-5)


def priced(gpus, offers, spot):
    """USD of the same 30 hours with the orders that are taken; those after the horizon at their best."""
    plan = purchase(futures(*gpus, repeat=1), options(*offers, spot=spot))
    taken = nodes(plan)
    first, late = taken.get(("a", 0), 0), taken.get(("b", 6), 0)
    usd = first * 24 * float(offers[0].usd_per_gpu_hour) + late * 24 * float(offers[1].usd_per_gpu_hour)
    tails = []
    for again in range(6):
        tail = again * 6 * float(offers[0].usd_per_gpu_hour)
        tails.append(tail + 6 * _hourly(gpus.ravel(), again + late))
    usd += min(tails)
    return usd + sum(_hourly(gpus[:, hour], first + (late if hour >= 6 else 0)) for hour in range(24))


def _hourly(gpus, held):
    beyond = np.maximum(gpus - held, 0)
    on_spot = np.minimum(beyond, gpus // 2)
    return ((beyond - on_spot) * 2.0 + on_spot * 0.65).mean()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (options(replace(MONTH, usd_per_gpu_hour=Decimal(-1))), "pool h100: 1 month: price -1; expected 0 or more"),
        (options(MONTH, MONTH), "offered 2 times"),
        (options(replace(MONTH, term_days=0)), "term of 0 days"),
        (options(replace(MONTH, lead_seconds=-1)), "lead time of -1 s"),
        (options(replace(MONTH, min_nodes=-1)), "least nodes -1"),
        (options(replace(MONTH, min_nodes=3, max_nodes=2)), "at most 2 nodes"),
        (options(spot=Spot(Decimal(1), 1.5)), "lost share 1.5"),
        (options(min_nodes=-2), "least nodes -2"),
        (options(budget=Decimal(-5)), "budget per month: -5"),
        (PurchaseOptions((PoolOptions("l4", OnDemand(Decimal(1))),)), "pool l4: not in the plan; expected one of h100"),
        (PurchaseOptions((PoolOptions("h100", OnDemand(Decimal(1))),) * 2), "options given 2 times"),
    ],
)
def test_wrong_options_are_told_by_pool_and_field(given, said):
    with pytest.raises(PurchaseError) as refused:
        purchase(futures(DAY), given)

    assert any(said in mistake for mistake in refused.value.mistakes)


def test_a_pool_without_any_price_is_told_and_one_with_its_own_needs_no_options():
    with pytest.raises(PurchaseError, match="pool h100: no price"):
        purchase(futures(DAY, pool=replace(H100, price_per_gpu_hour=None)), PurchaseOptions())

    assert purchase(futures(DAY), PurchaseOptions()).usd_per_month == pytest.approx(730 * 2 * 2.00)


def test_thousands_of_levels_change_no_purchase():
    """A long tail: levels are taken together, the choice stays that of the rule."""
    counts = np.floor(np.exp(np.random.default_rng(3).normal(3, 2.5, 24 * 200))).astype(int)
    plan = purchase(futures(counts, repeat=1), options(replace(MONTH, term_days=200)))
    ladder = np.array([(counts >= k).mean() for k in range(1, 400)])

    assert len(np.unique(counts)) > 300
    assert nodes(plan)["1 month", 0] == pytest.approx(int((ladder > 0.6).sum()), abs=1)
