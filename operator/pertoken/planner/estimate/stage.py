"""Stage `estimate`: the service's memory with this cycle's observations in it.

Order: variants (engine, start-up, queue), then idleness, the SLO knee and the error budget, then demand, and last the
shape of requests, which is read off the demand. Demand that is seen only in part is not remembered; the part that is
certainly there is handed on as `at_least`.
"""

from __future__ import annotations

from pertoken.frozen import replace
from pertoken.planner.assessment import Assessment, Grade
from pertoken.planner.estimate.demand import demand_at_least, history, sample
from pertoken.planner.estimate.error_budget import budget_after
from pertoken.planner.estimate.idleness import idle_since
from pertoken.planner.estimate.request_shape import first_shape, shape_after
from pertoken.planner.estimate.slo_knee import knee_after
from pertoken.planner.estimate.variant import estimate_variant
from pertoken.planner.memory import ServiceMemory
from pertoken.planner.needs import Purpose, told
from pertoken.planner.proposal import Proposal
from pertoken.planner.service_state import ServiceState


def estimate(proposal: Proposal) -> Proposal:
    """The proposal on a state that has learnt from this cycle."""
    state, assessment = proposal.state, proposal.assessment
    at_least = demand_at_least(state, assessment)
    memory = replace(
        _learnt(state, assessment),
        told=told(state),
        fresh_since=assessment.fresh_since,
        panic_until=_panic_until(state, assessment),
    )
    return proposal.with_state(replace(state.with_memory(memory), at_least=at_least))


def _learnt(state: ServiceState, assessment: Assessment) -> ServiceMemory:
    memory = state.memory
    # What was learnt of a variant whose target cannot be used for a moment stays.
    gone = {name: memory.variants[name] for name, _ in state.missing if name in memory.variants}
    if memory.demand and memory.demand[-1].at >= state.now:
        # Planned again in the same instant: what it shows has been learnt.
        return replace(memory, variants={**gone, **{variant.name: variant.memory for variant in state.variants}})
    variants = {variant.name: estimate_variant(state, variant, assessment) for variant in state.variants}
    memory = replace(memory, variants={**gone, **variants})
    if assessment.holds:
        return memory
    idle = idle_since(state) if assessment.allows(Purpose.IDLE) else None
    memory = replace(memory, idle_since=idle, knee=knee_after(state, assessment), budget=budget_after(state))
    before = memory.shape or first_shape(state)
    if before is None or not assessment.allows(Purpose.DEMAND):
        return memory
    kept = history(state)
    newest = sample(state, before, kept)
    if newest is None:
        return memory
    demand = (*kept, newest)
    return replace(memory, demand=demand, shape=shape_after(state, before, demand))


def _panic_until(state: ServiceState, assessment: Assessment) -> float:
    panic = state.tuning.panic
    long_queue = state.backlog > panic.backlog_per_replica * max(1, state.serving)
    panics = long_queue and assessment.grade is Grade.PANIC
    return state.now + panic.seconds if panics else state.memory.panic_until
