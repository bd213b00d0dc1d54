"""Right-sizing in dollars: changes of a service that keep its objectives, by what they save each month.

Both sides of a saving are modelled alike: the replicas that the observed demand takes, at least one, at their price for
730 hours. A change keeps the objectives when one replica, lightly loaded, keeps every latency objective at its
percentile; replicas are then added until the demand is carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor
from typing import Final

from pertoken.calculators.breakeven import BreakEven, ReplicaGroup, api_usd_per_request, break_even
from pertoken.calculators.changes import Change, Choice, Kind, changes
from pertoken.calculators.fleet import HOURS_PER_MONTH, Demand, Fleet, Requests, Setup, fleet
from pertoken.calculators.tuning import TUNING, AdviceTuning
from pertoken.domain.service import PriceList
from pertoken.performance.memory import count
from pertoken.units import SECONDS_PER_HOUR, THOUSAND, TINY

BEST_ALONE: Final = (Kind.CAP, Kind.CHUNK)  # of these only the best value is told
WIDTH_FOLLOWS: Final = (Kind.MODEL, Kind.QUANTIZATION, Kind.GPU)  # after these another width may save more


class Surety(StrEnum):
    """What a row's figures rest on."""

    CALIBRATED = "calibrated here"
    MEASURED = "measured elsewhere"
    MODELLED = "modelled"


def surety(setup: Setup, tuning: AdviceTuning = TUNING) -> Surety:
    """Learnt on this very setup; else latencies or kernels were measured on the GPU; else data sheets alone."""
    if setup.samples >= tuning.calibrated:
        return Surety.CALIBRATED
    return Surety.MEASURED if setup.gpu.efficiency.measured else Surety.MODELLED


@dataclass(frozen=True, slots=True)
class Row:
    """One change, its fleet, and what it saves."""

    change: Change
    fleet: Fleet
    saved_usd_per_month: float

    @property
    def surety(self) -> Surety:
        """What the figures rest on."""
        return surety(self.change.setup)


@dataclass(frozen=True, slots=True)
class ContextPrice:
    """What 1,000 further prompt tokens in every request cost on replicas that are used to the full.

    Attributes:
        usd_per_thousand_requests: of 1,000 requests.
        usd_per_month: at the observed rate.
    """

    usd_per_thousand_requests: float
    usd_per_month: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer.

    Attributes:
        present: as it runs; None where its weights leave no KV cache.
        rows: by saving, the largest first.
        context: with 1,000 further computed tokens; None where an objective cannot be kept with them.
        cached_context: with 1,000 further tokens out of the prefix cache.
    """

    present: Fleet | None
    rows: tuple[Row, ...]
    context: ContextPrice | None
    cached_context: ContextPrice | None

    @property
    def kept(self) -> bool:
        """Whether the present setup or a changed one keeps every objective."""
        return (self.present is not None and self.present.keeps) or any(row.fleet.keeps for row in self.rows)


@dataclass(frozen=True, slots=True)
class AgainstApi:
    """A fleet beside an API that charges by the token.

    Attributes:
        thresholds: loads from which own GPUs pay.
        api_usd_per_month: at the observed rate.
        utilization: share of what the replicas carry that the observed rate is.
    """

    thresholds: BreakEven
    api_usd_per_month: float
    utilization: float


def advise(
    setup: Setup,
    requests: Requests,
    demand: Demand,
    choice: Choice,
    tuning: AdviceTuning = TUNING,
    *,
    everything: bool = False,
) -> Advice:
    """Try every single change.

    Args:
        setup: as it runs.
        requests: as they are.
        demand: as it was observed.
        choice: GPUs and models to choose from.
        tuning: what is worth telling.
        everything: tell every change that keeps the latency objectives, those that save nothing too.
    """
    present = fleet(setup, requests, demand)
    rows = [row for row in _rows(present, changes(setup, requests, choice, tuning), demand) if row.fleet.missed is None]
    if not everything:
        rows = [row for row in _best_alone(_widths_that_help(rows), tuning) if _worth(row, present, demand, tuning)]
        rows = _largest_unknown(rows, tuning)
    rows.sort(key=lambda row: (-round(row.saved_usd_per_month, 2), _full_usd(row.fleet, demand)))
    context, cached = (_context_price(present, requests, demand, cached=cached) for cached in (False, True))
    return Advice(present, tuple(rows), context, cached)


def _widths_that_help(rows: Iterable[Row]) -> list[Row]:
    """Of the rows with another tensor parallelism too, the best of each change, where it saves more than without."""
    rows = list(rows)
    most: dict[tuple[Kind, str, str, str], Row] = {}
    for row in rows:
        if row.change.kind in WIDTH_FOLLOWS:
            best = most.setdefault(_changed_to(row), row)
            if row.saved_usd_per_month > best.saved_usd_per_month + TINY:
                most[_changed_to(row)] = row
    return [row for row in rows if not row.change.widened or most[_changed_to(row)] is row]


def _changed_to(row: Row) -> tuple[Kind, str, str, str]:
    setup = row.change.setup
    return row.change.kind, setup.model.id, setup.precision, setup.gpu.id


def _rows(present: Fleet | None, tried: Iterable[Change], demand: Demand) -> Iterator[Row]:
    for change in tried:
        changed = fleet(change.setup, change.requests, demand)
        if changed is not None:
            before = 0.0 if present is None else present.usd_per_month
            yield Row(change, changed, before - changed.usd_per_month)


def _best_alone(rows: Iterable[Row], tuning: AdviceTuning) -> list[Row]:
    """Of caps and of chunks the one that carries most; of those as good the first, which is the smallest."""
    rows = list(rows)
    best = {}
    for kind in BEST_ALONE:
        alike = [row for row in rows if row.change.kind is kind]
        most = max((row.fleet.carried for row in alike), default=0.0)
        best[kind] = next((row for row in alike if row.fleet.carried >= most * (1.0 - tuning.as_good)), None)
    return [row for row in rows if best.get(row.change.kind, row) is row]


def _worth(row: Row, present: Fleet | None, demand: Demand, tuning: AdviceTuning) -> bool:
    """It saves money now, or with more traffic; where the present setup misses an objective, keeping it is enough."""
    if present is None or present.missed is not None:
        return True
    if row.saved_usd_per_month > TINY:
        return True
    cheaper = _full_usd(row.fleet, demand) <= _full_usd(present, demand) * (1.0 - tuning.least_gain)
    return row.saved_usd_per_month > -TINY and cheaper


def _largest_unknown(rows: Sequence[Row], tuning: AdviceTuning) -> list[Row]:
    """Of models whose quality nobody knows the largest ones alone: the least change of the answers."""
    sizes = {
        row.change.setup.model.id: count(row.change.setup.model).total for row in rows if row.change.unknown_quality
    }
    told = sorted(sizes, key=lambda model: -sizes[model])[: tuning.most_unknown]
    return [row for row in rows if not row.change.unknown_quality or row.change.setup.model.id in told]


def _context_price(present: Fleet | None, requests: Requests, demand: Demand, *, cached: bool) -> ContextPrice | None:
    if present is None or present.missed is not None:
        return None
    load = requests.load
    longer = load.input_tokens + THOUSAND
    hit = load.input_tokens - load.computed_tokens + (THOUSAND if cached else 0.0)
    context = None if load.context is None else load.context + THOUSAND
    more = replace(load, input_tokens=longer, cached_share=hit / longer, context=context)
    changed = fleet(present.setup, replace(requests, load=more), demand)
    if changed is None or changed.missed is not None:
        return None
    added = _full_usd(changed, demand) - _full_usd(present, demand)
    return ContextPrice(added * THOUSAND, added * demand.rate * SECONDS_PER_HOUR * HOURS_PER_MONTH)


def _full_usd(of: Fleet, demand: Demand) -> float:
    """Of one request where peaks use replicas to the full."""
    return of.setup.usd_per_hour * demand.peak_factor / SECONDS_PER_HOUR / of.carried


def rate_at_budget(of: Fleet, demand: Demand, usd_per_hour: float) -> float | None:
    """Requests/s on average that whole replicas for this money carry within the objectives; None where all is free."""
    price = of.setup.usd_per_hour
    if price <= 0:
        return None
    return floor(usd_per_hour / price + TINY) * of.carried / demand.peak_factor


def against_api(of: Fleet, demand: Demand, prices: PriceList) -> AgainstApi:
    """Own GPUs beside an API's prices."""
    group = ReplicaGroup(of.carried, of.setup.usd_per_hour, demand.peak_factor)
    per_month = demand.rate * SECONDS_PER_HOUR * HOURS_PER_MONTH
    return AgainstApi(
        break_even(group, of.load, prices),
        api_usd_per_request(of.load, prices) * per_month,
        demand.rate / (of.replicas * of.carried),
    )
