"""The second half of a plan: from what services will be asked for to the GPUs that every future needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.again import come_again, source_hours, to_buy_for
from pertoken.capacity.asked import Asked, Mistake
from pertoken.capacity.bursts.carried import carried_of, sized_for
from pertoken.capacity.bursts.stream import Stretch
from pertoken.capacity.demand import Demand
from pertoken.capacity.forecast.draw import Draws, futures_of
from pertoken.capacity.forecast.outlook import MEDIAN, P90, Outlook
from pertoken.capacity.foresight import Foresight
from pertoken.capacity.futures import Futures
from pertoken.capacity.gpus.needs import Needs, busiest
from pertoken.capacity.gpus.replicas import NotSized, Replica, replicas_of
from pertoken.capacity.remarks import demand_remarks, replica_remarks
from pertoken.capacity.spec import PlanSpec
from pertoken.capacity.tuning import DEMAND
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken.performance.replica import Models
from pertoken.performance.results import Results
from pertoken.performance.steady import Load
from pertoken.units import DAYS_PER_MONTH, HOURS_PER_DAY, SECONDS_PER_HOUR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a what-if changes of the requests: factors on their number, tokens in place of the observed."""

    demand: float = 1.0
    input_tokens: float | None = None
    output_tokens: float | None = None

    def load(self, demand: Demand) -> Load:
        """The mean request."""
        seen = demand.load
        inputs = seen.input_tokens if self.input_tokens is None else self.input_tokens
        outputs = seen.output_tokens if self.output_tokens is None else self.output_tokens
        return Load(inputs, outputs)


UNCHANGED = Changes()


@dataclass(frozen=True, slots=True, eq=False)
class ServicePlan:
    """One service in the plan.

    Attributes:
        load: the mean request that replicas are sized for.
        p50, p90, chosen: tokens per second by the hour: median, P90, and at the plan's confidence.
        scale: by the hour, tokens of the plan for each of the outlook's: growth, events, what a what-if changes.
        most: replicas by variant, the most of any future and hour.
    """

    spec: ServiceSpec
    demand: Demand
    load: Load
    outlook: Outlook
    p50: Floats
    p90: Floats
    chosen: Floats
    replicas: tuple[Replica, ...]
    most: tuple[int, ...]
    remarks: tuple[str, ...]
    scale: Floats

    def quantile(self, per_cent: float) -> Floats:
        """Tokens per second by the hour that demand stays below in `per_cent` of cases."""
        value: Floats = self.outlook.quantile(per_cent) * self.scale
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """GPUs for every future, and what they serve.

    Attributes:
        unplanned: services that could not be planned.
        past: the hours of the horizon if the last weeks came again.
        history_hours: how long a past it rests on.
    """

    spec: PlanSpec
    services: tuple[ServicePlan, ...]
    futures: Futures
    unplanned: tuple[Mistake, ...]
    remarks: tuple[str, ...]
    past: Futures
    history_hours: int

    @property
    def to_buy_for(self) -> Futures:
        """What purchases weigh: the futures, and the last weeks coming again."""
        return to_buy_for(self.futures, self.past)


@dataclass(frozen=True, slots=True)
class _Common:
    """What all services share."""

    asked: Asked
    foresight: Foresight
    changes: Changes
    pools: Mapping[str, PoolSpec]
    models: Models
    again: NDArray[np.int64]


def plan(asked: Asked, foresight: Foresight, changes: Changes = UNCHANGED) -> Planned:
    """Size all services together.

    Args:
        asked: the question; its services are those that were foreseen, or what a what-if makes of them.
        foresight: of them.
        changes: of a what-if.
    """
    pools = {pool.name: pool for pool in asked.pools}
    again = source_hours(asked.history.hours, asked.hours)
    common = _Common(asked, foresight, changes, pools, Models(asked.catalog, Results()), again)
    needs = Needs.none(asked.pools, asked.nodes, (asked.resamples, asked.hours))
    past = Needs.none(asked.pools, asked.nodes, again.shape)
    services: list[ServicePlan] = []
    unplanned = list(foresight.unknown)
    for spec in asked.services:
        if str(spec.key) in foresight.outlooks:
            planned = _service(spec, common, needs, past)
            if isinstance(planned, ServicePlan):
                services.append(planned)
            else:
                unplanned += planned
    futures, before = (
        Futures(each.futures(asked.history.end_s), asked.hours, asked.spec.confidence) for each in (needs, past)
    )
    hours = asked.history.hours
    return Planned(asked.spec, tuple(services), futures, tuple(unplanned), asked.history.remarks, before, hours)


def _service(spec: ServiceSpec, common: _Common, needs: Needs, past: Needs) -> ServicePlan | list[Mistake]:
    name, asked, draws = str(spec.key), common.asked, common.foresight.draws
    demand, outlook = common.foresight.demands[name], common.foresight.outlooks[name]
    load = common.changes.load(demand)
    longest = max(load.input_tokens, load.output_tokens)
    if longest > DEMAND.most_tokens:
        return [Mistake(name, "mean request", f"{longest:.4g} tokens", f"at most {DEMAND.most_tokens:.4g}")]
    replicas, refused = replicas_of(spec, common.pools, load.rounded(), common.models)
    if not replicas:
        return [_mistake(name, each) for each in refused]
    factors = factors_of(spec, asked) * common.changes.demand
    lead = _lead(replicas, asked.start_seconds)
    requests = futures_of(outlook, draws) * (factors / demand.per_request)
    ahead = busiest(requests, _peaks(demand, draws), lead)
    before = come_again(demand.tokens, common.again) * (factors / demand.per_request)
    again = busiest(before, np.nan_to_num(demand.peaks, nan=demand.usual_peak)[common.again], lead)
    carried = [
        carried_of(
            replica.carrier, _stretches(common, name), float(max(ahead.max(), again.max())), common.models.results
        )
        for replica in replicas
        if replica.carrier is not None
    ]
    most = needs.add(spec, replicas, sized_for(ahead, carried))
    past.add(spec, replicas, sized_for(again, carried))
    tokens = factors * (load.input_tokens + load.output_tokens) / demand.per_request
    p50, p90, chosen = (outlook.quantile(level) * tokens for level in (MEDIAN, P90, asked.spec.confidence))
    counts = tuple(int(count) for count in most)
    remarks = (*demand_remarks(demand, asked.histories[name]), *replica_remarks(replicas, refused, counts))
    return ServicePlan(spec, demand, load, outlook, p50, p90, chosen, replicas, counts, remarks, tokens)


def _mistake(name: str, refused: NotSized) -> Mistake:
    return Mistake(name, f"variant {refused.variant}: {refused.field}", refused.value, refused.expectation)


def _stretches(common: _Common, service: str) -> tuple[Stretch, ...]:
    """Of the service's single requests; a what-if about their lengths asks for the usual ones."""
    changes = common.changes
    if changes.input_tokens is None and changes.output_tokens is None:
        return common.asked.histories[service].stretches
    return ()


def _lead(replicas: Sequence[Replica], start_seconds: float) -> float:
    """Seconds from a need to a replica that serves, of the slowest pool: a new node, and the start of the engine."""
    return max(replica.pool.provisioning_seconds for replica in replicas) + start_seconds


def _peaks(demand: Demand, draws: Draws) -> Floats:
    """Burst of the hour that each future repeats; the usual one where that hour does not tell its own."""
    if draws.source is None:
        return np.full(draws.common.shape, demand.usual_peak)
    peaks = np.where(np.isfinite(demand.peaks), demand.peaks, demand.usual_peak)
    repeated: Floats = peaks[draws.source]
    return repeated


def factors_of(spec: ServiceSpec, asked: Asked) -> Floats:
    """Growth and declared events by the hour of the horizon."""
    hours = np.arange(asked.hours)
    factors = (1.0 + asked.spec.growth_per_month) ** ((hours + 1 / 2) / (DAYS_PER_MONTH * HOURS_PER_DAY))
    times = asked.history.end_s + hours * SECONDS_PER_HOUR
    for event in asked.spec.events:
        if not event.services or spec.key in event.services:
            during = (times + SECONDS_PER_HOUR > event.begin_s) & (times < event.end_s)
            factors = np.where(during, factors * event.factor, factors)
    return np.asarray(factors, dtype=np.float64)
