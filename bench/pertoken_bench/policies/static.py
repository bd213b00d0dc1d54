"""Static fleets: how many replicas that never change keep the objectives, found by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.scenarios.prepare import Prepared
from pertoken_bench.scenarios.work import request_seconds
from pertoken_bench.score.windows import Mask, shares_by_window, within_objectives
from pertoken_bench.traces.trace import Trace

GROWTH: Final = 1.3
GRACE_SECONDS: Final = 600.0
INITIAL_SECONDS: Final = 600.0

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SingleVariant:
    """One service on one of its variants, without the others."""

    prepared: Prepared
    index: int
    service: ServiceSpec
    variant: VariantSpec
    trace: Trace

    @property
    def place(self) -> Place:
        """Key of orders."""
        return self.service.key.name, self.variant.name

    @property
    def required(self) -> float:
        """Share of requests that the objective asks for."""
        return self.service.latency.percentile / 100.0


def alone(prepared: Prepared, index: int, variant: VariantSpec, until: float = math.inf) -> SingleVariant:
    """A service's own requests before `until` on one variant."""
    chosen = (prepared.trace.service == index) & (prepared.trace.arrival < until)
    trace = prepared.trace.take(np.flatnonzero(chosen))
    trace = replace(trace, service=np.zeros(len(trace), np.int32))
    return SingleVariant(prepared, index, prepared.scenario.services[index], variant, trace)


def good(by_itself: SingleVariant, replicas: int) -> Mask:
    """Which requests a static fleet serves within the objectives."""
    prepared = by_itself.prepared
    config = replace(
        prepared.config,
        kinds=[prepared.config.kinds[prepared.kinds[by_itself.index, by_itself.variant.name]]],
        objectives=[prepared.config.objectives[by_itself.index]],
        edges=[prepared.config.edges[by_itself.index]],
        slots=replicas,
        max_cap=by_itself.variant.batching.max_sequences,
        record=True,
    )
    fleet = Fleet(by_itself.trace, config)
    for uid in range(1, replicas + 1):
        fleet.start(0, 0, uid, by_itself.variant.batching.max_sequences, -3000.0)
    fleet.advance(float(by_itself.trace.arrival[-1]) + GRACE_SECONDS)
    return within_objectives(fleet)


def keeps_overall(by_itself: SingleVariant, within: Mask) -> bool:
    """The objective holds over all scored requests."""
    scored = by_itself.trace.arrival >= min(by_itself.prepared.scenario.warmup, float(by_itself.trace.arrival[-1]))
    return bool(within[scored].mean() >= by_itself.required)


def keeps_everywhere(by_itself: SingleVariant, within: Mask) -> bool:
    """The objective holds overall and in every window of ten minutes."""
    if not keeps_overall(by_itself, within):
        return False
    return bool((shares_by_window(by_itself.trace.arrival, within) >= by_itself.required).all())


def smallest(by_itself: SingleVariant, keeps: Callable[[SingleVariant, Mask], bool], most: int) -> int | None:
    """Fewest replicas that keep the objective; None if `most` do not. 0 for a service without requests."""
    if not len(by_itself.trace):
        return 0
    tried: dict[int, bool] = {}

    def holds(replicas: int) -> bool:
        if replicas not in tried:
            tried[replicas] = keeps(by_itself, good(by_itself, replicas))
        return tried[replicas]

    span = max(float(by_itself.trace.arrival[-1] - by_itself.trace.arrival[0]), 60.0)
    guess = max(
        1,
        min(
            most,
            math.ceil(
                float(request_seconds(by_itself.prepared, by_itself.index, by_itself.variant, by_itself.trace).sum())
                / span
            ),
        ),
    )
    low, high = 0, guess
    while not holds(high):
        if high >= most:
            return None
        low, high = high, min(most, max(high + 1, int(high * GROWTH)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def fleet_for(
    prepared: Prepared, keeps: Callable[[SingleVariant, Mask], bool], until: float = math.inf
) -> Mapping[Place, int]:
    """Static replicas of all services: each on its cheapest variants, by priority, as far as the pools go."""
    scenario = prepared.scenario
    free = {pool.name: pool.capacity_gpus or 0 for pool in scenario.pools}
    prices = {pool.name: float(pool.price_per_gpu_hour or 0) for pool in scenario.pools}
    fleet: dict[Place, int] = {}
    order = sorted(range(len(scenario.services)), key=lambda i: (-scenario.services[i].priority, i))
    for index in order:
        service = scenario.services[index]
        options = []
        for variant in service.variants:
            gpus = variant.parallelism.gpus
            room = min(variant.max_replicas, free[variant.pool] // gpus)
            fleet[service.key.name, variant.name] = min(variant.min_replicas, room)
            if room > 0:
                count = smallest(alone(prepared, index, variant, until), keeps, room)
                cost = math.inf if count is None else count * gpus * prices[variant.pool]
                options.append((cost, -room, variant, room if count is None else count))
        options.sort(key=lambda option: option[:2])
        for cost, _, variant, count in options[: 1 if options and options[0][0] < math.inf else None]:
            place = service.key.name, variant.name
            fleet[place] = max(count, fleet[place])
            if cost < math.inf:
                break
        for variant in service.variants:
            free[variant.pool] -= fleet[service.key.name, variant.name] * variant.parallelism.gpus
    return fleet


def initial_replicas(prepared: Prepared) -> dict[str, int]:
    """Replicas at the start, the same for every policy: what keeps the first ten minutes, unless the scenario says."""
    until = max(INITIAL_SECONDS, prepared.scenario.warmup)
    fleet = fleet_for(prepared, keeps_overall, until)
    return {f"{service}/{variant}": count for (service, variant), count in fleet.items()} | dict(
        prepared.scenario.initial
    )
