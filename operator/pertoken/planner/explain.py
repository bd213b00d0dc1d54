"""Words for people: a decision's trace as one sentence, and as rows of a table. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pertoken.domain.cost import CostFigures
from pertoken.domain.plan import Decision, DemandFigures, Step, VariantDecision
from pertoken.domain.reasons import Reason

_WHY: Mapping[Reason, str] = {
    Reason.DEMAND_ROSE: "demand rose",
    Reason.DEMAND_FELL: "demand fell",
    Reason.QUEUE_BACKLOG: "requests are waiting",
    Reason.LATENCY_AT_RISK: "latency is at risk",
    Reason.KV_CACHE_FULL: "the KV cache fills up",
    Reason.GPU_UTILIZATION_HIGH: "GPU utilization is high",
    Reason.GPU_UTILIZATION_LOW: "utilization is low",
    Reason.IDLE: "no request for the idle time",
    Reason.WITHIN_TOLERANCE: "demand is within tolerance",
    Reason.AT_DESIRED: "replicas match demand",
    Reason.STABILIZED: "held by the stabilization window",
    Reason.SCALE_UP_LIMITED: "limited by the scale-up policy",
    Reason.SCALE_DOWN_LIMITED: "limited by the scale-down policy",
    Reason.AT_MINIMUM: "at the minimum",
    Reason.AT_MAXIMUM: "at maxReplicas",
    Reason.POOL_EXHAUSTED: "the pool has no room",
    Reason.RECLAIMED_FOR_PRIORITY: "gives GPUs up for a higher priority",
    Reason.ACCESS_DENIED: "the namespace has no access to the pool",
    Reason.SPEND_CAPPED: "limited by maxSpendPerHour",
    Reason.ROLLOUT_IN_PROGRESS: "waits for a rollout",
    Reason.WAITING_FOR_PODS: "waits for pods",
    Reason.REPLICA_FAILURE: "Kubernetes refuses its pods",
    Reason.PODS_CRASHING: "pods crash",
    Reason.PODS_PENDING: "pods find no node",
    Reason.PODS_NOT_READY: "pods do not become ready",
    Reason.UNSCHEDULABLE_WITHDRAWN: "unschedulable pods are withdrawn",
    Reason.POOL_BACKING_OFF: "the pool could not schedule pods and is left alone for a while",
    Reason.HELD_NO_METRICS: "held without metrics",
    Reason.METRICS_WARMING_UP: "held until a full rate window is seen",
    Reason.TARGET_NOT_FOUND: "the scale target is missing",
    Reason.SWITCHED_OFF: "switched off",
    Reason.CONFLICTING_MANAGER: "another manager sets the replicas",
    Reason.FOREIGN_AUTOSCALER: "another autoscaler owns the workload",
    Reason.BATCH_CHANGE_ROLLING: "one replica more while the batch cap changes",
}


def why(reason: Reason) -> str:
    """A reason in words."""
    return _WHY.get(reason, reason.value)


def sentence(variants: Sequence[VariantDecision], demand: DemandFigures, limits: Sequence[str]) -> str:
    """One sentence with numbers, e.g. ``chat: 3 -> 4 replicas, demand rose (4100 -> 5200 output tokens/s ...)``."""
    parts = []
    for variant in variants:
        change = (
            f"{variant.current} -> {variant.desired}" if variant.current != variant.desired else f"{variant.desired}"
        )
        parts.append(f"{variant.variant}: {change} replicas, {why(variant.reason)}{_capacity(variant)}")
    tail = _demand(demand)
    return "; ".join([*parts, *([tail] if tail else []), *limits])


def _capacity(variant: VariantDecision) -> str:
    if variant.capacity_per_replica is None:
        return ""
    return f" ({variant.capacity_per_replica:.0f} output tokens/s per replica)"


def _demand(demand: DemandFigures) -> str:
    now, ahead = demand.output_tokens_per_second, demand.forecast_output_tokens_per_second
    if now is None or ahead is None:
        return ""
    waiting = f", {demand.waiting:.0f} waiting" if demand.waiting else ""
    return f"demand {now:.0f} output tokens/s, {ahead:.0f} expected in {demand.lead_seconds:.0f} s{waiting}"


def rows(decision: Decision) -> list[tuple[str, str, str, str, str]]:
    """Trace as table rows: stage, before, after, reason, detail."""
    return [(step.stage, step.before, step.after, step.reason.value, _detail(step)) for step in decision.trace]


def _detail(step: Step) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in step.detail.items())


def cost_sentence(figures: CostFigures) -> str:
    """Cost in one line; says what is not known."""
    if figures.index is None:
        return f"cost index unknown ({figures.finished_requests:.0f} finished requests seen)"
    blended = "" if figures.blended is None else f", {figures.blended:.3f} USD per 1M tokens"
    idle = "" if figures.idle_share is None else f", {figures.idle_share:.0%} of the GPU time idle"
    return f"cost index {figures.index:.2f}{blended}{idle}"
