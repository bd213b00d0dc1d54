"""Fewer replicas only where what stays serves the demand within measured latency (the N/(N-1) check)."""

from __future__ import annotations

from pertoken.domain.reasons import Reason
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.frozen import dataclass
from pertoken.performance.steady import at_batch, at_rate
from pertoken.planner.latency import LatencyEvidence
from pertoken.planner.proposal import Proposal, Status, VariantProposal
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.size.aim import spending
from pertoken.planner.size.expected import Expected
from pertoken.units import TINY


def consolidate(proposal: Proposal, proposed: VariantProposal, known: Expected, need: float) -> VariantProposal:
    """The least count from the proposed one on that leaves serving capacity and latency within the objectives.

    Args:
        proposal: of the service.
        proposed: of one variant, fewer replicas than it has.
        known: what sizing works with.
        need: requests per second to be carried.
    """
    state, variant = proposal.state, proposed.state
    if not proposal.assessment.may_shrink:
        return proposed.at(variant.steady, Reason.METRICS_WARMING_UP, Status.LAGGING)
    others = sum(other.ready * known.capacities[other.name].rate for other in state.variants if other is not variant)
    rate = known.capacities[variant.name].rate
    for count in range(max(proposed.replicas, 0), variant.steady):
        if min(variant.ready, count) * rate + others < need - TINY:
            continue
        if count == 0 or _latency_holds(state, variant, known, count):
            return proposed.at(count)
    if variant.ready < variant.steady:
        return proposed.at(variant.steady, Reason.WAITING_FOR_PODS, Status.WAITING)
    return proposed.at(variant.steady, Reason.LATENCY_AT_RISK)


def _latency_holds(state: ServiceState, variant: VariantState, known: Expected, count: int) -> bool:
    """Measured latency, scaled by what the model says of fewer replicas, stays within the objectives."""
    if variant.engine is None or variant.ready <= count or not state.samples:
        return True
    served = known.rate(known.ahead.present) * _share(state, variant) / variant.ranks
    here = at_rate(variant.engine, known.load, served / variant.ready, state.targets)
    there = at_rate(variant.engine, known.load, served / count, state.targets)
    if there is None:
        return False
    if here is None:
        return True
    grown = (
        _Grown(state.inter_token, there.inter_token_tail / here.inter_token_tail),
        _Grown(state.stall, there.inter_token / here.inter_token),
        _Grown(state.ttft, there.ttft_tail / here.ttft_tail),
    )
    return all(latency.within(state) for latency in grown)


@dataclass(frozen=True, slots=True)
class _Grown:
    """A latency, and how many times longer it is modelled to be on fewer replicas."""

    latency: LatencyEvidence
    growth: float

    def within(self, state: ServiceState) -> bool:
        measured = current_percentile(state, self.latency)
        if self.latency.objective is None or measured is None:
            return True
        return measured * self.growth <= self.latency.objective * state.tuning.sizing.safe_share


def current_percentile(
    state: ServiceState, latency: LatencyEvidence, above: float = 0.0, aim: float | None = None
) -> float | None:
    """The percentile that sizing aims at as it is now, in seconds; None with too few requests.

    Time per output token is counted when a request ends, so the histogram tells of the time since it began. The steps
    of the last window tell of now; where they are better, what was late is over. Who asks only for what is `above` some
    seconds gets the measured figure where that is not. Who knows the percentile that sizing aims at gives it (`aim`).
    """
    percentile = spending(state).percentile if aim is None else aim
    measured = latency.measured(state.tuning.evidence.enough_requests, percentile)
    if measured is None or measured <= above or latency.kind is not LatencyKind.TIME_PER_OUTPUT_TOKEN:
        return measured
    present = [tail for variant in state.variants if (tail := _step_tail(state, variant)) is not None]
    return min(measured, max(present)) if present else measured


def _step_tail(state: ServiceState, variant: VariantState) -> float | None:
    """The pods' mean step, raised by what the model and experience say of the percentile over the mean."""
    steps = [pod.values[Signal.STEP_SECONDS] for pod in variant.measured if Signal.STEP_SECONDS in pod.values]
    if not steps or variant.engine is None or not variant.batch or state.load is None:
        return None
    point = at_batch(variant.engine, state.load, variant.batch, state.targets)
    return sum(steps) / len(steps) * point.inter_token_tail / point.inter_token * variant.memory.tail_inter_token


def _share(state: ServiceState, variant: VariantState) -> float:
    """Part of the service's generated tokens that this variant produces."""
    mine, total = variant.total(Signal.GENERATION_TOKENS_PER_SECOND), state.total(Signal.GENERATION_TOKENS_PER_SECOND)
    if mine is None or not total:
        return 1.0 / len(state.variants)
    return mine / total
