"""Minimums and maximums of variants and of the whole service."""

from __future__ import annotations

from collections.abc import Iterable

from pertoken.domain.reasons import Reason
from pertoken.planner.constrain.limits import Limits
from pertoken.planner.proposal import Status, VariantProposal


def at_bounds(variant: VariantProposal) -> tuple[VariantProposal, Limits]:
    """Keep a variant within its minimum and maximum; from above a lowered maximum it comes down at its own pace."""
    spec, replicas = variant.state.spec, variant.replicas
    if replicas > max(spec.max_replicas, variant.state.steady):
        words = f"maxReplicas of {spec.name} is {spec.max_replicas}, {replicas} are needed"
        return variant.at(spec.max_replicas, Reason.AT_MAXIMUM, Status.FREE), [(Reason.AT_MAXIMUM, words)]
    if replicas < spec.min_replicas:
        return variant.at(spec.min_replicas, Reason.AT_MINIMUM, Status.FREE), []
    return variant, []


def service_minimum(
    least: int, variants: Iterable[VariantProposal], reason: Reason = Reason.AT_MINIMUM
) -> list[VariantProposal]:
    """Raise variants, cheapest first, until the service has its minimum of replicas."""
    before = list(variants)
    missing = least - sum(variant.replicas for variant in before)
    raised = []
    for variant in before:
        room = max(0, variant.state.spec.max_replicas - variant.replicas)
        more = min(max(0, missing), room)
        missing -= more
        raised.append(variant.at(variant.replicas + more, reason, Status.FREE) if more else variant)
    return raised
