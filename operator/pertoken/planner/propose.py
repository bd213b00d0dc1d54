"""First half of a cycle for one service: from facts to the replicas that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior
from pertoken.domain.world import ServiceView, World
from pertoken.planner import assess as assessing
from pertoken.planner.allocate import Option, Request
from pertoken.planner.assess import Assessment, Grade
from pertoken.planner.facts import ServiceFacts, Trace, VariantFacts, gather
from pertoken.planner.guard import (
    backoff_key,
    bound,
    conflict,
    inactive,
    keep_minimum,
    notice_manager,
    service_minimum,
    spend_limit,
    unschedulable,
    withdrawable,
)
from pertoken.planner.learn import demand_at_least, learn
from pertoken.planner.memory import Memory
from pertoken.planner.running import noticed
from pertoken.planner.sizing import Sizing, Wish, demand_figures, lead_seconds, size
from pertoken.planner.stabilize import History, limit_rate, resolved, stabilize

PROVEN = 0.5  # of a forecast's cases that are learnt
# Variants that must not grow in place of another either.
_FROZEN = frozenset(
    {
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.POOL_BACKING_OFF,
        Reason.UNSCHEDULABLE_WITHDRAWN,
        Reason.WAITING_FOR_PODS,
        Reason.HELD_NO_METRICS,
        Reason.GPU_COUNT_UNKNOWN,
        Reason.REPLICA_FAILURE,
    }
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One service between the halves.

    Attributes:
        sizing: what demand asks for.
        wishes: after stabilization and bounds, cheapest variant first.
        limits: what bound the wishes, with words.
        withdrawn: pods that are given up, by variant.
        conflict: words and reason of another manager, ("", None) if there is none.
        inactive: why nothing is carried out, None if it is.
    """

    facts: ServiceFacts
    assessment: Assessment
    trace: Trace
    sizing: Sizing
    wishes: tuple[Wish, ...]
    limits: tuple[tuple[Reason, str], ...]
    withdrawn: Mapping[str, int]
    conflict: tuple[str, Reason | None]
    inactive: Reason | None

    @property
    def behavior(self) -> Behavior:
        """How fast the service may move in this cycle."""
        facts = self.facts
        proven = self.sizing.trust >= PROVEN
        return resolved(facts.spec.behavior, lead_seconds(facts), facts.settings.cycle_seconds, proven=proven)

    @property
    def request(self) -> Request:
        """What to ask of the pools."""
        variants = {variant.name: variant for variant in self.facts.variants}
        options = []
        for wish in self.wishes:
            variant = variants[wish.variant]
            rate = 0.0 if wish.capacity is None else wish.capacity.rate
            gpus = max(variant.workload.gpus_per_replica, 0)
            ceiling = wish.replicas if wish.reason in _FROZEN else variant.spec.max_replicas
            pool, where = variant.spec.pool, variant.workload.placement
            options.append(Option(wish.variant, pool, gpus, has(variant, wish), wish.replicas, ceiling, rate, where))
        spec = self.facts.spec
        return Request(spec.key, spec.priority, self.facts.view.namespace_labels, tuple(options))


def has(variant: VariantFacts, wish: Wish) -> int:
    """Replicas from which a wish counts: a hold keeps what serves, the extra one of a rolling cap change included."""
    return variant.current if wish.reason is Reason.HELD_NO_METRICS else variant.steady


def propose(view: ServiceView, world: World, memory: Memory, now: float) -> Draft:
    """Gather, assess, learn, size, stabilize, bound."""
    trace = Trace()
    facts = gather(view, world, memory.service(view.spec.key), now)
    facts = _with_variant_memories(facts, {v.name: _noticed(v, now) for v in facts.variants})
    assessment = assessing.assess(facts)
    judgement = assessment.judgement
    trace.add("assess", ("", assessment.grade.name.lower()), judgement.reason, words=judgement.message)
    at_least = demand_at_least(facts, assessment)
    learnt = assessing.noted(facts, learn(facts, assessment))
    serving = sum(variant.ready for variant in facts.variants)
    learnt = assessing.remember(learnt, assessment, (facts.backlog, serving), now, facts.settings.cycle_seconds)
    learnt_variants = {v.name: replace(v, memory=learnt.variants[v.name]) for v in facts.variants}
    facts = _with_variant_memories(facts.with_memory(learnt), learnt_variants)
    facts = replace(facts, at_least=at_least)
    off = inactive(facts)
    contested = conflict(facts)
    if assessment.grade is Grade.HOLD or off is Reason.SWITCHED_OFF or not facts.variants:
        reason = Reason.SWITCHED_OFF if off is Reason.SWITCHED_OFF else Reason.HELD_NO_METRICS
        # What serves is held, the extra replica of a rolling change included.
        held = tuple(Wish(variant.name, variant.current, reason) for variant in facts.variants)
        sizing = Sizing(held, demand_figures(facts))
    else:
        sizing = size(facts, assessment, trace)
    draft = Draft(facts, assessment, trace, sizing, sizing.wishes, (), {}, contested, off)
    return _limited(draft, memory)


def _noticed(variant: VariantFacts, now: float) -> VariantFacts:
    """What others did to the workload: another manager to its replicas, Kubernetes to its pods."""
    return noticed(replace(variant, memory=notice_manager(variant, now)), now)


def _with_variant_memories(facts: ServiceFacts, variants: Mapping[str, VariantFacts]) -> ServiceFacts:
    return replace(facts, variants=tuple(variants[variant.name] for variant in facts.variants))


def _limited(draft: Draft, memory: Memory) -> Draft:
    """Stabilization, then every bound, each with its step in the trace."""
    facts, trace = draft.facts, draft.trace
    variants = {variant.name: variant for variant in facts.variants}
    limits: list[tuple[Reason, str]] = []
    wishes = [_stabilized(draft, variants[wish.variant], wish, limits) for wish in draft.wishes]
    hold = draft.assessment.grade is Grade.HOLD
    if not hold:
        wishes, words = spend_limit(facts, wishes)
        if words:
            limits.append((Reason.SPEND_CAPPED, words))
            trace.add("guard", ("", ""), Reason.SPEND_CAPPED, words=words)
    if draft.inactive is not Reason.SWITCHED_OFF and not _idle(wishes):
        wishes = service_minimum(facts, wishes)
    withdrawn: dict[str, int] = {}
    final = []
    for wish in wishes:
        variant = variants[wish.variant]
        bounded = bound(variant, wish.replicas)
        replicas, reason = bounded.replicas, bounded.reason or wish.reason
        if bounded.reason is Reason.AT_MAXIMUM:
            limits.append((bounded.reason, bounded.message))
        if hold or draft.inactive is Reason.SWITCHED_OFF:
            # Without metrics nothing falls; a minimum may still be reached.
            replicas, reason = max(replicas, variant.current), wish.reason
        guarded = _held(draft, variant, replace(wish, replicas=replicas, reason=reason), memory, withdrawn)
        limits.extend(_kept_down(variant, guarded))
        if guarded.replicas != wish.replicas:
            trace.add("guard", (wish.replicas, guarded.replicas), guarded.reason, variant=wish.variant)
        final.append(guarded)
    if draft.inactive is not Reason.SWITCHED_OFF and not _idle(wishes):
        final = keep_minimum(facts, final, withdrawn)
    return replace(draft, wishes=tuple(final), limits=tuple(limits), withdrawn=withdrawn)


def _kept_down(variant: VariantFacts, wish: Wish) -> list[tuple[Reason, str]]:
    """What Kubernetes does not let rise, as a limit."""
    if wish.reason is Reason.REPLICA_FAILURE:
        return [(wish.reason, f"{variant.name}: {variant.refusal}")]
    if wish.reason is Reason.POOL_BACKING_OFF:
        return [(wish.reason, f"pool {variant.spec.pool} could not schedule such pods lately")]
    return []


def _idle(wishes: list[Wish]) -> bool:
    return bool(wishes) and all(wish.reason is Reason.IDLE for wish in wishes)


def _stabilized(draft: Draft, variant: VariantFacts, wish: Wish, limits: list[tuple[Reason, str]]) -> Wish:
    grade, facts = draft.assessment.grade, draft.facts
    if grade is Grade.HOLD or draft.inactive is Reason.SWITCHED_OFF:
        return wish
    wanted = wish.replicas
    if variant.steady > variant.spec.max_replicas:
        return _lowered(draft, variant, wish, limits)
    if wanted < variant.steady and not draft.assessment.may_shrink:
        kept = Reason.QUEUE_BACKLOG if grade is Grade.PANIC else Reason.METRICS_WARMING_UP
        draft.trace.add("stabilize", (wanted, variant.steady), kept, variant=wish.variant)
        return replace(wish, replicas=variant.steady, reason=kept)
    behavior = draft.behavior
    since = facts.memory.seen_since
    history = History(since, variant.memory.recommendations, variant.memory.changes)
    held = stabilize(wanted, variant.steady, behavior, history, facts.now)
    if grade is Grade.PANIC and wanted > variant.steady:
        held = type(held)(wanted)
    if wish.reason is Reason.IDLE and not facts.spec.behavior.scale_down.policies:
        return replace(wish, replicas=held.replicas, reason=held.reason or wish.reason)
    rated = limit_rate(held.replicas, variant.steady, behavior, history, facts.now)
    limit = rated.reason or held.reason
    if limit is None:
        return replace(wish, replicas=rated.replicas)
    draft.trace.add("stabilize", (wanted, rated.replicas), limit, variant=wish.variant)
    if limit is Reason.SCALE_UP_LIMITED:
        limits.append((limit, f"the scale-up policy allows {rated.replicas} now, {wanted} are needed"))
    return replace(wish, replicas=rated.replicas, reason=limit)


def _lowered(draft: Draft, variant: VariantFacts, wish: Wish, limits: list[tuple[Reason, str]]) -> Wish:
    """A maximum that was lowered below what runs: down to it, whatever is needed, as fast as scaling down may be."""
    most, steady = variant.spec.max_replicas, variant.steady
    history = History(draft.facts.memory.seen_since, (), variant.memory.changes)
    rated = limit_rate(most, steady, draft.behavior, history, draft.facts.now)
    reason = rated.reason or Reason.AT_MAXIMUM
    draft.trace.add("stabilize", (steady, rated.replicas), reason, variant=wish.variant)
    words = f"maxReplicas of {wish.variant} is {most}: {steady} replicas come down to it by the scale-down rules"
    limits.append((Reason.AT_MAXIMUM, words))
    return replace(wish, replicas=rated.replicas, reason=reason)


def _held(draft: Draft, variant: VariantFacts, wish: Wish, memory: Memory, withdrawn: dict[str, int]) -> Wish:
    """Reasons not to move at all, or not up; and pods to give up."""
    facts, current = draft.facts, variant.steady
    if draft.conflict[1] is not None:
        return replace(wish, replicas=current, reason=draft.conflict[1])
    standing = _standing(variant, wish)
    if standing is not None:
        most = variant.spec.max_replicas if standing is Reason.REPLICA_FAILURE else current
        return replace(wish, replicas=min(current, most), reason=standing)
    stuck = unschedulable(variant, facts.now)
    if stuck and draft.assessment.grade is not Grade.HOLD and len(variant.living) <= variant.current:
        count = withdrawable(variant, stuck)
        if count:
            withdrawn[variant.name] = count
            return replace(wish, replicas=min(wish.replicas, current - count), reason=Reason.UNSCHEDULABLE_WITHDRAWN)
    pool = memory.pools.get(backoff_key(variant.spec.pool, facts.spec.key, variant.name))
    backing_off = pool is not None and facts.now < pool.backoff_until
    if wish.replicas > current and (stuck or backing_off):
        reason = Reason.POOL_BACKING_OFF if backing_off else Reason.WAITING_FOR_PODS
        return replace(wish, replicas=current, reason=reason)
    return wish


def _standing(variant: VariantFacts, wish: Wish) -> Reason | None:
    """Why the workload's own state lets its replicas neither rise nor fall; None if it does."""
    if variant.workload.gpus_per_replica <= 0:
        return Reason.GPU_COUNT_UNKNOWN
    if variant.refusal and wish.replicas >= variant.living_replicas and wish.reason is not Reason.IDLE:
        # More would be refused as well; what was asked for stands, since Kubernetes goes on trying.
        return Reason.REPLICA_FAILURE
    if not variant.workload.settled and wish.replicas != variant.steady:
        return Reason.ROLLOUT_IN_PROGRESS
    return None
