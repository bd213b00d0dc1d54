"""Stage `batch_cap`: which cap each variant's engines should have, and the next step of rolling it over the pods."""

from __future__ import annotations

from pertoken.domain.trace import Told
from pertoken.frozen import replace
from pertoken.planner.assessment import Grade
from pertoken.planner.batch_cap.cap import decide_cap
from pertoken.planner.batch_cap.roll import roll_cap
from pertoken.planner.batch_cap.roll_state import Allowed, restarts
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Status, step
from pertoken.planner.settlement import CapDecision, RollStep, SettledVariant, Settlement


def batch_cap(settlement: Settlement) -> Settlement:
    """The settlement with cap and roll of every variant; one variant at a time rolls."""
    variants, steps = [], []
    rolling = any(restarts(settlement.state, variant, variant.memory.roll) for variant in settlement.state.variants)
    for variant in settlement.variants:
        capped = _capped(settlement, variant, rolling=rolling)
        rolling = rolling or restarts(settlement.state, variant.state, capped.roll.roll)
        cap = capped.state.workload.cap
        change = (None if cap is None else cap.value, capped.cap.desired)
        told = Told(capped.roll.message)
        steps.append(step("batch_cap", change, capped.roll.reason, told, variant=capped.name))
        variants.append(capped)
    return settlement.with_variants(variants, *steps)


def _capped(settlement: Settlement, variant: SettledVariant, *, rolling: bool) -> SettledVariant:
    state = settlement.state
    cap = decide_cap(state, variant.state, settlement.proposal.assessment, _need(settlement, variant))
    next_step = RollStep(None, cap.reason, cap.message, on_new=variant.state.ready)
    if settlement.acts:
        next_step = _rolled(settlement, variant, cap, rolling=rolling)
    return replace(variant, cap=cap, roll=next_step if held(variant) else _grown(next_step, variant.replicas))


def held(variant: SettledVariant) -> bool:
    """The variant stays as it is for want of metrics, an extra replica of a roll included."""
    return variant.proposal.status is Status.HELD and variant.replicas <= variant.state.current


def _rolled(settlement: Settlement, variant: SettledVariant, cap: CapDecision, *, rolling: bool) -> RollStep:
    proposal, state = settlement.proposal, variant.state
    granted, started = variant.replicas, state.memory.roll
    # A count that is only held up by a window is about to fall: pods that will go need no new cap.
    quiet = granted == state.steady and variant.proposal.status not in (Status.LAGGING, Status.HELD)
    may_add = cap.change if started is None else not started.surge and granted <= state.steady
    others = rolling and started is None
    lost = variant.name in settlement.grant.reclaimed
    judge = not proposal.assessment.holds
    allowed = Allowed(
        room=_room(settlement, variant) if may_add else False,
        start=quiet and not others,
        judge=judge,
        wanted=granted if proposal.assessment.may_shrink or lost else None,
        needed=variant.proposal.least if judge else None,
        calm=_calm(settlement, variant),
    )
    next_step = roll_cap(settlement.state, state, cap, allowed)
    if next_step.roll is not None and next_step.roll.surge and (started is None or not started.surge):
        _reserve(settlement, variant)
    return next_step


def _calm(settlement: Settlement, variant: SettledVariant) -> bool:
    """Demand is not on the rise: no replicas were added within the lead, and none are now."""
    service, command = settlement.state, variant.state.memory.command
    rose = command is not None and command.desired > command.before and service.now - command.at < service.lead_seconds
    normal = settlement.proposal.assessment.grade is Grade.NORMAL
    return not rose and variant.replicas <= variant.state.steady and normal


def _need(settlement: Settlement, variant: SettledVariant) -> float | None:
    """Requests per second that this variant shall carry: by its share of the capacity as sized."""
    proposal = settlement.proposal
    carried = {
        variant.name: variant.sized * variant.rate for variant in proposal.variants if variant.capacity is not None
    }
    total = sum(carried.values())
    if proposal.sizing.rate is None or total <= 0:
        return None
    return proposal.sizing.rate * carried.get(variant.name, 0.0) / total


def _room(settlement: Settlement, variant: SettledVariant) -> bool:
    state = variant.state
    pool = settlement.pools.get(state.spec.pool)
    if pool is None or state.current + 1 > state.spec.max_replicas:
        return False
    rule = pool.rule_of(settlement.state.view.namespace_labels)
    workload = state.workload
    if rule is None:
        return False
    return not pool.refusal(workload.gpus_per_replica, rule, workload.placement, workload.pod_gpus)


def _reserve(settlement: Settlement, variant: SettledVariant) -> None:
    pool: PoolState = settlement.pools[variant.state.spec.pool]
    rule = pool.rule_of(settlement.state.view.namespace_labels)
    workload = variant.state.workload
    pool.take(workload.gpus_per_replica, -1 if rule is None else rule, workload.placement, workload.pod_gpus)


def _grown(next_step: RollStep, granted: int) -> RollStep:
    """Demand that rises during a roll takes the extra replica; the next restart waits for another one."""
    if next_step.roll is None or granted <= next_step.roll.base or next_step.floor is None:
        return next_step
    return replace(next_step, roll=replace(next_step.roll, base=granted, surge=False), floor=granted)
