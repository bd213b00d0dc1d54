"""Whether the measured percentiles keep their objectives; requests that wait too long count as misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pertoken.domain.metrics import PodMetrics
from pertoken.domain.plan import Condition, LatencyFigures, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.planner.latency import LatencyEvidence
from pertoken.planner.needs import Purpose, engine_lacks
from pertoken.planner.proposal import VariantProposal
from pertoken.planner.service_state import ServiceState
from pertoken.units import MILLISECONDS, PER_CENT

LARGEST_SECONDS: Final = 1e6  # a figure beyond it is the open end of a histogram
_NAMES = {
    LatencyKind.TTFT: "time to first token",
    LatencyKind.TIME_PER_OUTPUT_TOKEN: "inter-token latency",
    LatencyKind.INTER_TOKEN: "gap between tokens",
}
_PURPOSES = {
    LatencyKind.TTFT: Purpose.TTFT,
    LatencyKind.TIME_PER_OUTPUT_TOKEN: Purpose.TPOT,
    LatencyKind.INTER_TOKEN: Purpose.STALL,
}


def latency_figures(state: ServiceState) -> LatencyFigures:
    """Measured percentiles with their bounds."""
    ttft, per_token, budget = state.ttft.bounds, state.inter_token.bounds, state.memory.budget
    gap = None if state.stall.objective is None else state.stall.bounds
    return LatencyFigures(
        state.targets.percentile,
        ttft=None if ttft is None else ttft.estimate,
        ttft_low=None if ttft is None else ttft.low,
        ttft_high=None if ttft is None else ttft.high,
        inter_token=None if per_token is None else per_token.estimate,
        inter_token_low=None if per_token is None else per_token.low,
        inter_token_high=None if per_token is None else per_token.high,
        missed_share=budget.share_missed if budget.requests > 0 else None,
        ttft_objective=state.ttft.objective,
        inter_token_objective=state.inter_token.objective,
        stall=None if gap is None else gap.estimate,
        stall_low=None if gap is None else gap.low,
        stall_high=None if gap is None else gap.high,
        stall_objective=state.stall.objective,
    )


def latency_condition(state: ServiceState, variants: Sequence[VariantProposal]) -> Condition:
    """`WithinLatencyTarget`."""
    each = (state.ttft, state.inter_token, state.stall)
    owed = [(latency, latency.objective) for latency in each if latency.objective is not None]
    if not owed:
        return Condition(Verdict.UNKNOWN, Reason.NO_LATENCY_TARGET, "no latency objective is set")
    judged = [_objective_condition(state, latency, objective) for latency, objective in owed]
    worst = min(judged, key=lambda condition: (Verdict.FALSE, Verdict.UNKNOWN, Verdict.TRUE).index(condition.verdict))
    unreachable = _unreachable(variants)
    if worst.verdict is not Verdict.TRUE and unreachable:
        return Condition(Verdict.FALSE, Reason.LATENCY_TARGET_UNREACHABLE, unreachable)
    if worst.verdict is Verdict.TRUE:
        words = "; ".join(condition.message for condition in judged)
        return Condition(Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET, words)
    return worst


def _unreachable(variants: Sequence[VariantProposal]) -> str:
    """Words where no variant keeps an objective even for a single request; empty otherwise."""
    missed = [variant.capacity.unreachable for variant in variants if variant.capacity is not None]
    if not missed or any(unreachable is None for unreachable in missed):
        return ""
    best = min(
        (unreachable for unreachable in missed if unreachable is not None), key=lambda unreachable: unreachable.seconds
    )
    return (
        f"a single request on an idle replica takes {best.seconds * MILLISECONDS:.0f} ms ({best.what}), "
        f"the objective is {best.objective * MILLISECONDS:.0f} ms: no number of replicas reaches it"
    )


def _objective_condition(state: ServiceState, latency: LatencyEvidence, objective: float) -> Condition:
    name, bounds, share = _NAMES[latency.kind], latency.bounds, latency.share_kept
    if bounds is None or share is None or latency.all_pods is None:
        return _unmeasured(state, latency)
    low, high = share
    goal = latency.percentile / PER_CENT
    words = f"p{latency.percentile} {name} {_ms(bounds.estimate)}, objective {_ms(objective)}"
    if latency.kind is LatencyKind.TIME_PER_OUTPUT_TOKEN and any(pod.per_token for pod in _measured(state)):
        words += " (of single tokens: this engine version has no figure per request)"
    if low >= goal:
        return Condition(Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET, words)
    evidence = state.tuning.evidence
    enough = latency.all_pods.cumulative[-1] * state.window >= evidence.enough_requests
    if high < goal or (enough and bounds.estimate > objective * evidence.far_from_objective):
        return Condition(Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET, words)
    words = f"{words}; its buckets only say {_ms(bounds.low)} to {_ms(bounds.high)}"
    return Condition(Verdict.UNKNOWN, Reason.LATENCY_UNDECIDED, words)


def _unmeasured(state: ServiceState, latency: LatencyEvidence) -> Condition:
    """Why no latency was measured: no traffic, an engine without such a figure, or pods that do not tell it."""
    name, pods = _NAMES[latency.kind], _measured(state)
    flows = (Signal.GENERATION_TOKENS_PER_SECOND, Signal.RUNNING)
    purpose = _PURPOSES[latency.kind]
    off = [lack for lack in engine_lacks(state) if purpose in lack.purposes]
    if off:
        return Condition(Verdict.UNKNOWN, Reason.ENGINE_LACKS_SIGNALS, "; ".join(map(str, off)))
    if all(pod.values.get(signal) in (None, 0) for pod in pods for signal in flows):
        return Condition(Verdict.UNKNOWN, Reason.NO_TRAFFIC, f"no {name} was measured")
    if latency.all_pods is not None:
        return Condition(Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC, f"no {name} within the rate window yet")
    return Condition(Verdict.UNKNOWN, Reason.SIGNALS_MISSING, f"requests are served, and no pod tells their {name}")


def _measured(state: ServiceState) -> tuple[PodMetrics, ...]:
    return tuple(metrics for variant in state.variants for metrics in variant.measured)


def _ms(seconds: float) -> str:
    return f"{seconds * MILLISECONDS:.0f} ms" if seconds < LARGEST_SECONDS else "more than the largest bucket"
