"""Second half of a cycle for one service: from what the pools granted to a decision, actions and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pertoken.accounting.attribution import token_work
from pertoken.domain.cost import CostFigures, TokenWork
from pertoken.domain.plan import (
    Action,
    CalibrationFigures,
    Decision,
    EvictPod,
    Judgement,
    SetReplicas,
    Step,
    VariantDecision,
    Verdict,
)
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.performance.steady import Load
from pertoken.planner.allocate import Grant
from pertoken.planner.assess import Grade
from pertoken.planner.batching import CapDecision, decide_cap
from pertoken.planner.caproll import BLOCK_INTERVALS, roll_cap
from pertoken.planner.explain import sentence
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.guard import HANDS_OFF_SECONDS, REVERTS, command
from pertoken.planner.judge import cost_figures, judge_cost, judge_latency, judge_target, latency_figures
from pertoken.planner.known import judge_known
from pertoken.planner.memory import Pressure, ServiceMemory, VariantMemory
from pertoken.planner.needs import Purpose
from pertoken.planner.place import PoolState
from pertoken.planner.propose import Draft
from pertoken.planner.roll_state import Allowed, RollStep
from pertoken.planner.running import Shortfall, judge_running, shortfalls
from pertoken.planner.scarce import note_doubts, pool_limits, remarks
from pertoken.planner.sizing import Wish, lead_seconds
from pertoken.planner.stabilize import remember, remember_change

# When several reasons compete for the headline, the first of these wins.
_SEVERITY = (
    Reason.TARGET_NOT_FOUND,
    Reason.OBJECT_UNREADABLE,
    Reason.FOREIGN_AUTOSCALER,
    Reason.CONFLICTING_MANAGER,
    Reason.GPU_COUNT_UNKNOWN,
    Reason.SWITCHED_OFF,
    Reason.REPLICA_FAILURE,
    Reason.PODS_CRASHING,
    Reason.PODS_PENDING,
    Reason.PODS_NOT_READY,
    Reason.HELD_NO_METRICS,
    Reason.RECLAIMED_FOR_PRIORITY,
    Reason.ACCESS_DENIED,
    Reason.POOL_EXHAUSTED,
    Reason.UNSCHEDULABLE_WITHDRAWN,
    Reason.POOL_BACKING_OFF,
    Reason.AT_MAXIMUM,
    Reason.SPEND_CAPPED,
    Reason.LATENCY_AT_RISK,
    Reason.QUEUE_BACKLOG,
    Reason.DEMAND_ROSE,
    Reason.DEMAND_FELL,
)
PRESSURE_SECONDS = 600.0  # kept: rate window and longest stay of a request
_SIZED = ("sizing", "feedback", "queue")
_NUMBERS = (
    ("requests_per_second", "demand", " requests/s"),
    ("with_headroom", "with head-room", ""),
    ("per_replica", "one replica sustains", ""),
    ("gpu_utilization", "GPU utilization", ""),
    ("measure", "measured", ""),
    ("measured_seconds", "at", " s"),
    ("objective_seconds", "objective", " s"),
)
# Reasons that take replicas away whatever is measured.
_GIVING_UP = frozenset({Reason.UNSCHEDULABLE_WITHDRAWN, Reason.RECLAIMED_FOR_PRIORITY})
_FALLING = frozenset({Reason.STABILIZED, Reason.SCALE_DOWN_LIMITED, Reason.METRICS_WARMING_UP})
_BLOCKING = frozenset(
    {
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.HELD_NO_METRICS,
        Reason.FOREIGN_AUTOSCALER,
        Reason.CONFLICTING_MANAGER,
        Reason.GPU_COUNT_UNKNOWN,
        Reason.POOL_BACKING_OFF,
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One service's part of the plan.

    Attributes:
        downs, ups, batch: actions, to be carried out in this order over all services.
        withdrawn_from: pool and variant of pods that were given up.
    """

    decision: Decision
    memory: ServiceMemory
    downs: tuple[Action, ...] = ()
    ups: tuple[Action, ...] = ()
    batch: tuple[Action, ...] = ()
    withdrawn_from: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Final:
    """One variant at the end of the cycle."""

    variant: VariantFacts
    wish: Wish
    desired: int
    reason: Reason
    cap: CapDecision
    step: RollStep


def conclude(draft: Draft, grant: Grant, pools: Mapping[str, PoolState]) -> Outcome:
    """Caps, final replicas, conditions, actions, memory."""
    facts = draft.facts
    variants = {variant.name: variant for variant in facts.variants}
    raw = {wish.variant: wish.replicas for wish in draft.sizing.wishes}
    note_doubts(draft)
    finals: list[_Final] = []
    rolling = any(variant.memory.roll is not None for variant in facts.variants)
    for wish in draft.wishes:
        final = _finish(draft, variants[wish.variant], wish, grant, (pools, rolling))
        rolling = rolling or final.step.roll is not None
        finals.append(final)
    # What binds the most comes first.
    limits = [*pool_limits(draft, grant, pools), *draft.limits]
    acts = draft.inactive is None and draft.conflict[1] is None
    decision = _decision(draft, finals, limits, acts=acts)
    decision = _with_remarks(decision, remarks(draft, pools))
    memory = _remember(draft, finals, raw, acts=acts)
    actions = _actions(facts, finals, draft.trace.steps) if acts else ((), (), ())
    pools_failed = tuple((variants[name].spec.pool, name) for name in draft.withdrawn) if acts else ()
    return Outcome(decision, memory, *actions, withdrawn_from=pools_failed)


def _finish(
    draft: Draft, variant: VariantFacts, wish: Wish, grant: Grant, shared: tuple[Mapping[str, PoolState], bool]
) -> _Final:
    pools, rolling = shared
    facts = draft.facts
    granted, reason = _granted(draft, variant, wish, grant)
    cap = decide_cap(facts, variant, draft.assessment, _need(draft, wish))
    acts = draft.inactive is None and draft.conflict[1] is None
    # A count that is only held up by a window is about to fall: pods that will go need no new cap.
    quiet = granted == variant.steady and wish.reason not in _FALLING and wish.reason is not Reason.HELD_NO_METRICS
    step = RollStep(None, cap.reason, cap.message, on_new=variant.ready)
    if acts:
        started = variant.memory.roll
        may_add = cap.change if started is None else not started.surge and granted <= variant.steady
        room = _room(facts, variant, pools) if may_add else False
        others = rolling and variant.memory.roll is None
        wanted = granted if draft.assessment.may_shrink or wish.variant in grant.reclaimed else None
        judge = draft.assessment.grade is not Grade.HOLD
        least = wish.least if judge else None
        allowed = Allowed(room, quiet and not others, judge, wanted, least, _calm(draft, variant, granted))
        step = roll_cap(facts, variant, cap, allowed)
        if step.roll is not None and step.roll.surge and (started is None or not started.surge):
            _reserve(facts, variant, pools)
    held = wish.reason is Reason.HELD_NO_METRICS and granted <= variant.current
    step = step if held else _grown(step, granted)
    desired = granted
    # A maximum that the user lowered holds under any load; the pace is that of scaling down.
    told = bool({wish.reason, reason} & _GIVING_UP) or variant.steady > variant.spec.max_replicas
    if not draft.assessment.may_shrink and not told and desired < variant.current:
        desired = variant.current  # without all that it takes to shrink, what serves stays, an extra replica included
    if step.floor is not None and desired < step.floor and not held:
        desired, reason = min(step.floor, max(variant.spec.max_replicas, granted)), Reason.BATCH_CHANGE_ROLLING
    cap_changed = step.reason, step.message
    draft.trace.add(
        "batching",
        (None if variant.workload.cap is None else variant.workload.cap.value, cap.desired),
        cap_changed[0],
        variant=wish.variant,
        words=cap_changed[1],
    )
    return _Final(variant, wish, desired, reason, cap, step)


def _calm(draft: Draft, variant: VariantFacts, granted: int) -> bool:
    """Demand is not on the rise: no replicas were added within the lead, and none are now."""
    command, now = variant.memory.command, draft.facts.now
    rose = command is not None and command.desired > command.before and now - command.at < lead_seconds(draft.facts)
    return not rose and granted <= variant.steady and draft.assessment.grade is Grade.NORMAL


def _grown(step: RollStep, granted: int) -> RollStep:
    """Demand that rises during a roll takes the extra replica; the next restart waits for another one."""
    if step.roll is None or granted <= step.roll.base or step.floor is None:
        return step
    return replace(step, roll=replace(step.roll, base=granted, surge=False), floor=granted)


def _granted(draft: Draft, variant: VariantFacts, wish: Wish, grant: Grant) -> tuple[int, Reason]:
    """Replicas after allocation. Services that do not act have asked the pools for nothing."""
    given = grant.replicas.get(wish.variant)
    if given is not None and wish.variant in grant.reclaimed:
        words = grant.reclaimed[wish.variant]
        change = wish.replicas, given
        draft.trace.add("reclaim", change, Reason.RECLAIMED_FOR_PRIORITY, variant=wish.variant, words=words)
        return given, Reason.RECLAIMED_FOR_PRIORITY
    if given is None or (given <= variant.steady and wish.replicas <= variant.steady):
        return wish.replicas, wish.reason
    if wish.variant in grant.refused:
        refused = grant.refused[wish.variant]
        change = wish.replicas, given
        coming = grant.freed.get(wish.variant)
        draft.trace.add("allocate", change, refused.reason, variant=wish.variant, words=refused.words, coming=coming)
        return given, refused.reason
    if given > wish.replicas:
        change = wish.replicas, given
        draft.trace.add("allocate", change, Reason.DEMAND_ROSE, variant=wish.variant, words="in place of another")
        return given, Reason.DEMAND_ROSE
    return given, wish.reason


def _need(draft: Draft, wish: Wish) -> float | None:
    """Requests per second that this variant shall carry: by its share of the wished capacity."""
    rate = draft.sizing.rate
    carried = {w.variant: w.replicas * w.capacity.rate for w in draft.sizing.wishes if w.capacity is not None}
    total = sum(carried.values())
    if rate is None or total <= 0:
        return None
    return rate * carried.get(wish.variant, 0.0) / total


def _room(facts: ServiceFacts, variant: VariantFacts, pools: Mapping[str, PoolState]) -> bool:
    pool = pools.get(variant.spec.pool)
    if pool is None or variant.current + 1 > variant.spec.max_replicas:
        return False
    rule = pool.rule_of(facts.view.namespace_labels)
    workload = variant.workload
    return rule is not None and not pool.refusal(workload.gpus_per_replica, rule, workload.placement)


def _reserve(facts: ServiceFacts, variant: VariantFacts, pools: Mapping[str, PoolState]) -> None:
    pool = pools[variant.spec.pool]
    rule = pool.rule_of(facts.view.namespace_labels)
    pool.take(variant.workload.gpus_per_replica, -1 if rule is None else rule, variant.workload.placement)


def _decision(draft: Draft, finals: list[_Final], limits: list[tuple[Reason, str]], *, acts: bool) -> Decision:
    facts = draft.facts
    figures = cost_figures(facts, draft.sizing.wishes)
    if facts.cost.fault:
        draft.trace.add("account", ("", "failed"), Reason.ACCOUNTING_FAILED, error=facts.cost.fault)
    short = shortfalls(facts)
    overdue = [one for one in short if one.overdue]
    for one in overdue:
        draft.trace.add("running", (one.asked, one.running), one.reason, variant=one.variant, words=one.words)
    known = judge_known(facts)
    if known is not None:
        draft.trace.add("catalog", ("", "unknown"), known.reason, words=known.message)
    variants = tuple(_variant_decision(draft, final, overdue) for final in finals)
    variants += tuple(
        VariantDecision(name, gone.replicas, gone.replicas, 0, gone.reason, cap_message=gone.why)
        for name, gone in facts.missing
    )
    order = {variant.spec.name: index for index, variant in enumerate(facts.view.variants)}
    variants = tuple(sorted(variants, key=lambda variant: order[variant.variant]))
    judgements = {
        "TargetFound": judge_target(facts),
        "MetricsAvailable": draft.assessment.judgement,
        "AbleToScale": _able(finals, draft, judge_running(facts, short)),
        "ScalingLimited": _limit(limits),
        "WithinCostTarget": _within_cost(draft, figures),
        "WithinLatencyTarget": judge_latency(facts, draft.sizing.wishes),
        "Paused": _paused(facts),
        "Conflicted": _conflicted(draft),
    }
    if known is not None:
        judgements["Accepted"] = known
    reason = _headline(draft, finals, [*limits, *((one.reason, one.words) for one in overdue)])
    message = sentence(variants, draft.sizing.demand, [words for _, words in limits] + [str(one) for one in overdue])
    if draft.conflict[0]:
        message = f"{draft.conflict[0]}; {message}"
    return Decision(
        service=facts.spec.key,
        reason=reason,
        message=message,
        variants=variants,
        judgements=judgements,
        cost=figures,
        latency=latency_figures(facts),
        demand=draft.sizing.demand,
        limited_by=limits[0][0] if limits else None,
        acts=acts,
        trace=tuple(draft.trace.steps),
    )


def _within_cost(draft: Draft, figures: CostFigures) -> Judgement:
    """The cost condition. GPUs cost money while nobody tells what they finish: no index is made of that."""
    facts, assessment = draft.facts, draft.assessment
    priced = facts.cost.priced
    if facts.spec.cost is not None and facts.cost.fault:
        words = "the account failed on a figure that it cannot work with. The decision trace has the details"
        return Judgement(Verdict.UNKNOWN, Reason.ACCOUNTING_FAILED, words)
    if facts.spec.cost is not None and priced and not assessment.allows(Purpose.COST):
        lacking = (
            "; ".join(str(lack) for lack in assessment.lacks.get(Purpose.COST, ())) or assessment.judgement.message
        )
        return Judgement(Verdict.UNKNOWN, assessment.judgement.reason, f"finished tokens are not all told: {lacking}")
    return judge_cost(facts.spec.cost, figures, priced, facts.settings.min_index_requests)


def _variant_decision(draft: Draft, final: _Final, overdue: Sequence[Shortfall]) -> VariantDecision:
    variant, load = final.variant, draft.facts.load
    capacity = final.wish.capacity
    learnt = variant.memory.calibration
    gains = learnt.gains
    # A count that is left as it is would be called right; it is not while its replicas do not run.
    held = final.desired == variant.current
    reasons = [one.reason for one in overdue if one.variant == variant.name and held]
    return VariantDecision(
        variant=variant.name,
        current=variant.current,
        desired=final.desired,
        ready=variant.ready,
        reason=reasons[0] if reasons else final.reason,
        cap=variant.workload.max_sequences,
        desired_cap=final.cap.desired,
        cap_reason=final.step.reason,
        cap_message=final.step.message,
        pods_on_new_cap=final.step.on_new,
        operating_batch=variant.batch,
        gpus_per_replica=max(variant.workload.gpus_per_replica, 0),
        capacity_per_replica=None if capacity is None or load is None else capacity.rate * load.output_tokens,
        gpu_utilization=variant.mean(Signal.GPU_UTILIZATION),
        kv_usage=variant.mean(Signal.KV_USAGE),
        calibration=CalibrationFigures(gains.decode, gains.prefill, gains.ttft_offset, learnt.samples),
        token_work=_token_work(variant, load),
    )


def _token_work(variant: VariantFacts, load: Load | None) -> TokenWork | None:
    if variant.engine is None or variant.batch is None or load is None:
        return None
    return token_work(variant.engine, load, variant.batch)


def _headline(draft: Draft, finals: list[_Final], limits: list[tuple[Reason, str]]) -> Reason:
    reasons = {final.reason for final in finals} | {reason for reason, _ in limits}
    reasons |= {gone.reason for _, gone in draft.facts.missing}
    for reason in _SEVERITY:
        if reason in reasons:
            return reason
    return finals[0].reason if finals else Reason.AT_DESIRED


def _able(finals: list[_Final], draft: Draft, running: Judgement | None) -> Judgement:
    if not finals:
        reason = draft.facts.missing[0][1].reason if draft.facts.missing else Reason.TARGET_NOT_FOUND
        return Judgement(Verdict.FALSE, reason, "no variant has a usable scale target")
    if running is not None and running.verdict is not Verdict.TRUE:
        return running
    for final in finals:
        if final.reason in _BLOCKING:
            words = f"variant {final.variant.name} stays at {final.variant.current} replicas"
            return Judgement(Verdict.FALSE, final.reason, words)
    changed = [final for final in finals if final.desired != final.variant.current]
    if changed:
        final = changed[0]
        words = f"variant {final.variant.name}: {final.variant.current} -> {final.desired} replicas"
        return Judgement(Verdict.TRUE, Reason.READY_FOR_SCALE, words)
    if running is not None:
        return running
    held = [final for final in finals if final.reason is Reason.STABILIZED]
    words = f"{sum(final.desired for final in finals)} replicas as desired"
    if held:
        words = f"{held[0].variant.name} held within the stabilization window of {draft.behavior.scale_down.window} s"
    return Judgement(Verdict.TRUE, Reason.STABILIZED if held else Reason.AT_DESIRED, words)


def _limit(limits: list[tuple[Reason, str]]) -> Judgement:
    if not limits:
        return Judgement(Verdict.FALSE, Reason.UNLIMITED, "the desired replicas are within all limits")
    return Judgement(Verdict.TRUE, limits[0][0], "; ".join(words for _, words in limits))


def _with_remarks(decision: Decision, words: Sequence[str]) -> Decision:
    """The decision with what else is to be known of its limits."""
    if not words:
        return decision
    limit = decision.judgements["ScalingLimited"]
    limit = replace(limit, message="; ".join([limit.message, *words]))
    return replace(decision, judgements={**decision.judgements, "ScalingLimited": limit})


def _paused(facts: ServiceFacts) -> Judgement:
    if facts.spec.paused:
        return Judgement(Verdict.TRUE, Reason.PAUSED, "paused by annotation: decisions are shown, not carried out")
    return Judgement(Verdict.FALSE, Reason.NOT_PAUSED, "not paused")


def _conflicted(draft: Draft) -> Judgement:
    words, reason = draft.conflict
    if reason is None:
        return Judgement(Verdict.FALSE, Reason.NOT_CONFLICTED, "nobody else sets the replicas")
    return Judgement(Verdict.TRUE, reason, f"{words}; pertoken keeps its hands off")


def _why(final: _Final, steps: Sequence[Step]) -> str:
    """A scale action in words: from, to, reason, and the numbers of its sizing."""
    words = f"{final.variant.current} -> {final.desired} replicas: {final.reason.value}"
    name = final.variant.name
    if final.reason is Reason.RECLAIMED_FOR_PRIORITY:
        told = (step.detail["words"] for step in steps if step.stage == "reclaim" and step.detail["variant"] == name)
        return f"{words} ({', '.join(told)})"
    sized = [step.detail for step in steps if step.stage in _SIZED and step.detail.get("variant") == name]
    numbers = [
        f"{label} {value}{unit}" for detail in sized for key, label, unit in _NUMBERS if (value := detail.get(key))
    ]
    return f"{words} ({', '.join(numbers)})" if numbers else words


def _actions(
    facts: ServiceFacts, finals: list[_Final], steps: Sequence[Step]
) -> tuple[tuple[Action, ...], tuple[Action, ...], tuple[Action, ...]]:
    downs: list[Action] = []
    ups: list[Action] = []
    batch: list[Action] = []
    for final in finals:
        variant = final.variant
        if final.step.action is not None:
            batch.append(final.step.action)
        if final.desired != variant.current:
            into = downs if final.desired < variant.current else ups
            if into is downs and isinstance(final.step.action, EvictPod):
                into = batch  # the evicted pod is the one to go
            into.append(
                SetReplicas(
                    facts.spec.key,
                    variant.name,
                    variant.workload.ref,
                    variant.current,
                    final.desired,
                    final.reason,
                    variant.workload.resource_version,
                    _why(final, steps),
                )
            )
    return tuple(downs), tuple(ups), tuple(batch)


def _remember(draft: Draft, finals: list[_Final], raw: Mapping[str, int], *, acts: bool) -> ServiceMemory:
    facts = draft.facts
    memory = facts.memory
    variants = {
        final.variant.name: _remember_variant(draft, final, raw[final.variant.name], acts=acts) for final in finals
    }
    # What is known of a variant whose target is gone for a moment is kept.
    kept = {name: memory.variants[name] for name, _ in facts.missing if name in memory.variants}
    memory = replace(memory, variants={**kept, **variants}, pressure=_pressure(draft))
    words, reason = draft.conflict
    if reason is Reason.CONFLICTING_MANAGER and facts.now >= memory.conflicted_until:
        until = facts.now + HANDS_OFF_SECONDS
        memory = replace(memory, conflicted_until=until, conflict=words)
    return memory


def _pressure(draft: Draft) -> tuple[Pressure, ...]:
    facts, found = draft.facts, draft.sizing.utilization
    kept = tuple(one for one in facts.memory.pressure if facts.now - one.at <= PRESSURE_SECONDS)
    if found is None or (kept and facts.now - kept[-1].at < facts.settings.cycle_seconds / 2):
        return kept
    return (*kept, Pressure(facts.now, float(f"{found:.4g}")))


def _remember_variant(draft: Draft, final: _Final, raw: int, *, acts: bool) -> VariantMemory:
    variant, facts, behavior = final.variant, draft.facts, draft.behavior
    memory = variant.memory
    if draft.assessment.grade is not Grade.HOLD:
        memory = replace(memory, recommendations=remember(memory.recommendations, raw, behavior, facts.now))
        memory = replace(memory, delivered=draft.sizing.delivered.get(variant.name, memory.delivered))
    delta = final.desired - variant.current if acts else 0
    memory = replace(memory, changes=remember_change(memory.changes, delta, behavior, facts.now))
    if delta:
        memory = command(variant, memory, final.desired, facts.now)
    if delta > 0 and final.reason is Reason.LATENCY_AT_RISK:
        memory = replace(memory, fed_back_at=facts.now)
    if len(memory.reverts) >= REVERTS and facts.now >= facts.memory.conflicted_until:
        memory = replace(memory, reverts=())
    if not acts:
        return memory
    memory = replace(memory, roll=final.step.roll)
    if final.step.blocked is not None:
        until = facts.now + BLOCK_INTERVALS * facts.settings.cap_interval_seconds
        memory = replace(memory, blocked_cap=final.step.blocked, blocked_until=until)
    return memory
