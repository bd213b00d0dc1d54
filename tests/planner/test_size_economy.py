"""What the money budget says of the counts: spend what it leaves, or stay within it."""

from dataclasses import replace
from decimal import Decimal
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import prices, service_spec, variant_spec
from states import H100, LOAD, Variant, service_state

from pertoken.domain.cost import NO_FIGURES, CostState, MoneyBudget
from pertoken.domain.service import Optimize, WhenInfeasible
from pertoken.domain.signal import Missing
from pertoken.planner.size.capacity import capacity_of
from pertoken.planner.size.economy import Counts, Rates, economize, spend
from pertoken.planner.size.expected import expected
from pertoken.planner.size.stage import demand_figures
from pertoken.units import SECONDS_PER_HOUR

# A request is worth 0.0006 USD at 0.50 USD per million tokens: ten a second are worth 21.6 USD an hour, ten replicas
# and a half.
RATE = 10.0
PRICE = 2.0  # of a replica, USD per hour
LATENCY = {"optimize": Optimize.LATENCY}
KEEP_COST = {"when_infeasible": WhenInfeasible.KEEP_COST}
SPENT_AS_WORTH = MoneyBudget(1.0, 1.0, 3600.0)


def account(money):
    return CostState(NO_FIGURES, 86400.0, priced=True, money=money, misses=Missing("not told"))


def economy_of(least, *variants, money=SPENT_AS_WORTH, blended="0.50", rate=RATE, **objective):
    cost = replace(service_spec().cost, prices=prices(blended), **objective)
    state = service_state(*(variants or (Variant(),)), cost=cost, account=account(money))
    known = expected(state, demand_figures(state))
    with_tolerance = {name: count + 1 for name, count in least.items()}
    return economize(state, known, Counts(least, with_tolerance), Rates(rate)), known, state


def counts(least, **given):
    economy, _, _ = economy_of({"a100": least}, **given)
    return economy.counts.least["a100"], economy.counts.with_tolerance["a100"]


@pytest.mark.parametrize(
    ("least", "given", "expected_counts"),
    [
        (2, {}, (2, 3)),
        (2, LATENCY, (10, 10)),
        (10, LATENCY, (10, 11)),
        (12, LATENCY, (12, 13)),
        (2, {**LATENCY, "money": MoneyBudget(1.0, 5.0, 3600.0)}, (8, 8)),
        (2, {**LATENCY, "money": MoneyBudget(1.0, 99.0, 3600.0)}, (2, 3)),
        (2, {**LATENCY, "money": MoneyBudget(1.0, 1.0, 3600.0, leaving=8.0)}, (6, 6)),
        (2, {**LATENCY, "max_spend_per_hour": Decimal(7)}, (3, 3)),
        (2, {**LATENCY, "money": Missing("half-seen counters")}, (2, 3)),
        (2, {**LATENCY, "blended": "0.05"}, (2, 3)),
    ],
    ids=[
        "cost",
        "all that is worth",
        "just affordable",
        "not affordable",
        "overspent before",
        "far overspent",
        "a rich hour leaves the window",
        "maxSpendPerHour",
        "money is not known",
        "worth little",
    ],
)
def test_latency_spends_what_the_budget_leaves(least, given, expected_counts):
    assert counts(least, **given) == expected_counts


def test_latency_stops_where_every_request_has_a_replica_to_itself():
    wide = Variant(variant_spec(max_replicas=1000))
    economy, _, _ = economy_of({"a100": 2}, wide, blended="500", rate=1.0, **LATENCY)

    assert 2 < economy.counts.least["a100"] < 10
    assert economy.spare == {"a100": economy.counts.least["a100"] - 2}


def test_latency_fills_the_cheaper_variant_first_and_no_variant_beyond_its_maximum():
    two = (Variant(variant_spec(max_replicas=4)), Variant(variant_spec(name="h100", pool="h100"), pool=H100))
    economy, known, _ = economy_of({"a100": 2, "h100": 0}, *two, blended="5", **LATENCY)

    assert economy.counts.least["a100"] == 4
    assert economy.counts.least["h100"] == (216 - 4 * PRICE) // 30
    assert spend(known, economy.counts.least) <= economy.affordable


@pytest.mark.parametrize(
    ("blended", "least", "expected_counts", "given_up"),
    [
        ("0.50", 3, (3, 4), ()),
        ("0.12", 3, (2, 2), ("head-room",)),
        ("0.06", 3, (1, 1), ("head-room", "latency")),
        ("0.01", 1, (1, 1), ()),
        ("0.12", 2, (2, 3), ()),
        ("0.16", 5, (3, 3), ("head-room",)),
    ],
    ids=["affordable", "head-room goes", "latency goes", "never to none", "just affordable", "half of it back"],
)
def test_keeping_the_cost_gives_up_no_more_than_the_budget_asks(blended, least, expected_counts, given_up):
    economy, _, _ = economy_of({"a100": least}, blended=blended, rate=9.9, **KEEP_COST)

    assert (economy.counts.least["a100"], economy.counts.with_tolerance["a100"]) == expected_counts
    assert economy.given_up == given_up


def test_what_is_given_up_comes_in_the_documented_order():
    """At 39 requests a second the concessions differ by whole replicas."""
    rate, variant = 39.0, Variant(variant_spec(max_replicas=100), replicas=12)

    def at(blended, **changes):
        return economy_of({"a100": 14}, variant, blended=blended, rate=rate, **{**KEEP_COST, **changes})

    _, known, state = at("0.50")
    carried = known.capacities["a100"].rate
    half = replace(state.targets, percentile=50)
    median = capacity_of(state.variants[0].engine, known.load, half).rate
    slow = replace(half, inter_token=2 * half.inter_token, ttft=2 * half.ttft)
    slowest = capacity_of(state.variants[0].engine, known.load, slow).rate
    steps = [ceil(rate / each) for each in (carried, median, slowest)]
    assert 14 > steps[0] > steps[1] > steps[2]

    order = ("head-room", "the percentile", "latency")
    for kept, replicas in enumerate(steps):
        worth = str(round(replicas * PRICE / SECONDS_PER_HOUR / rate / 0.0012, 5))
        economy, _, _ = at(worth)
        assert economy.counts.least["a100"] == replicas
        assert economy.given_up == order[: kept + 1]
    economy, _, _ = at("0.0001")
    assert economy.counts.least["a100"] == steps[-1]
    assert at("0.0001", hard_limit_factor=Decimal(1))[0].counts.least["a100"] == steps[1]


@pytest.mark.parametrize(("blended", "dear"), [("0.90", 2), ("0.01", 1)], ids=["earns its cost", "does not"])
def test_a_dearer_variant_goes_last_down_to_its_minimum(blended, dear):
    """The cheap one is at its maximum: what it cannot carry is given to the dearer one, unless that loses money."""
    cheap = Variant(variant_spec(max_replicas=1))
    dearer = Variant(variant_spec(name="h100", pool="h100", min_replicas=1), replicas=2, pool=H100)
    rate, broke = 60.0, MoneyBudget(0.0, 1e6, 3600.0)
    economy, _, _ = economy_of(
        {"a100": 1, "h100": 9}, cheap, dearer, rate=rate, blended=blended, money=broke, **KEEP_COST
    )

    assert economy.counts.least["a100"] == 1
    assert economy.counts.least["h100"] == dear if dear == 1 else economy.counts.least["h100"] >= dear


def test_without_cost_objective_price_or_account_counts_stay():
    assert counts(2, money=Missing("a pool in use has no price per GPU-hour"), **LATENCY) == (2, 3)
    unpriced, _, _ = economy_of({"a100": 2}, Variant(pool={"price_per_gpu_hour": None}), **LATENCY)
    assert unpriced.counts.least == {"a100": 2}
    state = service_state(cost=None)
    least = Counts({"a100": 2}, {"a100": 3})
    assert economize(state, expected(state, demand_figures(state)), least, Rates(RATE)).counts == least


BUDGETS = st.builds(MoneyBudget, st.floats(0, 1e3), st.floats(0, 1e3), st.floats(60, 86400), st.floats(-100, 100))


@given(
    least=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    money=BUDGETS,
    blended=st.decimals("0.01", "20", places=2).map(str),
    rate=st.floats(0.1, 60),
    optimize=st.sampled_from(Optimize),
    yields=st.sampled_from(WhenInfeasible),
)
@settings(max_examples=60, deadline=None)
def test_a_budget_never_spends_more_than_is_left(least, money, blended, rate, optimize, yields):
    two = (Variant(variant_spec(max_replicas=8)), Variant(variant_spec(name="h100", pool="h100"), pool=H100))
    asked = {"a100": least[0], "h100": least[1]}
    objective = {"optimize": optimize, "when_infeasible": yields}
    economy, known, _ = economy_of(asked, *two, money=money, blended=blended, rate=rate, **objective)
    planned, needed = spend(known, economy.counts.least), spend(known, asked)

    assert planned <= max(economy.affordable, needed) + 1e-6
    if yields is WhenInfeasible.KEEP_LATENCY:
        assert all(economy.counts.least[name] >= count for name, count in asked.items())
    if economy.eased:
        assert planned < needed
        assert needed > economy.affordable
    assert all(economy.counts.with_tolerance[name] >= count for name, count in economy.counts.least.items())


@given(rate=st.floats(0.5, 60), cheap=st.floats(0.01, 5), dear=st.floats(0.01, 5))
@settings(max_examples=40, deadline=None)
def test_a_higher_target_never_means_fewer_replicas(rate, cheap, dear):
    low, high = sorted((round(cheap, 3), round(dear, 3)))
    objective = {**LATENCY, **KEEP_COST}

    def replicas(target):
        return sum(economy_of({"a100": 6}, rate=rate, blended=str(target), **objective)[0].counts.least.values())

    assert replicas(low) <= replicas(high)


def test_loads_are_as_the_comment_says():
    assert LOAD.input_tokens + LOAD.output_tokens == 1200
