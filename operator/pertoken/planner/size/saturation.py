"""Sizing without a performance model: keep the busiest resource at a target share, as HPA does for one metric.

For engines of which no model is known, GPU utilization; for LLM engines KV cache and batch occupancy instead (their GPU
looks fully used from one request on). Waiting requests add replicas on top.
"""

from __future__ import annotations

from math import ceil

from pertoken.domain.plan import DemandFigures
from pertoken.domain.reasons import Reason
from pertoken.domain.service import EngineKind
from pertoken.domain.signal import Signal
from pertoken.domain.trace import SaturationSizing
from pertoken.frozen import replace
from pertoken.planner.proposal import Proposal, SizingFigures, Status, VariantProposal, step
from pertoken.planner.service_state import ServiceState, VariantState


def size_by_saturation(proposal: Proposal, demand: DemandFigures) -> Proposal:
    """Replicas of every variant by the use of its resources."""
    state = proposal.state
    variants, steps = [], []
    for variant in state.variants:
        if state.idle and state.min_replicas == 0:
            proposed = VariantProposal(variant, 0, Reason.IDLE, Status.IDLE)
        else:
            proposed = VariantProposal(variant, *replicas_by_saturation(state, variant))
        change = (variant.steady, proposed.replicas)
        steps.append(step("size", change, proposed.reason, SaturationSizing(), variant=variant.name))
        variants.append(proposed)
    return replace(proposal.with_variants(variants, *steps), sizing=SizingFigures(demand))


def replicas_by_saturation(state: ServiceState, variant: VariantState) -> tuple[int, Reason]:
    """Replicas that bring the busiest resource to its target, and why."""
    tuning = state.tuning.saturation
    serving, steady = variant.ready, variant.steady
    waiting = variant.seen(Signal.WAITING) + (0.0 if state.gateway_queue is None else state.gateway_queue)
    if serving == 0:
        woken = waiting > 0 or (state.gateway_rejections is not None and state.gateway_rejections > 0)
        return (max(steady, 1), Reason.QUEUE_BACKLOG) if woken else (steady, Reason.AT_DESIRED)
    shares = _shares(state, variant)
    wanted, reason = steady, Reason.WITHIN_TOLERANCE
    if shares:
        ratio, reason_up = max(shares)
        if abs(ratio - 1.0) > state.settings.tolerance:
            # Pods on the way take their part of the load once they serve: they count, not only the serving ones.
            wanted = max(ceil(min(ratio, tuning.most_step) * serving), 1)
            if steady >= wanted > serving:
                wanted = steady
            reason = reason_up if wanted > steady else Reason.GPU_UTILIZATION_LOW
    if waiting > state.tuning.sizing.waiting_per_replica * serving:
        queued = min(serving + ceil(waiting / tuning.drained_per_replica), ceil(serving * tuning.most_step))
        if queued > max(wanted, steady):
            return queued, Reason.QUEUE_BACKLOG
        wanted = max(wanted, steady)
    if waiting >= max(1.0, tuning.queued_share * serving):
        # Low use of a resource beside a queue says that the resource is not what holds requests back.
        wanted = max(wanted, steady)
    if wanted == steady:
        return steady, Reason.WITHIN_TOLERANCE
    return wanted, reason


def _shares(state: ServiceState, variant: VariantState) -> list[tuple[float, Reason]]:
    """Use of each known resource, relative to its target."""
    tuning = state.tuning.saturation
    shares = []
    kv = variant.mean(Signal.KV_USAGE)
    if kv is not None:
        shares.append((kv / tuning.kv_target, Reason.KV_CACHE_FULL))
    cap, batch = variant.max_sequences, variant.batch
    if cap is not None and batch is not None:
        shares.append((batch / (tuning.batch_target * cap), Reason.DEMAND_ROSE))
    gpu = variant.mean(Signal.GPU_UTILIZATION)
    if gpu is not None and (variant.spec.engine is EngineKind.GENERIC or not shares):
        shares.append((gpu / tuning.gpu_target, Reason.GPU_UTILIZATION_HIGH))
    return shares
