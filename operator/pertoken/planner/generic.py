"""Sizing without a performance model: keep the busiest resource at a target share, as HPA does for one metric.

For engines of which no model is known, GPU utilization; for LLM engines KV cache and batch occupancy instead (their GPU
looks fully used from one request on). Waiting requests add replicas on top.
"""

from __future__ import annotations

from math import ceil

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Engine as EngineKind
from pertoken.domain.signal import Signal
from pertoken.planner.facts import ServiceFacts, VariantFacts

GPU_TARGET = 0.75
KV_TARGET = 0.75
BATCH_TARGET = 0.8
WAITING_PER_REPLICA = 2.0  # a standing queue above it asks for more replicas
QUEUED_SHARE = 0.5  # waiting requests per replica from which on low use takes none away
DRAINED_PER_REPLICA = 8.0  # waiting requests that justify one more replica
MAX_STEP = 2.0


def generic_replicas(facts: ServiceFacts, variant: VariantFacts) -> tuple[int, Reason]:
    """Replicas that bring the busiest resource to its target, and why."""
    serving, steady = variant.ready, variant.steady
    waiting = variant.seen(Signal.WAITING) + (0.0 if facts.gateway_queue is None else facts.gateway_queue)
    if serving == 0:
        woken = waiting > 0 or (facts.gateway_rejections is not None and facts.gateway_rejections > 0)
        return (max(steady, 1), Reason.QUEUE_BACKLOG) if woken else (steady, Reason.AT_DESIRED)
    shares = _shares(variant)
    wanted, reason = steady, Reason.WITHIN_TOLERANCE
    if shares:
        ratio, reason_up = max(shares)
        if abs(ratio - 1.0) > facts.settings.tolerance:
            # Pods on the way take their part of the load once they serve: they count, not only the serving ones.
            wanted = max(ceil(min(ratio, MAX_STEP) * serving), 1)
            if steady >= wanted > serving:
                wanted = steady
            reason = reason_up if wanted > steady else Reason.GPU_UTILIZATION_LOW
    if waiting > WAITING_PER_REPLICA * serving:
        queued = min(serving + ceil(waiting / DRAINED_PER_REPLICA), ceil(serving * MAX_STEP))
        if queued > max(wanted, steady):
            return queued, Reason.QUEUE_BACKLOG
        wanted = max(wanted, steady)
    if waiting >= max(1.0, QUEUED_SHARE * serving):
        # Low use of a resource beside a queue says that the resource is not what holds requests back.
        wanted = max(wanted, steady)
    if wanted == steady:
        return steady, Reason.WITHIN_TOLERANCE
    return wanted, reason


def _shares(variant: VariantFacts) -> list[tuple[float, Reason]]:
    """Use of each known resource, relative to its target."""
    found = []
    kv = variant.mean(Signal.KV_USAGE)
    if kv is not None:
        found.append((kv / KV_TARGET, Reason.KV_CACHE_FULL))
    cap, batch = variant.workload.max_sequences, variant.batch
    if cap is not None and batch is not None:
        found.append((batch / (BATCH_TARGET * cap), Reason.DEMAND_ROSE))
    gpu = variant.mean(Signal.GPU_UTILIZATION)
    if gpu is not None and (variant.spec.engine is EngineKind.GENERIC or not found):
        found.append((gpu / GPU_TARGET, Reason.GPU_UTILIZATION_HIGH))
    return found
