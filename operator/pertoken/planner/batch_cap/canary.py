"""Judges a new batch cap by the first pod that runs with it; `roll` takes the cap back when this finds it bad."""

from __future__ import annotations

from pertoken.domain.cluster import PodFact
from pertoken.domain.signal import LatencyKind
from pertoken.frozen import dataclass
from pertoken.performance.histogram import quantile
from pertoken.performance.steady import at_batch
from pertoken.planner.batch_cap.roll_state import Rolling
from pertoken.planner.latency import merged
from pertoken.units import MILLISECONDS, PER_CENT


def stuck(rolling: Rolling) -> str:
    """Words of a pod that the scheduler has refused for longer than a scheduling retry."""
    for pod in rolling.variant.living:
        since = pod.unschedulable_since
        if since is not None and rolling.service.now - since > rolling.service.tuning.cap.seen_seconds:
            return pod.message or f"{pod.key.name} is unschedulable"
    return ""


def failure(rolling: Rolling) -> str:
    """Why the new cap is bad; empty if nothing speaks against it."""
    service, variant = rolling.service, rolling.variant
    running = service.tuning.running
    new = [pod for pod in variant.living if rolling.is_new(pod)]
    usual = variant.memory.start_seconds or service.settings.start_seconds
    patience = max(running.progress_seconds, running.start_factor * usual)
    for pod in new:
        if pod.crashed and not pod.ready:
            return f"{pod.key.name} crashes: {pod.message or 'no message'}"
        if pod.bound_at is not None and not pod.ready and service.now - pod.bound_at > patience:
            return f"{pod.key.name} is not Ready after {service.now - pod.bound_at:.0f} s"
    return _breach(rolling, new)


def _breach(rolling: Rolling, new: list[PodFact]) -> str:
    """The canary breaks an objective that the old pods keep.

    Only the first pod is judged: later ones join while the fleet is in motion, and their latencies tell of that.
    """
    targets = rolling.service.targets
    old = [pod for pod in rolling.variant.living if not rolling.is_new(pod)]
    if len(new) != 1 or not old:
        return ""
    canary = [pod for pod in new if _warmed_up(rolling, pod)]
    first = _Compared.of(rolling, LatencyKind.TTFT, targets.ttft, canary, old)
    if first is not None and first.old > first.objective:
        return ""  # the old cap misses too: going back would not help
    between = _Compared.of(rolling, LatencyKind.TIME_PER_OUTPUT_TOKEN, targets.inter_token, canary, old)
    clear = rolling.service.tuning.cap.clear_breach
    if between is not None and between.breached(clear):
        return between.words("ms between tokens")
    gap = _Compared.of(rolling, LatencyKind.INTER_TOKEN, targets.stall, canary, old)
    if gap is not None and gap.breached(clear):
        return gap.words("ms between two single tokens")
    # While load rises, a smaller chunk delays first tokens where a larger one delays all others: that is its purpose.
    smaller = rolling.cap.chunk is not None and rolling.cap.chunk < (rolling.cap.previous_chunk or 0)
    if smaller and rolling.allowed.calm and first is not None and first.breached(clear):
        return first.words("ms to the first token")
    return ""


@dataclass(frozen=True, slots=True)
class _Compared:
    """A latency at the promised percentile: of the canary, None where too little is known, and of the old pods; s."""

    objective: float
    new: float | None
    old: float

    @classmethod
    def of(
        cls, rolling: Rolling, kind: LatencyKind, objective: float | None, canary: list[PodFact], old: list[PodFact]
    ) -> _Compared | None:
        usual = None if objective is None else _late(rolling, old, kind, objective)
        if objective is None or usual is None:
            return None
        return cls(objective, _late(rolling, canary, kind, objective), usual)

    def breached(self, clear: float) -> bool:
        return self.new is not None and self.new > self.objective * clear and self.old <= self.objective

    def words(self, unit: str) -> str:
        values = (self.new or 0.0, self.old, self.objective)
        new, old, objective = (f"{seconds * MILLISECONDS:.0f}" for seconds in values)
        return f"{new} {unit} with it, {old} without, objective {objective}"


def season(rolling: Rolling) -> float:
    """Seconds of service after which a pod's latencies are its own, not its warm-up's.

    A fresh pod is the least loaded one and so gets the rush of prompts; requests that began in the rush have to be
    out, and a rate window must have passed since.
    """
    load, variant, tuning = rolling.service.load, rolling.variant, rolling.service.tuning.cap
    rush = 0.0
    if load is not None and variant.engine is not None and variant.batch:
        rush = tuning.rush_lifetimes * load.steps * at_batch(variant.engine, load, variant.batch).inter_token
    return rolling.service.window + min(rush, tuning.most_rush)


def _warmed_up(rolling: Rolling, pod: PodFact) -> bool:
    return pod.ready_at is not None and rolling.service.now - pod.ready_at >= season(rolling)


def _late(rolling: Rolling, pods: list[PodFact], kind: LatencyKind, objective: float) -> float | None:
    keys = {pod.key for pod in pods}
    histogram = merged([metrics for metrics in rolling.variant.measured if metrics.pod in keys], kind)
    service = rolling.service
    if histogram is None or histogram.cumulative[-1] * service.window < service.tuning.evidence.enough_requests:
        return None
    bounds = quantile(histogram, service.targets.percentile / PER_CENT)
    if bounds is None:
        return None
    return bounds.low if bounds.low < objective < bounds.high else bounds.estimate
