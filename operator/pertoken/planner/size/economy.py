"""What the money budget says of the counts: spend what it leaves (`Latency`), or stay within it (`KeepCost`).

The account tells what may be spent per hour so that the cost index of the window ends at 1 (`MoneyBudget.affordable`).
`optimize: Latency` spends what demand leaves of it on more replicas, which makes batches smaller, the cheapest variant
first, until every request has a replica to itself. `whenInfeasible: KeepCost` gives up, in this order: the forecast's
head-room, the percentile, latency up to the hard limit, and dearer variants whose requests cost more than they are
worth. Each is given up only as far as the budget asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil, floor, inf

from pertoken.accounting.cost_index import request_value
from pertoken.domain.cost import MoneyBudget
from pertoken.domain.service import CostObjective, Optimize, WhenInfeasible
from pertoken.frozen import dataclass
from pertoken.performance.steady import Load, Targets, at_batch
from pertoken.planner.proposal import Capacity
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.size.capacity import capacity_of, share_of
from pertoken.planner.size.expected import Expected
from pertoken.planner.size.fill import fill
from pertoken.units import SECONDS_PER_HOUR, TINY

Replicas = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """Replicas by variant that carry the demand, and those that carry it with tolerance before any goes."""

    least: Replicas
    with_tolerance: Replicas


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second without head-room: what is expected at the lead, and what is worked off of the backlog."""

    expected: float
    backlog: float = 0.0


@dataclass(frozen=True, slots=True)
class Economy:
    """The counts after the cost objective.

    Attributes:
        spare: replicas among `counts.least` that demand does not ask for, by variant.
        money: of the window; None where no money decides.
        affordable: USD per hour.
        given_up: what was given up to stay within it, in the order in which it was.
    """

    counts: Counts
    spare: Replicas
    money: MoneyBudget | None = None
    affordable: float = 0.0
    given_up: tuple[str, ...] = ()

    @property
    def eased(self) -> bool:
        """Fewer replicas than the latency objectives ask for."""
        return bool(self.given_up)


def economize(state: ServiceState, known: Expected, counts: Counts, rates: Rates) -> Economy:
    """The counts after the cost objective; as they were where money, or a variant's price, is not known."""
    cost, money = state.spec.cost, state.cost.money
    if cost is None or not isinstance(money, MoneyBudget) or any(v.usd_per_hour is None for v in state.variants):
        return Economy(counts, {})
    expects = rates.expected * request_value(known.load, cost.prices) * SECONDS_PER_HOUR
    earned = money.earned_per_hour
    # More replicas than are needed rest on what has been earned and is expected to go on: a fleet that swings with
    # every wave of demand pays for starts. What is needed more is paid for by the demand that needs it.
    affordable = money.affordable(expects if earned is None else min(earned, expects))
    asked = spend(known, counts.least)
    if cost.optimize is Optimize.LATENCY and affordable > asked:
        ceiling = affordable if cost.max_spend_per_hour is None else min(affordable, float(cost.max_spend_per_hour))
        more = _with_spare(state, known, counts.least, _Spare(ceiling, rates.expected))
        spare = {name: more[name] - count for name, count in counts.least.items() if more[name] > count}
        return Economy(Counts(more, _at_least(counts.with_tolerance, more)), spare, money, affordable)
    affordable = max(affordable, money.affordable(expects))
    if cost.when_infeasible is WhenInfeasible.KEEP_COST and affordable < asked - TINY:
        fewer, given_up = _within(state, known, counts.least, _Budget(cost, affordable, rates))
        return Economy(Counts(fewer, _at_most(counts.with_tolerance, fewer)), {}, money, affordable, given_up)
    return Economy(counts, {}, money, affordable)


def spend(known: Expected, counts: Replicas) -> float:
    """USD per hour of these replicas."""
    return sum(counts[variant.name] * (variant.usd_per_hour or 0.0) for variant in known.order)


def _at_least(counts: Replicas, others: Replicas) -> dict[str, int]:
    return {name: max(count, others[name]) for name, count in counts.items()}


def _at_most(counts: Replicas, others: Replicas) -> dict[str, int]:
    return {name: min(count, others[name]) for name, count in counts.items()}


@dataclass(frozen=True, slots=True)
class _Spare:
    """USD per hour that may be spent, and the requests per second that are to be served faster for it."""

    ceiling: float
    rate: float


def _with_spare(state: ServiceState, known: Expected, least: Replicas, spare: _Spare) -> dict[str, int]:
    """More replicas, cheapest variant first, as far as the money goes and until each request has one to itself."""
    counts, left = dict(least), spare.ceiling - spend(known, least)
    alone = {variant.name: _alone(state, variant, known.load) for variant in known.order}
    unserved = spare.rate - sum(count * alone[name] for name, count in least.items())
    for variant in known.order:
        price, count = variant.usd_per_hour or 0.0, counts[variant.name]
        room = variant.ceiling - count
        if price <= 0 or alone[variant.name] <= 0 or unserved <= TINY or room <= 0:
            continue
        more = max(0, min(room, floor(left / price + TINY), ceil(unserved / alone[variant.name] - TINY)))
        counts[variant.name] = count + more
        left -= more * price
        unserved -= more * alone[variant.name]
    return counts


def _alone(state: ServiceState, variant: VariantState, load: Load) -> float:
    """Requests per second of a replica whose engines work on one request at a time: no more make it faster."""
    if variant.engine is None:
        return 0.0
    return state.results.of(at_batch, variant.engine, load, 1.0).rate * variant.ranks


@dataclass(frozen=True, slots=True)
class _Budget:
    """The objective, USD per hour that may be spent, and the demand."""

    cost: CostObjective
    affordable: float
    rates: Rates


def _within(
    state: ServiceState, known: Expected, asked: Replicas, budget: _Budget
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The counts that the budget allows, and what is given up for them; the last resort where nothing is enough."""
    before, fewer, given_up = asked, dict(asked), []
    for name, counts in _concessions(state, known, budget):
        fewer = _at_most(counts, before)
        if spend(known, fewer) < spend(known, before) - TINY:
            given_up.append(name)
        if spend(known, fewer) <= budget.affordable + TINY:
            # What is left of the money gives back a part of the last concession.
            fewer = _refilled(known, fewer, before, budget.affordable)
            break
        before = fewer
    return fewer, tuple(given_up)


def _refilled(known: Expected, fewer: Replicas, most: Replicas, affordable: float) -> dict[str, int]:
    counts, left = dict(fewer), affordable - spend(known, fewer)
    for variant in known.order:
        price, room = variant.usd_per_hour or 0.0, most[variant.name] - counts[variant.name]
        more = room if price <= 0 else max(0, min(room, floor(left / price + TINY)))
        counts[variant.name] += more
        left -= more * price
    return counts


def _concessions(state: ServiceState, known: Expected, budget: _Budget) -> Iterator[tuple[str, Replicas]]:
    """What is given up and the counts that then carry the mean demand, one after the other."""
    rate = budget.rates.expected + budget.rates.backlog
    yield "head-room", fill(known.order, known.capacities, rate)
    yield "the percentile", fill(known.order, _eased(state, known, 1.0), rate)
    slowest = _eased(state, known, float(budget.cost.hard_limit_factor))
    yield "latency", fill(known.order, slowest, rate)
    yield "dearer variants", _without_dearer(known, slowest, rate, request_value(known.load, budget.cost.prices))


def _eased(state: ServiceState, known: Expected, factor: float) -> dict[str, Capacity]:
    """What replicas carry while half of the requests may exceed the objectives times this factor.

    The SLO knee is left out: it was learnt at the objectives themselves.
    """
    targets = state.targets.times(factor, state.tuning.sizing.eased_percentile)
    return {variant.name: _eased_capacity(state, variant, known, targets) for variant in known.order}


def _eased_capacity(state: ServiceState, variant: VariantState, known: Expected, targets: Targets) -> Capacity:
    usual = known.capacities[variant.name]
    eased = None
    if variant.engine is not None:
        eased = capacity_of(variant.engine, known.load, targets, variant.ranks, state.results)
    if eased is None:
        return usual
    eased = eased.times(share_of(known.delivered.get(variant.name), state.now, state.tuning.delivered))
    return eased if eased.rate > usual.rate else usual


def _without_dearer(known: Expected, capacities: Mapping[str, Capacity], rate: float, worth: float) -> Replicas:
    """The cheapest variant stays; of others only those that earn what they cost, and the minimums."""
    counts = fill(known.order, capacities, rate)
    for variant in known.order[1:]:
        price = variant.usd_per_hour or 0.0
        per_request = price / SECONDS_PER_HOUR / capacities[variant.name].rate if capacities[variant.name].rate else inf
        if per_request > worth:
            counts[variant.name] = min(counts[variant.name], variant.spec.min_replicas)
    return counts
