"""Replicas that measurements add to the model's: for late answers at substantial load, and for a growing queue."""

from __future__ import annotations

from math import ceil

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import GrowingQueue, LatencyFeedback
from pertoken.frozen import replace
from pertoken.planner.proposal import Proposal, Status, step
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.size.aim import spending
from pertoken.planner.size.consolidate import current_percentile
from pertoken.planner.size.expected import Expected


def add_for_latency(proposal: Proposal, known: Expected) -> Proposal:
    """Measured latency above its objective at substantial load adds replicas of the cheapest variant."""
    state, (first, *others) = proposal.state, proposal.variants
    aim = spending(state).percentile
    late = [
        (latency, measured)
        for latency in state.latencies
        if latency.objective is not None
        and (measured := current_percentile(state, latency, latency.objective, aim)) is not None
        and measured > latency.objective
    ]
    variant, capacity = first.state, first.capacity
    if not late or capacity is None or capacity.unreachable is not None or first.replicas > variant.steady:
        return proposal
    carried = known.carried
    utilization = known.rate(known.ahead.present) / carried if carried > 0 else 1.0
    tuning = state.tuning.sizing
    recently = state.now - variant.memory.fed_back_at < state.window + state.lead_seconds
    if variant.starting or recently or utilization < tuning.feedback_utilization:
        kept = first.at(max(first.replicas, variant.steady), Reason.LATENCY_AT_RISK, Status.FREE)
        return proposal.with_variants((kept, *others))
    more = variant.steady + max(1, ceil(tuning.added_share * variant.steady))
    latency, measured = late[0]
    detail = LatencyFeedback(latency.kind.value, measured, latency.objective or 0.0, utilization)
    told = step("feedback", (first.replicas, more), Reason.LATENCY_AT_RISK, detail, variant=first.name)
    return proposal.with_variants(
        (replace(first.at(more, Reason.LATENCY_AT_RISK, Status.FREE), late=True, spare=0), *others), told
    )


def add_for_queue(proposal: Proposal) -> Proposal:
    """A queue that grows while nothing is on the way adds replicas of the cheapest variant."""
    state, (first, *others) = proposal.state, proposal.variants
    more = more_for_the_queue(state, sum(variant.replicas for variant in proposal.variants))
    if not more:
        return proposal
    wanted = max(first.replicas, first.state.steady) + more
    detail = GrowingQueue(state.waiting)
    told = step("queue", (first.replicas, wanted), Reason.QUEUE_BACKLOG, detail, variant=first.name)
    grown = replace(first.at(wanted, Reason.QUEUE_BACKLOG, Status.FREE), spare=0)
    return proposal.with_variants((grown, *others), told)


def more_for_the_queue(state: ServiceState, wanted: int) -> int:
    """Replicas to add because the queue grows and nothing is on the way; 0 for none.

    Args:
        state: of the service.
        wanted: replicas of all variants that are asked for anyway.
    """
    waiting, steady = state.waiting, sum(variant.steady for variant in state.variants)
    if waiting is None or waiting <= state.tuning.sizing.waiting_per_replica * state.serving or not state.queue_grows:
        return 0
    if wanted > steady or any(variant.starting or _is_new(state, variant) for variant in state.variants):
        return 0
    return max(1, ceil(state.tuning.sizing.added_share * steady))


def _is_new(state: ServiceState, variant: VariantState) -> bool:
    """Replicas were added, or began to serve, so lately that the rate window does not show yet what they do."""
    command = variant.memory.command
    ordered = command is not None and command.desired > command.before and state.now - command.at < 2 * state.window
    return ordered or any(state.now - pod.ready_at < state.window for pod in variant.living if pod.ready_at is not None)
