"""`clairvoyant`: a real schedule made with knowledge of the trace, the engines and the start-up times.

For every minute it knows the GPU time of the requests that will arrive and orders replicas one cold start ahead, as
many as fill them to a utilization. The utilization is the largest that keeps the objective, found by simulating;
replicas are then taken away piece by piece while it still holds. It is a policy, not a bound: a better schedule may
exist, and the objective may be met elsewhere with less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.policies.fixed import Schedule, Steps
from pertoken_bench.policies.static import Place, alone, fleet_for, keeps_overall
from pertoken_bench.scenarios.prepare import Prepared, single_service
from pertoken_bench.scenarios.work import decode_seconds, request_seconds
from pertoken_bench.simulation import Run, attainment

BIN_SECONDS: Final = 30.0
BISECTIONS: Final = 9
TRIALS: Final = 80
WORK_LIMIT: Final = 4_000_000  # simulated requests that a search may spend

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Need:
    """One service on the variant that it runs on: work per bin (busy replicas)."""

    place: Place
    load: Floats
    least: int
    most: int


def clairvoyant(prepared: Prepared) -> Schedule:
    """The schedule: each service's own, where it holds beside the others; static replicas where that is better."""
    statics = fleet_for(prepared, keeps_overall)
    services = prepared.scenario.services
    static = _static_schedule(statics)
    budget = max(BISECTIONS, min(TRIALS, WORK_LIMIT // max(1, len(prepared.trace))) // len(services))
    steps = dict(static.steps)
    for index in range(len(services)):
        single = single_service(prepared, index)
        own = {place: count for place, count in statics.items() if place[0] == services[index].key.name}
        if len(single.trace):
            steps |= _Search(single, _need(single, own), own, budget).best().steps
    joint = Schedule(steps)
    reference = _tried(prepared, static)
    for schedule in (joint, _without_losers(prepared, joint, static)):
        score = _tried(prepared, schedule)
        if score.better_than(reference):
            return schedule
    return static


@dataclass(frozen=True, slots=True)
class _Tried:
    """One schedule's outcome: services that miss their objective, and USD."""

    missed: frozenset[int]
    usd: float

    def better_than(self, other: _Tried) -> bool:
        """Fewer missed objectives, or as few for less."""
        return (len(self.missed), self.usd) < (len(other.missed), other.usd)


def _tried(prepared: Prepared, schedule: Schedule) -> _Tried:
    run = Run(prepared, schedule, first_replicas(schedule))
    run.go()
    missed = frozenset(
        index
        for index, service in enumerate(prepared.scenario.services)
        if attainment(run.fleet, index) < service.latency.percentile / 100.0
    )
    return _Tried(missed, sum(bill.usd for bill in run.cluster.bill.values()))


def _without_losers(prepared: Prepared, schedule: Schedule, static: Schedule) -> Schedule:
    """Static replicas for the services that miss their objective beside the others."""
    losers = {prepared.scenario.services[index].key.name for index in _tried(prepared, schedule).missed}
    return Schedule(
        {place: static.steps[place] if place[0] in losers else steps for place, steps in schedule.steps.items()}
    )


def _static_schedule(statics: Mapping[Place, int]) -> Schedule:
    return Schedule({place: [(0.0, count)] for place, count in statics.items()})


def _need(prepared: Prepared, statics: Mapping[Place, int]) -> _Need:
    """The only service of a scenario, on the variant that its static fleet uses most."""
    service = prepared.scenario.services[0]
    variant = max(service.variants, key=lambda variant: statics[service.key.name, variant.name])
    by_itself = alone(prepared, 0, variant)
    bins = math.ceil(prepared.end / BIN_SECONDS)
    seconds = request_seconds(prepared, 0, variant, by_itself.trace)
    span = decode_seconds(prepared, 0, variant, by_itself.trace)
    load = _spread(by_itself.trace.arrival, span, seconds, bins)
    return _Need(by_itself.place, load, variant.min_replicas, variant.max_replicas)


def _spread(arrival: Floats, span: Floats, seconds: Floats, bins: int) -> Floats:
    """Busy replicas per bin, each request's work evenly over the bins in which it is served."""
    first = np.minimum((arrival / BIN_SECONDS).astype(np.int64), bins - 1)
    last = np.minimum(((arrival + span) / BIN_SECONDS).astype(np.int64), bins - 1)
    share = seconds / (last - first + 1) / BIN_SECONDS
    change = np.bincount(first, weights=share, minlength=bins + 1) - np.bincount(
        last + 1, weights=share, minlength=bins + 1
    )
    load: Floats = np.cumsum(change)[:bins]
    return load


class _Search:
    """Tries schedules of one service on the scenario itself."""

    def __init__(self, prepared: Prepared, need: _Need, statics: Mapping[Place, int], budget: int) -> None:
        self.prepared = prepared
        self.need = need
        self.statics = statics
        self.budget = budget

    def best(self) -> Schedule:
        """The tightest utilization that keeps the objective, trimmed."""
        tight, loose = 1.6, 0.15
        cheapest = self._counts(loose)
        for _ in range(BISECTIONS):
            middle = math.sqrt(tight * loose)
            counts = self._counts(middle)
            if self._keeps(counts):
                loose, cheapest = middle, counts
            else:
                tight = middle
        return self._schedule(self._trimmed(cheapest))

    def _counts(self, utilization: float) -> Counts:
        """Replicas per bin: the work of the neighbouring bins at this utilization; short valleys stay filled."""
        valley = max(1, round(self.prepared.scenario.timing.cold_start / BIN_SECONDS))
        smooth = np.convolve(np.pad(self.need.load, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        wanted = np.ceil(smooth / utilization - 1e-9).astype(np.int64)
        return _filled(np.clip(wanted, self.need.least, self.need.most), valley)

    def _keeps(self, counts: Counts) -> bool:
        self.budget -= 1
        return not _tried(self.prepared, self._schedule(counts)).missed

    def _schedule(self, counts: Counts) -> Schedule:
        timing = self.prepared.scenario.timing
        lead = timing.cold_start * (1.0 + timing.spread) + timing.provisioning
        steps: dict[Place, Steps] = {place: [(0.0, 0)] for place in self.statics}
        steps[self.need.place] = _ordered(counts, lead)
        return Schedule(steps)

    def _trimmed(self, counts: Counts) -> Counts:
        """Take one replica from the longest stretches while the objective holds."""
        for first, last in sorted(_stretches(counts), key=lambda stretch: stretch[0] - stretch[1]):
            if self.budget <= 0:
                break
            changed = counts.copy()
            changed[first:last] -= 1
            if changed[first:last].min() >= self.need.least and self._keeps(changed):
                counts = changed
        return counts


def first_replicas(schedule: Schedule) -> dict[str, int]:
    """Replicas that a schedule has at the start."""
    return {f"{service}/{variant}": steps[0][1] for (service, variant), steps in schedule.steps.items()}


def _filled(wanted: Counts, valley: int) -> Counts:
    """No replica goes for fewer bins than its start takes."""
    result = wanted.copy()
    for level in range(int(wanted.min()) + 1, int(wanted.max()) + 1):
        above = np.flatnonzero(wanted >= level)
        for left, right in pairwise(above.tolist()):
            if 1 < right - left <= valley:
                result[left:right] = np.maximum(result[left:right], level)
    return result


def _ordered(wanted: Counts, lead: float) -> Steps:
    """When to order: rises one start-up earlier than they are needed, falls when they are due."""
    reach = math.ceil(lead / BIN_SECONDS)
    changes: list[tuple[float, int]] = [(0.0, int(wanted[: reach + 1].max()))]
    for index in range(1, len(wanted) + reach):
        window = wanted[max(0, index) : index + reach + 1]
        if not len(window):
            break
        needed = int(window.max())
        if needed != changes[-1][1]:
            changes.append((index * BIN_SECONDS, needed))
    return changes


def _stretches(wanted: Counts) -> list[tuple[int, int]]:
    """Runs of equal counts."""
    cuts = [0, *(np.flatnonzero(np.diff(wanted)) + 1).tolist(), len(wanted)]
    return list(pairwise(cuts))
