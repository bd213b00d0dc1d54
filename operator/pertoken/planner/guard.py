"""The last rails: bounds, spend, rollouts, modes, other managers, pods that nothing can schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import ServiceKey
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.memory import Command, PoolMemory, VariantMemory
from pertoken.planner.sizing import Wish

REVERTS = 3
REVERT_SECONDS = 600.0
HANDS_OFF_SECONDS = 1800.0
OWN_MANAGER_PREFIX = "pertoken"
UNSCHEDULABLE_FACTOR = 2.0  # times the pool's provisioning time
MAX_BACKOFF_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class Bounded:
    """Replicas after the bounds, and which bound binds (None if none)."""

    replicas: int
    reason: Reason | None = None
    message: str = ""


def inactive(facts: ServiceFacts) -> Reason | None:
    """Why decisions are not carried out, None if they are."""
    if facts.spec.mode is Mode.OFF:
        return Reason.SWITCHED_OFF
    if facts.spec.paused:
        return Reason.PAUSED
    return Reason.RECOMMENDING if facts.spec.mode is Mode.RECOMMEND else None


def bound(variant: VariantFacts, replicas: int) -> Bounded:
    """Keep a variant within its minimum and maximum; from above a lowered maximum it comes down at its own pace."""
    spec = variant.spec
    if replicas > max(spec.max_replicas, variant.steady):
        words = f"maxReplicas of {spec.name} is {spec.max_replicas}, {replicas} are needed"
        return Bounded(spec.max_replicas, Reason.AT_MAXIMUM, words)
    if replicas < spec.min_replicas:
        words = f"minReplicas of {spec.name} is {spec.min_replicas}"
        return Bounded(spec.min_replicas, Reason.AT_MINIMUM, words)
    return Bounded(replicas)


def service_minimum(facts: ServiceFacts, wishes: Sequence[Wish]) -> list[Wish]:
    """Raise variants, cheapest first, until the service has its minimum of replicas."""
    variants = {variant.name: variant for variant in facts.variants}
    missing = facts.spec.min_replicas - sum(wish.replicas for wish in wishes)
    result = []
    for wish in wishes:
        room = max(0, variants[wish.variant].spec.max_replicas - wish.replicas)
        more = min(max(0, missing), room)
        missing -= more
        result.append(replace(wish, replicas=wish.replicas + more, reason=Reason.AT_MINIMUM) if more else wish)
    return result


def spend_limit(facts: ServiceFacts, wishes: Sequence[Wish]) -> tuple[list[Wish], str]:
    """Keep the spend per hour under the service's ceiling, dearest variants first; minimums stand."""
    cost = facts.spec.cost
    if cost is None or cost.max_spend_per_hour is None:
        return list(wishes), ""
    left = float(cost.max_spend_per_hour)
    variants = {variant.name: variant for variant in facts.variants}
    result, cut = [], 0
    for wish in wishes:
        variant = variants[wish.variant]
        price = variant.usd_per_hour
        if price is None or price <= 0:
            result.append(wish)
            continue
        affordable = max(floor(left / price + 1e-9), variant.spec.min_replicas)
        count = min(wish.replicas, affordable)
        left -= count * price
        cut += wish.replicas - count
        result.append(replace(wish, replicas=count, reason=Reason.SPEND_CAPPED) if count < wish.replicas else wish)
    words = f"maxSpendPerHour {cost.max_spend_per_hour} USD leaves out {cut} replicas" if cut else ""
    return result, words


def notice_manager(variant: VariantFacts, now: float) -> VariantMemory:
    """Compare what was commanded with what is there: somebody else may have taken it back."""
    memory, workload = variant.memory, variant.workload
    foreign = workload.replicas_manager
    is_ours = foreign.startswith(OWN_MANAGER_PREFIX)
    reverts = tuple(at for at in memory.reverts if now - at <= REVERT_SECONDS)
    memory = replace(memory, reverts=reverts, ours=memory.ours or is_ours)
    command = memory.command
    if command is None:
        return memory
    if workload.replicas == command.desired:
        return memory if command.applied else replace(memory, command=replace(command, applied=True))
    # Without having been seen, a command may simply have failed; a changed manager tells that it did not.
    taken_back = command.applied or (
        bool(foreign)
        and (memory.ours or foreign != command.manager)
        and workload.resource_version != command.resource_version
    )
    if taken_back and foreign and not is_ours:
        return replace(memory, command=None, ours=True, reverts=(*reverts, now))
    return replace(memory, command=None) if command.applied else memory


def command(variant: VariantFacts, memory: VariantMemory, desired: int, now: float) -> VariantMemory:
    """Remember a scale action."""
    workload = variant.workload
    made = Command(now, workload.replicas, desired, workload.replicas_manager, workload.resource_version)
    return replace(memory, command=made)


def conflict(facts: ServiceFacts) -> tuple[str, Reason | None]:
    """Who else scales this service, and by which sign we know; empty if nobody does."""
    for variant in facts.variants:
        if variant.workload.foreign_autoscaler:
            words = f"{variant.workload.foreign_autoscaler} scales {variant.workload.ref}"
            return words, Reason.FOREIGN_AUTOSCALER
    for variant in facts.variants:
        if len(variant.memory.reverts) >= REVERTS:
            manager = variant.workload.replicas_manager or "another manager"
            words = f"{manager} took back {len(variant.memory.reverts)} changes of {variant.workload.ref} in 10 minutes"
            return words, Reason.CONFLICTING_MANAGER
    if facts.now < facts.memory.conflicted_until:
        return facts.memory.conflict, Reason.CONFLICTING_MANAGER
    return "", None


def unschedulable(variant: VariantFacts, now: float) -> list[PodFact]:
    """Pods that the scheduler has refused for longer than the pool takes to bring up nodes."""
    patience = UNSCHEDULABLE_FACTOR * (300.0 if variant.pool is None else variant.pool.provisioning_seconds)
    return [
        pod
        for pod in variant.living
        if pod.unschedulable_since is not None and now - pod.unschedulable_since > patience
    ]


def withdrawable(variant: VariantFacts, stuck: Sequence[PodFact]) -> int:
    """How many of the stuck pods may be given up: the variant keeps its minimum and what serves.

    The extra replica of a rolling cap change is not counted: it is the roll's to give up.
    """
    floor = max(variant.spec.min_replicas, min(variant.ready, variant.steady))
    return min(len(stuck), max(0, variant.steady - floor))


def keep_minimum(facts: ServiceFacts, wishes: Sequence[Wish], withdrawn: dict[str, int]) -> list[Wish]:
    """Give up fewer stuck pods where all variants together would fall below the service's minimum.

    Args:
        facts: of the service.
        wishes: of all its variants, with the withdrawals.
        withdrawn: pods given up by variant; what is kept after all is taken out of it.
    """
    missing = facts.spec.min_replicas - sum(wish.replicas for wish in wishes)
    result = []
    for wish in wishes:
        back = min(max(0, missing), withdrawn.get(wish.variant, 0))
        if not back:
            result.append(wish)
            continue
        missing -= back
        withdrawn[wish.variant] -= back
        kept = replace(wish, replicas=wish.replicas + back)
        if not withdrawn[wish.variant]:
            del withdrawn[wish.variant]
            kept = replace(kept, reason=Reason.AT_MINIMUM)
        result.append(kept)
    return result


def backoff_key(pool: str, service: ServiceKey, variant: str) -> str:
    """Under which name a pool's refusals of one variant are remembered.

    Pods that no node takes may ask for what no node has: other services' pods must not wait for them.
    """
    return f"{pool}/{service}/{variant}"


def backed_off(memory: PoolMemory, provisioning_seconds: float, now: float) -> PoolMemory:
    """The pool after a withdrawal: no scale-ups for twice its provisioning time, doubling while it keeps failing."""
    again = (
        now - memory.backoff_until < 2 * UNSCHEDULABLE_FACTOR * provisioning_seconds if memory.withdrawals else False
    )
    count = memory.withdrawals + 1 if again else 1
    seconds = UNSCHEDULABLE_FACTOR * provisioning_seconds * 2 ** min(count - 1, MAX_BACKOFF_DOUBLINGS)
    return PoolMemory(now + seconds, count)
