"""Words for people, from a decision's values and trace: headline, sentence, why a workload was scaled. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pertoken.domain.plan import DemandFigures, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import LatencyFeedback, ModelSizing, Shared, Step, text_of

# When several reasons compete for the headline, the first of these wins.
_GRAVEST = (
    Reason.TARGET_NOT_FOUND,
    Reason.OBJECT_UNREADABLE,
    Reason.FOREIGN_AUTOSCALER,
    Reason.CONFLICTING_MANAGER,
    Reason.GPU_COUNT_UNKNOWN,
    Reason.SWITCHED_OFF,
    Reason.REPLICA_FAILURE,
    Reason.PODS_CRASHING,
    Reason.PODS_PENDING,
    Reason.PODS_NOT_READY,
    Reason.HELD_NO_METRICS,
    Reason.RECLAIMED_FOR_PRIORITY,
    Reason.ACCESS_DENIED,
    Reason.POOL_EXHAUSTED,
    Reason.UNSCHEDULABLE_WITHDRAWN,
    Reason.POOL_BACKING_OFF,
    Reason.AT_MAXIMUM,
    Reason.SPEND_CAPPED,
    Reason.COST_KEPT,
    Reason.LATENCY_AT_RISK,
    Reason.QUEUE_BACKLOG,
    Reason.DEMAND_ROSE,
    Reason.DEMAND_FELL,
)

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
    Reason.WOKEN: "kept awake by its wake signal",
    Reason.SCHEDULED: "at the minimum of the schedule",
    Reason.POOL_EXHAUSTED: "the pool has no room",
    Reason.RECLAIMED_FOR_PRIORITY: "gives GPUs up for a higher priority",
    Reason.ACCESS_DENIED: "the namespace has no access to the pool",
    Reason.SPEND_CAPPED: "limited by maxSpendPerHour",
    Reason.COST_KEPT: "the cost target leaves no more",
    Reason.SPARE_BUDGET: "spends what the cost target leaves",
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


def headline(reasons: Sequence[Reason], limits: Sequence[Reason]) -> Reason:
    """The one reason to show: the gravest of the variants' reasons and of what limits the service."""
    told = {*reasons, *limits}
    return next((reason for reason in _GRAVEST if reason in told), reasons[0] if reasons else Reason.AT_DESIRED)


def why_scaled(variant: str, before: int, after: int, reason: Reason, trace: Sequence[Step]) -> str:
    """A scale action in words: from, to, reason, and the numbers behind it as the trace has them."""
    words = f"{before} -> {after} replicas: {reason.value}"
    numbers = [text for step in trace if step.variant == variant for text in _numbers(step, reason)]
    return f"{words} ({', '.join(numbers)})" if numbers else words


def _numbers(step: Step, reason: Reason) -> list[str]:
    reclaimed = reason is Reason.RECLAIMED_FOR_PRIORITY
    match step.detail:
        case Shared(words) if reclaimed and step.stage == "reclaim":
            return [words]
        case ModelSizing() as sized if not reclaimed:
            return [
                f"demand {text_of(sized.requests_per_second)} requests/s",
                f"with head-room {text_of(sized.with_headroom)}",
                f"one replica sustains {text_of(sized.per_replica)}",
            ]
        case LatencyFeedback() as late if not reclaimed:
            return [
                f"measured {late.measure}",
                f"at {text_of(late.measured_seconds)} s",
                f"objective {text_of(late.objective_seconds)} s",
            ]
    return []
