"""AIBrix's APA and KPA as shipped at e3e10f9 (2026-08-22, Apache-2.0), and with their faults mended.

Shipped faults that are kept unless `fixed`: the cooldown windows of APA are the wrong way round (the largest
recommendation of the up window, the least of the down window), pods on their way are counted as serving, KPA divides
a mean per pod by a target per pod so that its answer does not grow with the pods, and its panic has no memory.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor

from pertoken_bench.policies.view import PerVariant, View
from pertoken_bench.policy import PodGauge, Policy

TICK_SECONDS = 10.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ApaSettings:
    """Knobs of a PodAutoscaler; `target` is the mean KV use per pod of the project's samples."""

    target: float = 0.5
    gauge: PodGauge = PodGauge.KV_USAGE
    window: float = 180.0
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1
    up_rate: float = 2.0
    down_rate: float = 2.0
    up_cooldown: float = 0.0
    down_cooldown: float = 300.0
    fixed: bool = False


def apa(replicas: int, ratio: float, settings: ApaSettings) -> int:
    """Replicas for use / target, before cooldown and bounds."""
    if ratio > 1.0 + settings.up_tolerance + _ROUNDING:
        return min(ceil(replicas * ratio - _ROUNDING), ceil(replicas * settings.up_rate - _ROUNDING))
    if ratio < 1.0 - settings.down_tolerance - _ROUNDING:
        return max(ceil(replicas * ratio - _ROUNDING), floor(replicas / settings.down_rate))
    return replicas


def pending_guard(replicas: int, ready: int, mean: float, target: float, wanted: int) -> int:
    """What upstream added later (pull request 2671): pods on their way count as idle upwards, as on target downwards.

    Args:
        replicas: spec.replicas.
        ready: Ready pods.
        mean: use per Ready pod.
        target: of it.
        wanted: recommendation so far.
    """
    ready = min(ready, replicas)
    if replicas <= 0 or replicas in {ready, wanted}:
        return wanted
    if wanted > replicas:
        return min(max(ceil(mean * ready / target - _ROUNDING), replicas), wanted)
    settled = ceil((mean * ready + target * (replicas - ready)) / target - _ROUNDING)
    return max(min(settled, replicas), wanted)


@dataclass(slots=True)
class SampleWindow:
    """Samples of one figure over a time."""

    seconds: float
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now: float, value: float) -> None:
        """Note a sample and forget those that are too old."""
        self.samples.append((now, value))
        while self.samples[0][0] <= now - self.seconds and len(self.samples) > 1:
            self.samples.popleft()

    def mean(self, now: float, seconds: float | None = None) -> float | None:
        """Mean over the last `seconds`; None without samples."""
        since = now - (self.seconds if seconds is None else seconds)
        values = [value for at, value in self.samples if at > since]
        return sum(values) / len(values) if values else None


@dataclass(slots=True)
class Apa:
    """The autoscaler's memory of one workload."""

    settings: ApaSettings
    use: SampleWindow
    recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def desired(self, view: View) -> int | None:
        """One tick; no sample holds."""
        settings = self.settings
        samples = view.latest(settings.gauge)
        if samples:
            self.use.add(view.now, sum(samples.values()) / len(samples))
        mean = self.use.mean(view.now)
        if mean is None or view.replicas == 0:
            return max(1, view.least) if view.replicas == 0 else None
        wanted = view.clamp(max(1, apa(view.replicas, mean / settings.target, settings)))
        if settings.fixed:
            wanted = view.clamp(pending_guard(view.replicas, view.ready, mean, settings.target, wanted))
        return self.cooled(view.now, view.replicas, wanted)

    def cooled(self, now: float, current: int, wanted: int) -> int:
        """The recommendation after the cooldown windows."""
        settings = self.settings
        longest = max(settings.up_cooldown, settings.down_cooldown)
        while self.recommended and self.recommended[0][0] <= now - longest:
            self.recommended.popleft()
        self.recommended.append((now, wanted))
        window = settings.up_cooldown if wanted > current else settings.down_cooldown
        recent = [n for at, n in self.recommended if at > now - window] or [wanted]
        if wanted > current:
            return max(current, min(recent)) if settings.fixed else max(recent)
        if wanted < current:
            return min(current, max(recent)) if settings.fixed else min(recent)
        return current


def apa_policy(settings: ApaSettings) -> Policy:
    """One PodAutoscaler of strategy APA per variant."""
    return PerVariant(TICK_SECONDS, lambda: Apa(settings, SampleWindow(settings.window)))


@dataclass(frozen=True, slots=True)
class AibrixKpaSettings:
    """Knobs of strategy KPA."""

    target: float = 0.5
    gauge: PodGauge = PodGauge.KV_USAGE
    stable: float = 180.0
    panic: float = 60.0
    panic_threshold: float = 2.0
    tolerance: float = 0.1
    up_rate: float = 2.0
    down_rate: float = 2.0
    fixed: bool = False


def aibrix_kpa(replicas: int, stable: float, panic: float, settings: AibrixKpaSettings) -> int:
    """Replicas for the means of both windows.

    Args:
        replicas: spec.replicas.
        stable: mean per pod over the stable window (as shipped), or the total over all pods (`fixed`).
        panic: the same over the panic window.
        settings: knobs.
    """
    in_panic = stable <= 0 or panic / stable > settings.panic_threshold
    figure = panic if in_panic else stable
    per_replica = figure / (settings.target * (max(replicas, 1) if settings.fixed else 1))
    if abs(per_replica - 1.0) <= settings.tolerance + _ROUNDING:
        return replicas
    most, least = max(1, ceil(settings.up_rate * replicas)), floor(replicas / settings.down_rate)
    return min(max(ceil(figure / settings.target - _ROUNDING), least), most)


@dataclass(slots=True)
class AibrixKpa:
    """The autoscaler's memory of one workload."""

    settings: AibrixKpaSettings
    use: SampleWindow

    def desired(self, view: View) -> int | None:
        """One tick; no sample holds."""
        settings = self.settings
        samples = view.latest(settings.gauge)
        if samples:
            total = sum(samples.values())
            self.use.add(view.now, total if settings.fixed else total / len(samples))
        stable, panic = self.use.mean(view.now), self.use.mean(view.now, settings.panic)
        if view.replicas == 0:
            return max(1, view.least)
        if stable is None or panic is None:
            return None
        return view.clamp(max(1, aibrix_kpa(view.replicas, stable, panic, settings)))


def aibrix_kpa_policy(settings: AibrixKpaSettings) -> Policy:
    """One PodAutoscaler of strategy KPA per variant."""
    return PerVariant(TICK_SECONDS, lambda: AibrixKpa(settings, SampleWindow(settings.stable)))
