"""Stage `constrain`: spend, minimums and maximums, what the workload's state forbids, and pods to give up.

The order matters: money first, since minimums stand above it; then each variant's bounds and state; last the service's
minimum again, which pods that are given up must not break.
"""

from __future__ import annotations

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit, Step, Told
from pertoken.domain.world import TimedMinimum
from pertoken.planner.constrain.bounds import at_bounds, service_minimum
from pertoken.planner.constrain.spend import spend_limit
from pertoken.planner.constrain.standing import Withdrawal, keep_minimum, standing
from pertoken.planner.proposal import UNCHANGED, Proposal, VariantProposal, step
from pertoken.planner.service_state import ServiceState


def constrain(proposal: Proposal) -> Proposal:
    """The proposal within everything that bounds this service by itself."""
    if not proposal.assessment.holds:
        proposal = spend_limit(proposal)
    keeps_minimum = not proposal.stance.off and not proposal.idle
    if keeps_minimum:
        proposal = _at_least(proposal)
    withdrawals = []
    steps: list[Step] = []
    for variant in proposal.variants:
        withdrawal, taken = _constrained(proposal, variant)
        withdrawals.append(withdrawal)
        steps.extend(taken)
    if keeps_minimum:
        withdrawals = keep_minimum(proposal.state.min_replicas, withdrawals)
    withdrawn = {entry.variant.name: entry.pods for entry in withdrawals if entry.pods}
    return proposal.with_variants((entry.variant for entry in withdrawals), *steps).with_withdrawals(withdrawn)


def _at_least(proposal: Proposal) -> Proposal:
    """The proposal with at least the replicas that the service, or its schedule, asks for."""
    state, least = proposal.state, proposal.state.min_replicas
    if least == state.spec.min_replicas:
        return proposal.with_variants(service_minimum(least, proposal.variants))
    if state.scheduled is not None:
        reason, words = Reason.SCHEDULED, _words(state.scheduled, state.now)
    else:
        reason, words = Reason.WOKEN, _woken_by(state)
    raised = service_minimum(least, proposal.variants, reason)
    counts = [sum(variant.replicas for variant in variants) for variants in (proposal.variants, raised)]
    if counts[0] == counts[1]:
        return proposal.noting(step("constrain", UNCHANGED, reason, Told(words)))
    return proposal.with_variants(raised, step("constrain", (counts[0], counts[1]), reason, Told(words)))


def _woken_by(state: ServiceState) -> str:
    if state.wake is not None and state.wake > 0:
        return f"{state.spec.wake_signal} is {state.wake:g}"
    return f"the gateway holds {state.gateway_queue:g} requests"


def _words(scheduled: TimedMinimum, now: float) -> str:
    if scheduled.start > now:
        when = f"in {scheduled.start - now:.0f} s, which a replica takes to serve"
    else:
        when = f"for {scheduled.end - now:.0f} s more"
    return f"{scheduled.words}: at least {scheduled.replicas} replicas {when}"


def _constrained(proposal: Proposal, variant: VariantProposal) -> tuple[Withdrawal, list[Step]]:
    bounded, limits = at_bounds(variant)
    if not proposal.planned:
        # Without metrics nothing falls; a minimum may still be reached.
        bounded = variant.at(max(bounded.replicas, variant.state.current))
    result = standing(proposal, bounded)
    final = result.variant
    if result.limit:
        limits = [*limits, (final.reason, result.limit)]
    change = (variant.replicas, final.replicas)
    steps = [step("constrain", change, reason, Limit(words), variant=variant.name) for reason, words in limits]
    if not steps and final.replicas != variant.replicas:
        steps = [step("constrain", change, final.reason, variant=variant.name)]
    return result, steps
