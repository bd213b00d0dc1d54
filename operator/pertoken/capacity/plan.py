"""The plan: from services, pools and their history to futures of GPUs, one service after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.demand import USUAL_SHAPE, Demand, Shape, demand_of
from pertoken.capacity.forecast.backtest import Origins, origins_of
from pertoken.capacity.forecast.draw import Draws, draw, futures_of
from pertoken.capacity.forecast.outlook import Outlook, outlook_of
from pertoken.capacity.futures import Futures
from pertoken.capacity.gpus.needs import Needs, Nodes, busiest
from pertoken.capacity.gpus.replicas import NotSized, Replica, replicas_of
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.tuning import BACKTEST, FUTURES
from pertoken.catalog.lookup import Catalog
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken.domain.world import PlannerSettings
from pertoken.performance.replica import Models
from pertoken.performance.results import Results
from pertoken.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_HOUR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Event:
    """A time in which a service is asked for more or less than its history says.

    Attributes:
        service: name; empty for all.
        start_s, end_s: on the clock of the history.
        factor: times the forecast.
    """

    service: str
    start_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the user asks of the plan.

    Attributes:
        horizon_days: how far ahead.
        confidence: per cent of futures for which the plan suffices.
        growth_per_month: share by which demand grows in a month beyond what the forecast follows; compounded.
        shape: of requests whose history does not tell tokens.
        seed: of the resampling.
    """

    horizon_days: int
    confidence: float = 90.0
    growth_per_month: float = 0.0
    events: tuple[Event, ...] = ()
    shape: Shape = USUAL_SHAPE
    resamples: int = FUTURES.resamples
    seed: int = 0

    @property
    def hours(self) -> int:
        """Of the horizon."""
        return self.horizon_days * HOURS_PER_DAY


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that a plan is made of. Equal questions give equal plans.

    Attributes:
        histories: by service, the hours of `history`.
        nodes: by pool, what is known of its nodes.
    """

    services: tuple[ServiceSpec, ...]
    pools: tuple[PoolSpec, ...]
    history: History
    histories: Mapping[str, ServiceHistory]
    catalog: Catalog
    options: PlanOptions
    nodes: Mapping[str, Nodes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ServicePlan:
    """One service in the plan.

    Attributes:
        p50, p90, chosen: tokens per second by the hour: median, P90, and at the plan's confidence.
        most: replicas by variant, the most of any future and hour.
    """

    spec: ServiceSpec
    demand: Demand
    outlook: Outlook
    p50: Floats
    p90: Floats
    chosen: Floats
    replicas: tuple[Replica, ...]
    most: tuple[int, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a service cannot be planned: field, value, expectation."""

    service: str
    field: str
    value: str
    expectation: str

    def __str__(self) -> str:
        return f"{self.service}: {self.field}: {self.value!r}: expected {self.expectation}"


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """The plan without what it costs."""

    services: tuple[ServicePlan, ...]
    futures: Futures
    origins: Origins
    options: PlanOptions
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Common:
    """What all services share."""

    asked: Asked
    pools: Mapping[str, PoolSpec]
    origins: Origins
    draws: Draws
    models: Models


def plan(asked: Asked) -> Planned | tuple[Mistake, ...]:
    """Plan all services together; mistakes, all at once, where one of them cannot be planned.

    Raises:
        LibraryMissing: statsforecast is not installed.
    """
    options = asked.options
    most = max(BACKTEST.least_origins, min(BACKTEST.most_origins, BACKTEST.origin_budget // len(asked.services)))
    origins = origins_of(asked.history.hours, options.hours, most)
    common = _Common(
        asked,
        {pool.name: pool for pool in asked.pools},
        origins,
        draw(origins, options.resamples, options.seed),
        Models(asked.catalog, Results()),
    )
    needs = Needs.none(asked.pools, asked.nodes, (options.resamples, options.hours))
    services: list[ServicePlan] = []
    mistakes: list[Mistake] = []
    for spec in asked.services:
        planned = _service(spec, common, needs)
        if isinstance(planned, ServicePlan):
            services.append(planned)
        else:
            mistakes += planned
    if mistakes:
        return tuple(mistakes)
    pools = needs.futures(asked.history.end_s)
    futures = Futures(pools, options.hours, options.confidence)
    return Planned(tuple(services), futures, origins, options, asked.history.remarks)


def _service(spec: ServiceSpec, common: _Common, needs: Needs) -> ServicePlan | list[Mistake]:
    asked = common.asked
    history = asked.histories[str(spec.key)]
    demand = demand_of(history, asked.options.shape)
    name = str(spec.key)
    replicas, refused = replicas_of(spec, common.pools, demand.load, common.models)
    if not replicas:
        return [_mistake(name, each) for each in refused]
    outlook = outlook_of(demand.tokens, common.origins)
    if outlook is None:
        known = int(np.isfinite(demand.tokens).sum())
        least = BACKTEST.least_history_days * HOURS_PER_DAY
        return [Mistake(name, "history", f"{known} hours", f"{least} or more, half of them without gaps")]
    factors = factors_of(spec, asked)
    tokens = futures_of(outlook, common.draws) * factors
    rates = busiest(tokens / demand.per_request, _peaks(demand, common.draws), _lead(replicas))
    most = needs.add(spec, replicas, rates)
    p50, p90, chosen = (outlook.quantile(level) * factors for level in (50.0, 90.0, asked.options.confidence))
    remarks = (*_demand_remarks(demand, history), *_replica_remarks(replicas, refused, most))
    return ServicePlan(spec, demand, outlook, p50, p90, chosen, replicas, tuple(int(n) for n in most), remarks)


def _mistake(name: str, refused: NotSized) -> Mistake:
    return Mistake(name, f"variant {refused.variant}: {refused.field}", refused.value, refused.expectation)


def _lead(replicas: Sequence[Replica]) -> float:
    """Seconds from a need to a replica that serves, of the slowest pool: a new node, and the start of the engine."""
    return max(replica.pool.provisioning_seconds for replica in replicas) + PlannerSettings().start_seconds


def _peaks(demand: Demand, draws: Draws) -> Floats:
    """Burst of the hour that each future repeats; the usual one where that hour does not tell its own."""
    usual = demand.usual_peak
    sources = draws.source_hours()
    if sources is None:
        return np.full(draws.common.shape, usual)
    return np.nan_to_num(demand.peaks, nan=usual)[sources]


def factors_of(spec: ServiceSpec, asked: Asked) -> Floats:
    """Growth and declared events by the hour of the horizon."""
    options = asked.options
    hours = np.arange(options.hours)
    factors = (1.0 + options.growth_per_month) ** ((hours + 0.5) / HOURS_PER_MONTH)
    times = asked.history.end_s + hours * SECONDS_PER_HOUR
    for event in options.events:
        if event.service in {"", spec.key.name, str(spec.key)}:
            during = (times + SECONDS_PER_HOUR > event.start_s) & (times < event.end_s)
            factors = np.where(during, factors * event.factor, factors)
    return np.asarray(factors, dtype=np.float64)


def _demand_remarks(demand: Demand, history: ServiceHistory) -> list[str]:
    remarks = []
    if demand.assumed:
        shape = f"{demand.load.input_tokens:g} input and {demand.load.output_tokens:g} output tokens a request"
        remarks.append(f"history tells no {', '.join(demand.assumed)}: taken with {shape}")
    if not np.isfinite(history.peak).any():
        remarks.append(f"history has no bins inside the hour: bursts taken as {demand.usual_peak:g} times its mean")
    told = np.flatnonzero(np.isfinite(demand.tokens))
    gaps = int(told[-1] - told[0] + 1 - len(told)) if len(told) else 0
    if gaps:
        remarks.append(f"{gaps} hours of the history are gaps")
    late = len(demand.tokens) - 1 - int(told[-1]) if len(told) else 0
    if late:
        remarks.append(f"history ends {late} hours before the others'")
    days = (len(demand.tokens) - int(told[0])) / HOURS_PER_DAY if len(told) else 0.0
    if days < BACKTEST.long_days:
        remarks.append(
            f"{days:.0f} days of history: "
            + ("weekends cannot be told from other days" if days < BACKTEST.week_days else "no month can be told apart")
        )
    return remarks


def _replica_remarks(replicas: Sequence[Replica], refused: Sequence[NotSized], most: NDArray[np.int64]) -> list[str]:
    remarks = [f"variant {r.variant}: not sized: {r.field}: {r.value!r}: expected {r.expectation}" for r in refused]
    for replica, count in zip(replicas, most, strict=True):
        name = replica.variant.name
        if replica.missed is not None:
            missed = replica.missed
            remarks.append(
                f"variant {name}: no number of replicas keeps {missed.what}: an idle one takes "
                f"{missed.seconds * 1000:.0f} ms, the objective is {missed.objective * 1000:.0f} ms"
            )
        if count > replica.variant.max_replicas:
            remarks.append(
                f"variant {name}: up to {count} replicas are needed, maxReplicas is {replica.variant.max_replicas}"
            )
    return remarks
