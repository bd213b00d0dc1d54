"""What the state of a workload forbids, and pods to give up because nothing schedules them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pertoken.domain.cluster import PodFact
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass, replace
from pertoken.planner.proposal import Proposal, Status, VariantProposal
from pertoken.planner.service_state import ServiceState, VariantState


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A variant after its state was looked at.

    Attributes:
        pods: how many are given up.
        limit: what Kubernetes does not let rise, in words; empty if nothing is kept down.
    """

    variant: VariantProposal
    pods: int = 0
    limit: str = ""


def standing(proposal: Proposal, variant: VariantProposal) -> Withdrawal:
    """Reasons not to move at all, or not up; and pods to give up."""
    state, current = variant.state, variant.state.steady
    if proposal.stance.conflict is not None:
        return Withdrawal(variant.at(current, proposal.stance.conflict, Status.HANDS_OFF))
    fixed = _fixed(variant)
    if fixed is not None:
        return fixed
    stuck = unschedulable(proposal.state, state)
    if stuck and not proposal.assessment.holds and len(state.living) <= state.current:
        pods = withdrawable(state, stuck)
        if pods:
            fewer = min(variant.replicas, current - pods)
            return Withdrawal(variant.at(fewer, Reason.UNSCHEDULABLE_WITHDRAWN, Status.GIVEN_UP), pods)
    if variant.replicas > current and proposal.state.now < state.backoff_until:
        words = f"pool {state.spec.pool} could not schedule such pods lately"
        return Withdrawal(variant.at(current, Reason.POOL_BACKING_OFF, Status.BLOCKED), limit=words)
    if variant.replicas > current and stuck:
        return Withdrawal(variant.at(current, Reason.WAITING_FOR_PODS, Status.WAITING))
    return Withdrawal(variant)


def _fixed(variant: VariantProposal) -> Withdrawal | None:
    """The variant where its workload's own state lets replicas neither rise nor fall; None if it does."""
    state = variant.state
    current = state.steady
    if state.workload.gpus_per_replica <= 0:
        return Withdrawal(variant.at(current, Reason.GPU_COUNT_UNKNOWN, Status.BLOCKED))
    if state.refusal and variant.replicas >= state.living_replicas and variant.status is not Status.IDLE:
        # More would be refused as well; what was asked for stands, since Kubernetes goes on trying.
        refused = variant.at(min(current, state.spec.max_replicas), Reason.REPLICA_FAILURE, Status.WAITING)
        return Withdrawal(refused, limit=f"{variant.name}: {state.refusal}")
    if not state.workload.settled and variant.replicas != current:
        return Withdrawal(variant.at(current, Reason.ROLLOUT_IN_PROGRESS, Status.BLOCKED))
    return None


def unschedulable(service: ServiceState, variant: VariantState) -> list[PodFact]:
    """Pods that the scheduler has refused for longer than the pool takes to bring up nodes."""
    rails = service.tuning.rails
    usual = rails.unknown_provisioning if variant.pool is None else variant.pool.provisioning_seconds
    patience = rails.unschedulable_factor * usual
    return [
        pod
        for pod in variant.living
        if pod.unschedulable_since is not None and service.now - pod.unschedulable_since > patience
    ]


def withdrawable(variant: VariantState, stuck: Sequence[PodFact]) -> int:
    """How many of the stuck pods may be given up: the variant keeps its minimum and what serves.

    The extra replica of a rolling cap change is not counted: it is the roll's to give up.
    """
    floor = max(variant.spec.min_replicas, min(variant.ready, variant.steady))
    return min(len(stuck), max(0, variant.steady - floor))


def keep_minimum(least: int, withdrawals: Iterable[Withdrawal]) -> list[Withdrawal]:
    """Give up fewer stuck pods where all variants together would fall below the service's minimum.

    Args:
        least: the service's minimum.
        withdrawals: of all its variants.
    """
    before = list(withdrawals)
    missing = least - sum(entry.variant.replicas for entry in before)
    kept = []
    for entry in before:
        back = min(max(0, missing), entry.pods)
        if not back:
            kept.append(entry)
            continue
        missing -= back
        variant = entry.variant.at(entry.variant.replicas + back)
        if back == entry.pods:
            variant = variant.at(variant.replicas, Reason.AT_MINIMUM, Status.FREE)
        kept.append(replace(entry, variant=variant, pods=entry.pods - back))
    return kept
