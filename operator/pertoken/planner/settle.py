"""Stage `settle`: a service's proposal laid beside what the pools gave it."""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Shared, Step
from pertoken.planner.allocate.scarce import pool_limits
from pertoken.planner.grant import Grant
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Proposal, Status, VariantProposal, step
from pertoken.planner.settlement import SettledVariant, Settlement


def settle(proposal: Proposal, grant: Grant, pools: Mapping[str, PoolState]) -> Settlement:
    """The settlement before the first stage of the second half. Services that do not act have asked for nothing."""
    variants, steps = [], []
    for variant in proposal.variants:
        settled, taken = _settled(variant, grant)
        variants.append(settled)
        steps.extend(taken)
    limits = pool_limits(proposal, grant, pools)
    return Settlement(proposal, grant, pools, tuple(variants), trace=(*proposal.trace, *steps, *limits))


def _settled(variant: VariantProposal, grant: Grant) -> tuple[SettledVariant, list[Step]]:
    """Replicas after allocation."""
    name, asked = variant.name, variant.replicas
    as_asked = SettledVariant(variant, asked, variant.reason, variant.status)
    given = grant.replicas.get(name)
    if given is not None and name in grant.reclaimed:
        lost = SettledVariant(variant, given, Reason.RECLAIMED_FOR_PRIORITY, Status.GIVEN_UP)
        return lost, [step("reclaim", (asked, given), lost.reason, Shared(grant.reclaimed[name]), variant=name)]
    steady = variant.state.steady
    if given is None or (given <= steady and asked <= steady):
        return as_asked, []
    if name in grant.refused:
        refused = grant.refused[name]
        detail = Shared(refused.words, grant.freed.get(name))
        told = step("allocate", (asked, given), refused.reason, detail, variant=name)
        return SettledVariant(variant, given, refused.reason, variant.status), [told]
    if given > asked:
        told = step("allocate", (asked, given), Reason.DEMAND_ROSE, Shared("in place of another"), variant=name)
        return SettledVariant(variant, given, Reason.DEMAND_ROSE, variant.status), [told]
    return SettledVariant(variant, given, variant.reason, variant.status), []
