"""What the cost objective says of head-room: spend on it, or give it up."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import prices, service_spec, variant_spec
from states import Variant, service_state

from pertoken.domain.service import Optimize, WhenInfeasible
from pertoken.planner.size.economy import Counts, economize
from pertoken.planner.size.expected import expected
from pertoken.planner.size.stage import demand_figures

# A request is worth 0.0006 USD at 0.50 USD per million tokens, so that a replica of 2 USD an hour pays from 0.93/s on.
RATE = 10.0
LATENCY = {"optimize": Optimize.LATENCY}
KEEP_COST = {"when_infeasible": WhenInfeasible.KEEP_COST}


def economized(least, with_tolerance, *variants, blended="0.50", rate=RATE, pool=None, **objective):
    cost = replace(service_spec().cost, prices=prices(blended), **objective)
    state = service_state(*(variants or (Variant(pool=pool or {}),)), cost=cost)
    known = expected(state, demand_figures(state))
    counts = economize(state, known, Counts({"a100": least}, {"a100": with_tolerance}), rate)
    return counts.least["a100"], counts.with_tolerance["a100"]


@pytest.mark.parametrize(
    ("least", "objective", "expected_counts"),
    [
        (2, {}, (2, 3)),
        (2, LATENCY, (3, 3)),
        (4, LATENCY, (6, 6)),
        (8, LATENCY, (10, 10)),
        (10, LATENCY, (10, 11)),
        (12, LATENCY, (12, 13)),
    ],
    ids=["cost", "half as many again", "of four", "what is affordable", "just affordable", "not affordable"],
)
def test_latency_spends_what_the_index_leaves(least, objective, expected_counts):
    assert economized(least, least + 1, **objective) == expected_counts


@pytest.mark.parametrize(
    ("blended", "least", "expected_counts"),
    [("0.50", 3, (3, 4)), ("0.12", 3, (2, 2)), ("0.06", 3, (2, 2)), ("0.01", 1, (1, 2)), ("0.12", 2, (2, 3))],
    ids=["affordable", "head-room goes", "not beyond the hard limit", "never to none", "just affordable"],
)
def test_keeping_the_cost_gives_up_headroom_and_then_latency(blended, least, expected_counts):
    assert economized(least, least + 1, blended=blended, **KEEP_COST) == expected_counts


def test_the_hard_limit_follows_its_factor():
    tight = economized(3, 3, blended="0.01", hard_limit_factor=Decimal(1), **KEEP_COST)[0]
    loose = economized(3, 3, blended="0.01", hard_limit_factor=Decimal(4), **KEEP_COST)[0]

    assert loose <= tight <= 3


def test_without_cost_objective_or_price_or_with_two_variants_counts_stay():
    two = (Variant(), Variant(variant_spec(name="b")))

    assert economized(2, 3, pool={"price_per_gpu_hour": None}, **LATENCY) == (2, 3)
    assert economized(2, 3, *two, **LATENCY) == (2, 3)
    state = service_state(cost=None)
    counts = Counts({"a100": 2}, {"a100": 3})
    assert economize(state, expected(state, demand_figures(state)), counts, RATE) == counts
