"""What the cost objective says of head-room: spend on it (`Latency`) or give it up (`KeepCost`).

First version: only for services with one variant and a price; `KeepCost` gives up head-room, then percentiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from pertoken.accounting.cost_index import Tokens, list_value
from pertoken.domain.service import CostObjective, Optimize, WhenInfeasible
from pertoken.frozen import dataclass
from pertoken.performance.steady import Targets
from pertoken.planner.service_state import ServiceState
from pertoken.planner.size.capacity import capacity_of
from pertoken.planner.size.expected import Expected
from pertoken.units import SECONDS_PER_HOUR, TINY


@dataclass(frozen=True, slots=True)
class Counts:
    """Replicas by variant that carry the demand, and those that carry it with tolerance before any goes."""

    least: Mapping[str, int]
    with_tolerance: Mapping[str, int]


def economize(state: ServiceState, known: Expected, counts: Counts, rate: float) -> Counts:
    """The counts after the cost objective; `rate` is the demand expected, requests per second without head-room."""
    cost = state.spec.cost
    variant = state.variants[0]
    if cost is None or len(state.variants) != 1 or variant.usd_per_hour is None or variant.usd_per_hour <= 0:
        return counts
    load, least = known.load, counts.least[variant.name]
    per_request = list_value(
        Tokens(1.0, load.input_tokens, load.input_tokens * load.cached_share, load.output_tokens), cost.prices
    )
    affordable = int(rate * per_request * SECONDS_PER_HOUR / variant.usd_per_hour)
    tolerated = counts.with_tolerance[variant.name]
    if cost.optimize is Optimize.LATENCY and affordable > least:
        more = min(affordable, ceil(least * state.tuning.sizing.latency_headroom))
        return Counts({variant.name: more}, {variant.name: max(more, tolerated)})
    if cost.when_infeasible is WhenInfeasible.KEEP_COST and affordable < least and variant.engine is not None:
        hard = _hard_limit(state, known, cost, rate)
        fewer = max(affordable, least if hard is None else hard, 1)
        return Counts({variant.name: min(fewer, least)}, {variant.name: min(fewer, tolerated)})
    return counts


def _hard_limit(state: ServiceState, known: Expected, cost: CostObjective, rate: float) -> int | None:
    """Replicas of the only variant below which latency exceeds its objectives by more than the hard limit.

    None where no number of replicas keeps it.
    """
    variant, targets, factor = state.variants[0], state.targets, float(cost.hard_limit_factor)
    eased = Targets(
        None if targets.inter_token is None else targets.inter_token * factor,
        None if targets.ttft is None else targets.ttft * factor,
        state.tuning.sizing.eased_percentile,
    )
    if variant.engine is None:
        return None
    capacity = capacity_of(variant.engine, known.load, eased, variant.ranks, state.results)
    if capacity is None:
        return None
    return ceil(rate / capacity.times(state.knee).rate - TINY)
