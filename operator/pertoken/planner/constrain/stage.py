"""Stage `constrain`: spend, minimums and maximums, what the workload's state forbids, and pods to give up.

The order matters: money first, since minimums stand above it; then each variant's bounds and state; last the service's
minimum again, which pods that are given up must not break.
"""

from __future__ import annotations

from pertoken.domain.trace import Limit, Step
from pertoken.planner.constrain.bounds import at_bounds, service_minimum
from pertoken.planner.constrain.spend import spend_limit
from pertoken.planner.constrain.standing import Withdrawal, keep_minimum, standing
from pertoken.planner.proposal import Proposal, VariantProposal, step


def constrain(proposal: Proposal) -> Proposal:
    """The proposal within everything that bounds this service by itself."""
    if not proposal.assessment.holds:
        proposal = spend_limit(proposal)
    keeps_minimum = not proposal.stance.off and not proposal.idle
    if keeps_minimum:
        proposal = proposal.with_variants(service_minimum(proposal.state.spec.min_replicas, proposal.variants))
    withdrawals = []
    steps: list[Step] = []
    for variant in proposal.variants:
        withdrawal, taken = _constrained(proposal, variant)
        withdrawals.append(withdrawal)
        steps.extend(taken)
    if keeps_minimum:
        withdrawals = keep_minimum(proposal.state.spec.min_replicas, withdrawals)
    withdrawn = {entry.variant.name: entry.pods for entry in withdrawals if entry.pods}
    return proposal.with_variants((entry.variant for entry in withdrawals), *steps).with_withdrawals(withdrawn)


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
