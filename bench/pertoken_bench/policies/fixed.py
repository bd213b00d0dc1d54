"""Policies that follow a schedule made beforehand: static fleets and the clairvoyant one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pertoken_bench.policy import Order, Orders, PolicyObservation

ACTUAL: Final = "actual"  # the policy that repeats recorded replicas

Steps = Sequence[tuple[float, int]]
"""(seconds after the trace's start, replicas from then on), ascending."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Replicas by (service, variant) as given; nothing is observed."""

    steps: Mapping[tuple[str, str], Steps]
    period_seconds: float = 5.0

    def decide(self, seen: PolicyObservation) -> Orders:
        """What the schedule says now."""
        return {place: Order(replicas=at(steps, seen.now - seen.start)) for place, steps in self.steps.items()}


def at(steps: Steps, seconds: float) -> int:
    """Replicas of a schedule at an instant; its first entry also holds before it."""
    index = bisect_right(steps, seconds, key=lambda step: step[0]) - 1
    return steps[max(index, 0)][1]
