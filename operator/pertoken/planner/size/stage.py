"""Stage `size`: by the performance model where it knows model, GPU and requests, else by the use of resources.

By the model: what one replica carries (`capacity`), what demand will be at the lead (`expected`), replicas that carry
it (`fill`), what the cost objective says of head-room (`economy`), whether fewer replicas would still keep latency
(`consolidate`), and what measurements say against the model (`feedback`).
"""

from __future__ import annotations

from pertoken.domain.plan import DemandFigures
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.frozen import replace
from pertoken.planner.proposal import Proposal, SizingFigures, Status, VariantProposal
from pertoken.planner.service_state import ServiceState
from pertoken.planner.size.expected import expected
from pertoken.planner.size.modelled import size_modelled
from pertoken.planner.size.saturation import size_by_saturation


def size(proposal: Proposal) -> Proposal:
    """The proposal with the replicas that demand asks for."""
    state = proposal.state
    demand = demand_figures(state)
    if not proposal.planned or not state.variants:
        reason, status = (
            (Reason.SWITCHED_OFF, Status.OFF) if proposal.stance.off else (Reason.HELD_NO_METRICS, Status.HELD)
        )
        # What serves is held, the extra replica of a rolling change included.
        held = (VariantProposal(v, v.current, reason, status, sized=v.current) for v in state.variants)
        return replace(proposal.with_variants(held), sizing=SizingFigures(demand))
    known = expected(state, demand)
    sized = size_by_saturation(proposal, demand) if known is None else size_modelled(proposal, known)
    return sized.with_variants(replace(variant, sized=variant.replicas) for variant in sized.variants)


def demand_figures(state: ServiceState) -> DemandFigures:
    """Demand now."""
    samples = state.samples
    figures = DemandFigures(lead_seconds=state.lead_seconds, waiting=state.waiting, running=state.total(Signal.RUNNING))
    if not samples:
        return figures
    latest = samples[-1]
    return replace(
        figures,
        input_tokens_per_second=latest.input_tokens,
        output_tokens_per_second=latest.output_tokens,
        requests_per_second=latest.requests,
    )
