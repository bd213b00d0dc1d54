"""Stage `stabilize`: slow down changes of replicas.

Where the user says nothing of scaling down, its window follows the lead: a replica that is given up and needed again
costs one start-up, in time and in money. So a lower recommendation must have held for that long (a rent-or-buy rule:
never more than twice the cost of the best choice in hindsight), a part of it where an error is mended soon, and at most
half of the replicas go in that time.
"""

from __future__ import annotations

from math import ceil

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy
from pertoken.domain.trace import NO_DETAIL, Limit, Step
from pertoken.frozen import dataclass, replace
from pertoken.planner.assessment import Grade
from pertoken.planner.hpa_rules import Limited, ScalingHistory, hold_back, limit_rate
from pertoken.planner.proposal import Proposal, Status, VariantProposal, step
from pertoken.planner.tuning import Tuning


def stabilize(proposal: Proposal) -> Proposal:
    """The proposal with counts that move no faster than the service's behaviour allows."""
    state = proposal.state
    proven = proposal.sizing.trust >= state.tuning.stabilization.proven_trust
    window = Window(state.lead_seconds, state.inertia, proven)
    behavior = resolved(state.spec.behavior, window, state.tuning)
    proposal = replace(proposal, behavior=behavior)
    if not proposal.planned:
        return proposal
    variants, steps = [], []
    for variant in proposal.variants:
        slowed, step_taken = _slowed(proposal, variant)
        variants.append(slowed)
        steps.extend(step_taken)
    return proposal.with_variants(variants, *steps)


@dataclass(frozen=True, slots=True)
class Window:
    """What decides how long a replica that is not needed stays.

    Attributes:
        lead: seconds from ordering a replica to its service.
        inertia: 0 where an error is mended soon, 1 where it lasts.
        proven: forecasts have come true often enough to be trusted.
    """

    lead: float
    inertia: float = 1.0
    proven: bool = False


def resolved(behavior: Behavior, stay: Window, tuning: Tuning) -> Behavior:
    """The behaviour with what the user left open.

    Args:
        behavior: as specified.
        stay: where the user does not say.
        tuning: what ships.
    """
    down, stabilization, lead = behavior.scale_down, tuning.stabilization, stay.lead
    least = stabilization.least_window
    shortened = lead * (least + (1.0 - least) * stay.inertia)
    window = ceil(shortened if stay.proven else max(lead, stabilization.unproven_seconds))
    seconds = window if down.stabilization_seconds is None else down.stabilization_seconds
    half = ScalingPolicy(PolicyType.PERCENT, stabilization.down_percent, max(1, ceil(lead)))
    return replace(behavior, scale_down=replace(down, stabilization_seconds=seconds, policies=down.policies or (half,)))


def _slowed(proposal: Proposal, variant: VariantProposal) -> tuple[VariantProposal, list[Step]]:
    state, now = variant.state, proposal.state.now
    if state.steady > state.spec.max_replicas:
        return _lowered(proposal, variant)
    wanted, panics = variant.replicas, proposal.assessment.grade is Grade.PANIC
    if wanted < state.steady and not proposal.assessment.may_shrink:
        kept = (Reason.QUEUE_BACKLOG, Status.FREE) if panics else (Reason.METRICS_WARMING_UP, Status.LAGGING)
        told = step("stabilize", (wanted, state.steady), kept[0], variant=variant.name)
        return variant.at(state.steady, *kept), [told]
    history = ScalingHistory(proposal.state.memory.seen_since, state.memory.recommendations, state.memory.changes)
    held = hold_back(wanted, state.steady, proposal.behavior, history, now)
    if panics and wanted > state.steady:
        held = Limited(wanted)
    if variant.status is Status.IDLE and not proposal.state.spec.behavior.scale_down.policies:
        # To zero at once: the idle time was the window.
        return variant.at(held.replicas, held.reason, None if held.replicas == wanted else Status.LAGGING), []
    rated = limit_rate(held.replicas, state.steady, proposal.behavior, history, now)
    limit = rated.reason or held.reason
    if limit is None:
        return variant.at(rated.replicas), []
    up = rated.replicas < held.replicas
    words = f"the scale-up policy allows {rated.replicas} now, {wanted} are needed"
    told = step("stabilize", (wanted, rated.replicas), limit, Limit(words) if up else NO_DETAIL, variant=variant.name)
    return variant.at(rated.replicas, limit, Status.FREE if up else Status.LAGGING), [told]


def _lowered(proposal: Proposal, variant: VariantProposal) -> tuple[VariantProposal, list[Step]]:
    """A maximum that was lowered below what runs: down to it, whatever is needed, as fast as scaling down may be."""
    state = variant.state
    most, steady = state.spec.max_replicas, state.steady
    history = ScalingHistory(proposal.state.memory.seen_since, (), state.memory.changes)
    rated = limit_rate(most, steady, proposal.behavior, history, proposal.state.now)
    reason = rated.reason or Reason.AT_MAXIMUM
    words = f"maxReplicas of {variant.name} is {most}: {steady} replicas come down to it by the scale-down rules"
    told = step("stabilize", (steady, rated.replicas), Reason.AT_MAXIMUM, Limit(words), variant=variant.name)
    status = Status.FREE if rated.replicas == most else Status.LAGGING
    return variant.at(rated.replicas, reason, status), [told]
