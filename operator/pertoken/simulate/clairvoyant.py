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

from pertoken.simulate.fixed import Schedule, Steps
from pertoken.simulate.prepare import Prepared
from pertoken.simulate.simulation import Run, attainment
from pertoken.simulate.static import Place, alone, fleet_for, keeps_overall
from pertoken.simulate.work import request_seconds

BIN_SECONDS: Final = 30.0
BISECTIONS: Final = 9
TRIALS: Final = 80
WORK_LIMIT: Final = 4_000_000  # simulated requests that a search may spend

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Need:
    """One service on the variant that it runs on: work per bin (busy replicas)."""

    place: Place
    index: int
    load: NDArray[np.float64]
    least: int
    most: int


def clairvoyant(prepared: Prepared) -> Schedule:
    """The schedule."""
    statics = fleet_for(prepared, keeps_overall)
    needs = [_need(prepared, index, statics) for index in range(len(prepared.scenario.services))]
    budget = max(BISECTIONS, min(TRIALS, WORK_LIMIT // max(1, len(prepared.trace))))
    search = _Search(prepared, needs, statics, budget)
    return search.best()


def _need(prepared: Prepared, index: int, statics: Mapping[Place, int]) -> _Need:
    service = prepared.scenario.services[index]
    variant = max(service.variants, key=lambda one: statics[service.key.name, one.name])
    one = alone(prepared, index, variant)
    bins = math.ceil(prepared.end / BIN_SECONDS)
    load = np.zeros(bins)
    if len(one.trace):
        seconds = request_seconds(prepared, index, variant, one.trace)
        which = np.minimum((one.trace.arrival / BIN_SECONDS).astype(np.int64), bins - 1)
        load = np.bincount(which, weights=seconds, minlength=bins) / BIN_SECONDS
    return _Need(one.place, index, load, variant.min_replicas, variant.max_replicas)


class _Search:
    """Tries schedules on the scenario itself."""

    def __init__(self, prepared: Prepared, needs: list[_Need], statics: Mapping[Place, int], budget: int) -> None:
        self.prepared = prepared
        self.needs = needs
        self.statics = statics
        self.budget = budget

    def best(self) -> Schedule:
        tight, loose = 1.6, 0.15
        found = self._counts(loose)
        for _ in range(BISECTIONS):
            middle = math.sqrt(tight * loose)
            counts = self._counts(middle)
            if self._keeps(counts):
                loose, found = middle, counts
            else:
                tight = middle
        return self._schedule(self._trimmed(found))

    def _counts(self, utilization: float) -> list[Counts]:
        """Replicas per bin: the work of the neighbouring bins at this utilization; short valleys stay filled."""
        counts = []
        valley = max(1, round(self.prepared.scenario.timing.cold_start / BIN_SECONDS))
        for need in self.needs:
            smooth = np.convolve(np.pad(need.load, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
            wanted = np.ceil(smooth / utilization - 1e-9).astype(np.int64)
            wanted = np.clip(wanted, need.least, need.most)
            counts.append(_filled(wanted, valley))
        return counts

    def _keeps(self, counts: list[Counts]) -> bool:
        self.budget -= 1
        run = self._run(self._schedule(counts))
        services = self.prepared.scenario.services
        return all(
            attainment(run.fleet, need.index) >= services[need.index].latency.percentile / 100.0 for need in self.needs
        )

    def _run(self, schedule: Schedule) -> Run:
        run = Run(self.prepared, schedule, first_replicas(schedule))
        run.go()
        return run

    def _schedule(self, counts: list[Counts]) -> Schedule:
        timing = self.prepared.scenario.timing
        lead = timing.cold_start * (1.0 + timing.spread) + timing.provisioning
        steps: dict[Place, Steps] = {place: [(0.0, 0)] for place in self.statics}
        for need, wanted in zip(self.needs, counts, strict=True):
            steps[need.place] = _ordered(wanted, lead)
        return Schedule(steps)

    def _trimmed(self, counts: list[Counts]) -> list[Counts]:
        """Take one replica from the longest stretches while the objective holds."""
        stretches = [
            (last - first, number, first, last)
            for number, wanted in enumerate(counts)
            for first, last in _stretches(wanted)
        ]
        for _, number, first, last in sorted(stretches, reverse=True):
            if self.budget <= 0:
                break
            changed = [wanted.copy() for wanted in counts]
            changed[number][first:last] -= 1
            if changed[number][first:last].min() >= self.needs[number].least and self._keeps(changed):
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
