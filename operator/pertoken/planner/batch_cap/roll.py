"""A change of the batch cap, rolled over the pods one at a time.

The progress is in the pods: a container that started after `BatchCap.changed_at` runs with the new value. Memory adds
only whether an extra replica belongs to the roll and which pod was evicted last, so a restart of the operator in the
middle loses at most the extra replica's purpose.
"""

from __future__ import annotations

from pertoken.domain.cluster import BatchCap, PodFact
from pertoken.domain.plan import CompleteBatchCap, EvictPod, SetBatchCap
from pertoken.domain.reasons import Reason
from pertoken.frozen import replace
from pertoken.planner.batch_cap.canary import failure, season, stuck
from pertoken.planner.batch_cap.roll_state import Allowed, Rolling
from pertoken.planner.memory import Roll
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.settlement import CapDecision, RollStep


def roll_cap(service: ServiceState, variant: VariantState, wanted: CapDecision, allowed: Allowed) -> RollStep:
    """Start, continue, finish or take back a change.

    Args:
        service: of the service.
        variant: of it, with a cap.
        wanted: from the batching stage.
        allowed: in this cycle.
    """
    cap = variant.workload.cap
    if cap is None or cap.foreign:
        return RollStep(None, wanted.reason, wanted.message)
    roll = variant.memory.roll
    if variant.cap_refuted is not None:
        return _abandoned(service, variant, wanted, allowed)
    if cap.completed:
        if (
            roll is not None
            and service.now - roll.started_at < service.tuning.cap.seen_seconds
            and roll.started_at > cap.changed_at
        ):
            # Just decided, not yet seen.
            return RollStep(roll, Reason.BATCH_CHANGE_STARTED, "the new cap is being written", floor=roll.base)
        if not wanted.change:
            return RollStep(None, wanted.reason, wanted.message, on_new=variant.ready)
        return _start(service, variant, cap, wanted, allowed)
    if roll is None:
        roll = Roll(cap.changed_at, variant.current, surge=False)
    rolling = Rolling(service, variant, cap, roll, allowed)
    # Pods that restart for a cap take the chunk along.
    urgent = rolling.patient and wanted.change and wanted.desired != cap.value
    return _start(service, variant, cap, wanted, allowed) if urgent else _continue(rolling)


def _abandoned(service: ServiceState, variant: VariantState, wanted: CapDecision, allowed: Allowed) -> RollStep:
    """The engines do not run with the cap: a change that is under way ends where it is."""
    cap = variant.workload.cap
    if cap is None or cap.completed or not allowed.judge:
        return RollStep(None, wanted.reason, wanted.message)
    action = CompleteBatchCap(
        service.spec.key, variant.name, variant.workload.ref, cap.value, wanted.reason, wanted.message
    )
    return RollStep(None, wanted.reason, wanted.message, action=action)


def _start(
    service: ServiceState, variant: VariantState, cap: BatchCap, wanted: CapDecision, allowed: Allowed
) -> RollStep:
    replicas = variant.current
    value = wanted.desired or cap.value
    if not allowed.start:
        return RollStep(None, wanted.reason, f"{wanted.message} (waits: another change is under way)")
    if not variant.workload.settled:
        return RollStep(None, Reason.ROLLOUT_IN_PROGRESS, "the workload is in mid-rollout: the cap waits")
    if variant.ready < replicas or len(variant.living) > replicas:
        words = f"{variant.ready} of {replicas} replicas are Ready: the cap waits"
        return RollStep(None, Reason.WAITING_FOR_PODS, words)
    if replicas == 1 and not allowed.room and value != cap.value:
        words = (
            f"cap {value} instead of {cap.value} would interrupt the only replica: "
            "no room for a second one (free GPUs, maxReplicas)"
        )
        return RollStep(None, Reason.BATCH_CHANGE_WOULD_INTERRUPT, words)
    spec = service.spec.key
    # A step has room for a token of every sequence that may run: an engine refuses to start with less.
    least = max(value, variant.workload.engine.allocated or 0)
    chunk = None if cap.chunk is None else max(wanted.chunk or cap.chunk, least)
    action = SetBatchCap(
        spec,
        variant.name,
        variant.workload.ref,
        cap.value,
        value,
        wanted.reason,
        wanted.message,
        previous_chunk=cap.chunk,
        chunk=chunk,
    )
    roll = Roll(service.now, replicas, surge=False)
    return RollStep(roll, Reason.BATCH_CHANGE_STARTED, wanted.message, floor=replicas, action=action)


def _continue(rolling: Rolling) -> RollStep:
    variant, cap, roll = rolling.variant, rolling.cap, rolling.roll
    if not cap.rolled_back and cap.previous is not None:
        trouble = _trouble(rolling)
        if trouble is not None:
            return trouble
    old = [pod for pod in variant.living if not rolling.is_new(pod)]
    new_ready = [pod for pod in variant.living if rolling.is_new(pod) and pod.ready]
    broken = [pod for pod in old if pod.crashed and not pod.ready and pod.uid != roll.evicted_uid]
    if broken:
        return _evict(rolling, broken[0], "it does not serve")
    if rolling.patient:
        return _exchange(rolling, old, new_ready)
    if not old and len(new_ready) >= variant.current >= rolling.floor:
        return _complete(rolling)
    if variant.current < rolling.floor:
        return rolling.wait(f"one extra replica first: {rolling.floor}")
    return _next(rolling, old, new_ready)


def _exchange(rolling: Rolling, old: list[PodFact], new_ready: list[PodFact]) -> RollStep:
    """Let pods with the old chunk go when one is to go anyway; nothing restarts for it."""
    variant, wanted = rolling.variant, rolling.allowed.wanted
    if not old and len(new_ready) >= variant.current:
        return _complete(rolling)
    words = f"{len(new_ready)} of {variant.current} replicas have chunk {rolling.cap.chunk}; the others as they go"
    fewer = wanted is not None and wanted < variant.current
    ready = sum(1 for pod in variant.living if pod.ready)
    if not fewer or _must_wait(rolling, ready, old, new_ready) or not new_ready:
        return rolling.let_be(words)
    evicted = _evict(rolling, old[0], f"one replica less is needed, {len(old) - 1} have the old chunk")
    return replace(rolling.let_be(evicted.message, action=evicted.action), roll=evicted.roll)


def _trouble(rolling: Rolling) -> RollStep | None:
    """Take the change back when the new cap is bad or its extra replica finds no place; None when all is well."""
    roll = rolling.roll
    if roll.bad_since is not None and rolling.service.now - roll.started_at < rolling.service.tuning.cap.seen_seconds:
        return rolling.wait("the cap is being taken back")
    failed = failure(rolling)
    if failed:
        return _roll_back(rolling, failed)
    homeless = stuck(rolling) if roll.surge else ""
    if homeless and roll.base > 1:
        dropped = replace(roll, surge=False)
        return rolling.wait(f"the extra replica finds no place ({homeless}): going on without it", roll=dropped)
    return _roll_back(rolling, f"the extra replica finds no place ({homeless})") if homeless else None


def _next(rolling: Rolling, old: list[PodFact], new_ready: list[PodFact]) -> RollStep:
    """Evict the next pod when all are Ready and the canary has served long enough."""
    roll = rolling.roll
    ready = sum(1 for pod in rolling.variant.living if pod.ready)
    wait = _must_wait(rolling, ready, old, new_ready)
    if wait:
        return rolling.wait(wait)
    wanted = rolling.allowed.wanted
    if wanted is not None and wanted < roll.base:
        # The eviction comes before the scale-down: the controller then removes the successor, not a pod with the new
        # cap.
        smaller = replace(rolling, roll=replace(roll, base=roll.base - 1))
        return _evict(smaller, old[0], f"no longer needed: {roll.base - 1} replicas, {len(old) - 1} old ones left")
    patience = None if rolling.cap.rolled_back else _patience(rolling, ready, len(old))
    return patience or _evict(rolling, old[0], f"its successor starts with {setting_of(rolling.cap)}, {len(old)} to go")


def _must_wait(rolling: Rolling, ready: int, old: list[PodFact], new_ready: list[PodFact]) -> str:
    """What has to happen before another pod may go; empty when nothing has."""
    variant, roll, now = rolling.variant, rolling.roll, rolling.service.now
    if ready < variant.current or not old:
        return f"{ready} of {variant.current} replicas are Ready, {len(old)} to go"
    if (
        any(pod.uid == roll.evicted_uid for pod in old)
        and now - roll.evicted_at < rolling.service.tuning.cap.seen_seconds
    ):
        return "the eviction has not shown yet"
    return "" if rolling.cap.rolled_back else _canary_wait(rolling, new_ready)


def _canary_wait(rolling: Rolling, new_ready: list[PodFact]) -> str:
    if not rolling.allowed.judge:
        return "waits for metrics"
    if not new_ready:
        return "waits for the extra replica" if rolling.roll.surge else ""
    served = rolling.service.now - min(pod.ready_at or rolling.service.now for pod in new_ready)
    if served < max(rolling.service.settings.canary_seconds, season(rolling)):
        return f"the first pod with {setting_of(rolling.cap)} has served {served:.0f} s as a canary"
    return ""


def _patience(rolling: Rolling, ready: int, to_go: int) -> RollStep | None:
    """Wait for a good moment: a calm one for a lowered cap, a spare replica or an extra one; None to go ahead.

    A cap that is raised because requests wait does not wait: the change itself shortens the queue.
    """
    roll, cap, allowed = rolling.roll, rolling.cap, rolling.allowed
    lowered = cap.previous is None or cap.value <= cap.previous
    if lowered and not allowed.calm:
        return rolling.wait(f"demand is rising: the roll waits, {to_go} to go")
    if roll.surge or not allowed.room or allowed.spare(ready):
        return None
    waited = rolling.service.now - max(roll.started_at, roll.evicted_at)
    if lowered and waited < rolling.service.tuning.cap.spare_canaries * rolling.service.settings.canary_seconds:
        return rolling.wait(f"waits for a replica to be spare, {to_go} to go")
    return rolling.wait("one extra replica first", roll=replace(roll, surge=True))


def _evict(rolling: Rolling, pod: PodFact, why: str) -> RollStep:
    message = f"{pod.key.name} evicted: {why}"
    action = EvictPod(
        rolling.service.spec.key, rolling.variant.name, pod.key, pod.uid, Reason.BATCH_CHANGE_ROLLING, message
    )
    roll = replace(rolling.roll, evicted_uid=pod.uid, evicted_at=rolling.service.now)
    return replace(rolling.wait(message, roll=roll), action=action)


def _complete(rolling: Rolling) -> RollStep:
    cap, variant = rolling.cap, rolling.variant
    reason = Reason.BATCH_CHANGE_ROLLED_BACK if cap.rolled_back else Reason.BATCH_CHANGE_COMPLETED
    message = f"all {len(variant.living)} pods run with {setting_of(cap)}"
    action = CompleteBatchCap(rolling.service.spec.key, variant.name, variant.workload.ref, cap.value, reason, message)
    # The floor stays until the completion is seen, without the extra replica.
    return RollStep(None, reason, message, action=action, on_new=len(variant.living))


def _roll_back(rolling: Rolling, why: str) -> RollStep:
    cap, variant = rolling.cap, rolling.variant
    previous = cap.previous or cap.value
    message = f"{setting_of(cap)} taken back to {previous}{_with_chunk(cap.previous_chunk)}: {why}"
    action = SetBatchCap(
        rolling.service.spec.key,
        variant.name,
        variant.workload.ref,
        cap.value,
        previous,
        Reason.BATCH_CHANGE_ROLLED_BACK,
        message,
        rolled_back=True,
        previous_chunk=cap.chunk,
        chunk=cap.chunk if cap.previous_chunk is None else cap.previous_chunk,
    )
    roll = replace(rolling.roll, bad_since=cap.changed_at, started_at=rolling.service.now, evicted_uid="")
    return RollStep(
        roll,
        Reason.BATCH_CHANGE_ROLLED_BACK,
        message,
        floor=rolling.floor,
        action=action,
        blocked=cap.value,
        blocked_chunk=cap.chunk,
    )


def setting_of(cap: BatchCap) -> str:
    """A cap with its chunk in words."""
    return f"cap {cap.value}{_with_chunk(cap.chunk)}"


def _with_chunk(chunk: int | None) -> str:
    return "" if chunk is None else f" and chunk {chunk}"
