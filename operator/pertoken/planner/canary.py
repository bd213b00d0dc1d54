"""Is a new batch cap a good one? Judged by the first pod that runs with it."""

from __future__ import annotations

from pertoken.domain.cluster import PodFact
from pertoken.domain.signal import LatencyKind
from pertoken.performance.histogram import merge, quantile
from pertoken.performance.steady import at_batch
from pertoken.planner.roll_state import SEEN_SECONDS, Rolling
from pertoken.planner.sizing import MIN_EVENTS

START_PATIENCE = 4.0  # times the usual start-up, then a pod that is not Ready counts as failed
MIN_PATIENCE_SECONDS = 600.0
RUSH_LIFETIMES = 2.0  # mean lifetimes of a request until those that began in the rush are out
MAX_RUSH_SECONDS = 120.0
CLEAR_BREACH = 1.1  # times the objective, where the histogram's edges do not decide


def stuck(state: Rolling) -> str:
    """Words of a pod that the scheduler has refused for longer than a scheduling retry."""
    for pod in state.variant.living:
        since = pod.unschedulable_since
        if since is not None and state.facts.now - since > SEEN_SECONDS:
            return pod.message or f"{pod.key.name} is unschedulable"
    return ""


def failure(state: Rolling) -> str:
    """Why the new cap is bad; empty if nothing speaks against it."""
    facts, variant = state.facts, state.variant
    new = [pod for pod in variant.living if state.is_new(pod)]
    usual = variant.memory.start_seconds or facts.settings.start_seconds
    patience = max(MIN_PATIENCE_SECONDS, START_PATIENCE * usual)
    for pod in new:
        if pod.crashed and not pod.ready:
            return f"{pod.key.name} crashes: {pod.message or 'no message'}"
        if pod.bound_at is not None and not pod.ready and facts.now - pod.bound_at > patience:
            return f"{pod.key.name} is not Ready after {facts.now - pod.bound_at:.0f} s"
    return _breach(state, new)


def _breach(state: Rolling, new: list[PodFact]) -> str:
    """The canary breaks the inter-token objective and the old pods keep both objectives.

    Only the first pod is judged: later ones join while the fleet is in motion, and their latencies tell of that.
    """
    if len(new) > 1:
        return ""
    objective, ttft = state.facts.targets.inter_token, state.facts.targets.ttft
    old = [pod for pod in state.variant.living if not state.is_new(pod)]
    if objective is None or not old or not new:
        return ""
    measure = LatencyKind.TIME_PER_OUTPUT_TOKEN
    theirs = _late(state, [pod for pod in new if _seasoned(state, pod)], measure, objective)
    ours = _late(state, old, measure, objective)
    first = None if ttft is None else _late(state, old, LatencyKind.TTFT, ttft)
    if ttft is not None and first is not None and first > ttft:
        return ""  # the old cap misses too: going back would not help
    if theirs is None or ours is None or theirs <= objective * CLEAR_BREACH or ours > objective:
        return ""
    return (
        f"{theirs * 1000:.0f} ms between tokens with it, {ours * 1000:.0f} ms without, objective {objective * 1000:.0f}"
    )


def season(state: Rolling) -> float:
    """Seconds of service after which a pod's latencies are its own, not its warm-up's.

    A fresh pod is the least loaded one and so gets the rush of prompts; requests that began in the rush have to be
    out, and a rate window must have passed since.
    """
    load, variant = state.facts.load, state.variant
    rush = 0.0
    if load is not None and variant.engine is not None and variant.batch:
        rush = RUSH_LIFETIMES * load.steps * at_batch(variant.engine, load, variant.batch).inter_token
    return state.facts.window + min(rush, MAX_RUSH_SECONDS)


def _seasoned(state: Rolling, pod: PodFact) -> bool:
    return pod.ready_at is not None and state.facts.now - pod.ready_at >= season(state)


def _late(state: Rolling, pods: list[PodFact], kind: LatencyKind, objective: float) -> float | None:
    keys = {pod.key for pod in pods}
    found = [
        metrics.histograms[kind]
        for metrics in state.variant.measured
        if metrics.pod in keys and kind in metrics.histograms
    ]
    merged = merge(found) if found else None
    if merged is None or merged.cumulative[-1] * state.facts.window < MIN_EVENTS:
        return None
    bounds = quantile(merged, state.facts.targets.percentile / 100.0)
    if bounds is None:
        return None
    return bounds.low if bounds.low < objective < bounds.high else bounds.estimate
