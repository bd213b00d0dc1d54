"""Stage `decide`: the replicas that each variant shall have, and the actions that bring them about."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.plan import Action, EvictPod, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Step
from pertoken.frozen import replace
from pertoken.planner.explain import why_scaled
from pertoken.planner.proposal import Status, step
from pertoken.planner.settlement import Actions, SettledVariant, Settlement


def decide(settlement: Settlement) -> Settlement:
    """The settlement with final counts, and with actions if the service acts."""
    variants = [_decided(settlement, variant) for variant in settlement.variants]
    decided = settlement.with_variants(variants, *_steps(settlement.variants, variants))
    return replace(decided, actions=_actions(decided)) if settlement.acts else decided


def _decided(settlement: Settlement, variant: SettledVariant) -> SettledVariant:
    state, granted, roll = variant.state, variant.replicas, variant.roll
    held = variant.proposal.status is Status.HELD and granted <= state.current
    given_up = Status.GIVEN_UP in (variant.status, variant.proposal.status)
    # A maximum that the user lowered holds under any load; the pace is that of scaling down.
    may_fall = settlement.proposal.assessment.may_shrink or given_up or state.steady > state.spec.max_replicas
    # Where the metrics do not allow scaling down, all serving replicas stay, an extra one of a roll included.
    desired = granted if may_fall else max(granted, state.current)
    if roll.floor is not None and desired < roll.floor and not held:
        floor = min(roll.floor, max(state.spec.max_replicas, granted))
        return replace(variant, replicas=floor, reason=Reason.BATCH_CHANGE_ROLLING, status=Status.FREE)
    return replace(variant, replicas=desired)


def _steps(before: Sequence[SettledVariant], after: Sequence[SettledVariant]) -> list[Step]:
    return [
        step("decide", (old.replicas, new.replicas), new.reason, variant=new.name)
        for old, new in zip(before, after, strict=True)
        if old.replicas != new.replicas
    ]


def _actions(settlement: Settlement) -> Actions:
    downs: list[Action] = []
    ups: list[Action] = []
    batch: list[Action] = []
    for variant in settlement.variants:
        state, action = variant.state, variant.roll.action
        if action is not None:
            batch.append(action)
        if variant.replicas == state.current:
            continue
        into = downs if variant.replicas < state.current else ups
        if into is downs and isinstance(action, EvictPod):
            into = batch  # the evicted pod is the one to go
        into.append(_scaled(settlement, variant))
    return Actions(tuple(downs), tuple(ups), tuple(batch))


def _scaled(settlement: Settlement, variant: SettledVariant) -> SetReplicas:
    state = variant.state
    return SetReplicas(
        settlement.state.spec.key,
        variant.name,
        state.workload.ref,
        state.current,
        variant.replicas,
        variant.reason,
        state.workload.resource_version,
        why_scaled(variant.name, state.current, variant.replicas, variant.reason, settlement.trace),
    )
