"""Judges a new batch cap by the first pod that runs with it; `roll` takes the cap back when this finds it bad."""

from __future__ import annotations

from pertoken.domain.cluster import PodFact
from pertoken.domain.signal import LatencyKind
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
    """The canary breaks the inter-token objective and the old pods keep both objectives.

    Only the first pod is judged: later ones join while the fleet is in motion, and their latencies tell of that.
    """
    if len(new) > 1:
        return ""
    objective, ttft = rolling.service.targets.inter_token, rolling.service.targets.ttft
    old = [pod for pod in rolling.variant.living if not rolling.is_new(pod)]
    if objective is None or not old or not new:
        return ""
    measure = LatencyKind.TIME_PER_OUTPUT_TOKEN
    theirs = _late(rolling, [pod for pod in new if _warmed_up(rolling, pod)], measure, objective)
    ours = _late(rolling, old, measure, objective)
    first = None if ttft is None else _late(rolling, old, LatencyKind.TTFT, ttft)
    if ttft is not None and first is not None and first > ttft:
        return ""  # the old cap misses too: going back would not help
    if (
        theirs is None
        or ours is None
        or theirs <= objective * rolling.service.tuning.cap.clear_breach
        or ours > objective
    ):
        return ""
    with_cap, without_cap, owed = (f"{seconds * MILLISECONDS:.0f}" for seconds in (theirs, ours, objective))
    return f"{with_cap} ms between tokens with it, {without_cap} ms without, objective {owed}"


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
