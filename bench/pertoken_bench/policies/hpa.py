"""The Horizontal Pod Autoscaler, autoscaling/v2 as in Kubernetes v1.36, written anew from its rules.

Ratio rules for pods and external metrics with the treatment of pods that are not ready or have no sample, then
stabilization windows and rate limits, with and without `spec.behavior`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
DOWN_WINDOW_SECONDS = 300.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PodReadings:
    """A pods metric as the controller sorts it.

    Attributes:
        sampled: values of running pods (for metrics other than CPU whether Ready or not).
        unready: pods that are still Pending, whatever they report.
        missing: running pods without a sample.
    """

    sampled: Sequence[float]
    unready: int = 0
    missing: int = 0


def within(ratio: float, tolerance: float = TOLERANCE) -> bool:
    """Whether a ratio counts as on target."""
    return 1.0 - tolerance - _ROUNDING <= ratio <= 1.0 + tolerance + _ROUNDING


def by_pods(current: int, readings: PodReadings, target: float, tolerance: float = TOLERANCE) -> int | None:
    """Replicas for a metric of type Pods; None when no pod has a sample (an invalid metric).

    Args:
        current: spec.replicas.
        readings: of the workload's pods.
        target: mean per pod that is wanted.
        tolerance: share around the target that moves nothing.
    """
    if not readings.sampled:
        return None
    ratio = sum(readings.sampled) / len(readings.sampled) / target
    counts_unready = readings.unready > 0 and ratio > 1.0
    if not counts_unready and not readings.missing:
        return current if within(ratio, tolerance) else _ceil(ratio * len(readings.sampled))
    # Pods without a sample are taken to be on target when that keeps them, idle when that adds fewer.
    total = sum(readings.sampled) + (readings.missing * target if ratio < 1.0 else 0.0)
    count = len(readings.sampled) + readings.missing + (readings.unready if counts_unready else 0)
    corrected = total / count / target
    if within(corrected, tolerance) or (ratio < 1.0 < corrected) or (corrected < 1.0 < ratio):
        return current
    wanted = _ceil(corrected * count)
    against = (corrected < 1.0 and wanted > current) or (corrected > 1.0 and wanted < current)
    return current if against else wanted


def by_average(current: int, total: float, target: float, tolerance: float = TOLERANCE) -> int:
    """Replicas for an External or Object metric of type AverageValue."""
    if current > 0 and within(total / (target * current), tolerance):
        return current
    return _ceil(total / target)


def by_value(current: int, ready: int, value: float, target: float, tolerance: float = TOLERANCE) -> int:
    """Replicas for an External or Object metric of type Value."""
    if current == 0:
        return _ceil(value / target)
    ratio = value / target
    return current if within(ratio, tolerance) else _ceil(ratio * ready)


def combine(current: int, proposals: Iterable[int | None]) -> int | None:
    """The largest proposal; None (hold) when all metrics are invalid, or some are and the rest would scale down."""
    counts = list(proposals)
    valid = [proposal for proposal in counts if proposal is not None]
    if not valid:
        return None
    wanted = max(valid)
    return None if len(valid) < len(counts) and wanted < current else wanted


def _ceil(value: float) -> int:
    """Rounding of sums must not add a replica."""
    return ceil(value - _ROUNDING)


@dataclass(frozen=True, slots=True)
class HpaSettings:
    """One HPA object and the controller's flags.

    Attributes:
        behavior: `spec.behavior`; None for an object without one (then `down_window` is the controller's flag).
    """

    behavior: Behavior | None = None
    tolerance: float = TOLERANCE
    down_window: float = DOWN_WINDOW_SECONDS


@dataclass(slots=True)
class Hpa:
    """The controller's memory of one object."""

    settings: HpaSettings = HpaSettings()
    recommendations: deque[tuple[float, int]] = field(default_factory=deque)
    added: deque[tuple[float, int]] = field(default_factory=deque)
    removed: deque[tuple[float, int]] = field(default_factory=deque)

    def sync(self, now: float, current: int, proposal: int | None, bounds: tuple[int, int]) -> int:
        """One reconciliation.

        Args:
            now: seconds.
            current: spec.replicas.
            proposal: of `combine`; None holds.
            bounds: minReplicas (at least 1) and maxReplicas.

        Returns:
            The new spec.replicas. At 0 replicas the autoscaler is off.
        """
        least, most = max(bounds[0], 1), bounds[1]
        if not self.recommendations:
            self.recommendations.append((now, current))
        if current == 0:
            return 0
        if current > most or current < least:
            wanted = min(max(current, least), most)
        elif proposal is None:
            wanted = current
        elif self.settings.behavior is None:
            wanted = self._plain(now, current, proposal, (least, most))
        else:
            wanted = self._behaved(now, current, proposal, (least, most), self.settings.behavior)
        self._note(now, wanted - current)
        return wanted

    def _plain(self, now: float, current: int, proposal: int, bounds: tuple[int, int]) -> int:
        recent = [n for at, n in self.recommendations if at > now - self.settings.down_window]
        self._remember(now, proposal, self.settings.down_window)
        steadied = max([proposal, *recent])
        return min(max(steadied, bounds[0]), bounds[1], max(2 * current, 4))

    def _behaved(self, now: float, current: int, proposal: int, bounds: tuple[int, int], behavior: Behavior) -> int:
        up, down = behavior.scale_up, behavior.scale_down
        low = min([proposal, *self._within(now, up.window)])
        high = max([proposal, *self._within(now, down.window)])
        self._remember(now, proposal, max(up.window, down.window))
        wanted = min(max(current, low), high)
        if wanted > current:
            return min(wanted, bounds[1], max(self._limit(now, current, up, 1), current))
        if wanted < current:
            return max(wanted, bounds[0], min(self._limit(now, current, down, -1), current))
        return wanted

    def _within(self, now: float, window: float) -> list[int]:
        return [n for at, n in self.recommendations if at > now - window]

    def _remember(self, now: float, proposal: int, window: float) -> None:
        while self.recommendations and self.recommendations[0][0] <= now - window:
            self.recommendations.popleft()
        self.recommendations.append((now, proposal))

    def _limit(self, now: float, current: int, rules: ScalingRules, sign: int) -> int:
        """The furthest that the policies of one direction allow."""
        if rules.select is SelectPolicy.DISABLED:
            return current
        limits = [self._allowed(now, current, policy, sign) for policy in rules.policies]
        furthest = (rules.select is SelectPolicy.MAX) == (sign > 0)
        return max(limits) if furthest else min(limits)

    def _allowed(self, now: float, current: int, policy: ScalingPolicy, sign: int) -> int:
        since = now - policy.period_seconds
        start = current - sum(n for at, n in self.added if at > since) + sum(n for at, n in self.removed if at > since)
        if policy.type is PolicyType.PODS:
            return start + sign * policy.value
        scaled = start * (1.0 + sign * policy.value / 100.0)
        return _ceil(scaled) if sign > 0 else int(scaled + _ROUNDING)

    def _note(self, now: float, change: int) -> None:
        behavior = self.settings.behavior
        if change == 0 or behavior is None:
            return
        events = self.added if change > 0 else self.removed
        policies = (*behavior.scale_up.policies, *behavior.scale_down.policies)
        keep = max(policy.period_seconds for policy in policies)
        while events and events[0][0] <= now - keep:
            events.popleft()
        events.append((now, abs(change)))
