"""A change of the batch cap, rolled over the pods one at a time.

The state is in the facts: a container that started after `BatchCap.changed_at` runs with the new value. Memory adds
only whether an extra replica belongs to the roll and which pod was evicted last, so a restart of the operator in the
middle loses at most the extra replica's purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pertoken.domain.cluster import BatchCap, PodFact
from pertoken.domain.plan import Action, CompleteBatchCap, EvictPod, SetBatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import LatencyKind
from pertoken.model.histogram import merge, quantile
from pertoken.model.steady import at_batch
from pertoken.planner.batching import CapDecision
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.memory import Roll
from pertoken.planner.sizing import MIN_EVENTS

SEEN_SECONDS = 60.0  # within which a write of ours shows in what we watch
START_PATIENCE = 4.0  # times the usual start-up, then a pod that is not Ready counts as failed
MIN_PATIENCE_SECONDS = 600.0
SPARE_CANARIES = 5.0  # canary times that a roll waits for a spare replica before it takes an extra one
RUSH_LIFETIMES = 2.0  # mean lifetimes of a request until those that began in the rush are out
MAX_RUSH_SECONDS = 120.0
BLOCK_INTERVALS = 10.0  # cap intervals for which a value that failed is not tried again
CLEAR_BREACH = 1.1  # times the objective, where the histogram's edges do not decide


@dataclass(frozen=True, slots=True)
class RollStep:
    """What a cycle does about the cap of one variant.

    Attributes:
        roll: for the memory; None when no roll is under way.
        floor: replicas below which the workload must not fall, None without a roll.
        action: at most one.
        blocked: a value that failed, None if none did.
    """

    roll: Roll | None
    reason: Reason
    message: str
    floor: int | None = None
    action: Action | None = None
    blocked: int | None = None
    on_new: int = 0


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a roll may do in this cycle.

    Attributes:
        room: one extra replica is within bounds and has a place.
        start: a change may begin.
        judge: metrics are good enough to judge a canary, so that pods may be evicted.
        wanted: replicas to have; fewer than the roll began with are reached by not replacing old pods.
        needed: replicas without which the present demand would not be served; one more than that is the spare one
            that a restart takes.
        calm: demand is not on the rise: a restart now does not take capacity that is about to be needed.
    """

    room: bool = False
    start: bool = True
    judge: bool = True
    wanted: int | None = None
    needed: int | None = None
    calm: bool = True

    def spare(self, ready: int) -> bool:
        """One of the `ready` replicas may go for the time of a restart."""
        return self.needed is not None and ready > max(self.needed, 1)


@dataclass(frozen=True, slots=True)
class _Rolling:
    facts: ServiceFacts
    variant: VariantFacts
    cap: BatchCap
    roll: Roll
    allowed: Allowed = Allowed()

    @property
    def floor(self) -> int:
        return self.roll.base + (1 if self.roll.surge else 0)

    def is_new(self, pod: PodFact) -> bool:
        """Runs with the value that is to be rolled out, or will when it starts."""
        started = pod.engine_started_at
        if started is None or started > self.cap.changed_at:
            return True
        bad = self.roll.bad_since
        return bad is not None and started <= bad

    def wait(self, message: str, *, roll: Roll | None = None) -> RollStep:
        roll = roll or self.roll
        floor = roll.base + (1 if roll.surge else 0)
        new = sum(1 for pod in self.variant.living if self.is_new(pod) and pod.ready)
        return RollStep(roll, Reason.BATCH_CHANGE_ROLLING, message, floor=floor, on_new=new)


def roll_cap(facts: ServiceFacts, variant: VariantFacts, wanted: CapDecision, allowed: Allowed) -> RollStep:
    """Start, continue, finish or take back a change.

    Args:
        facts: of the service.
        variant: of it, with a cap.
        wanted: from the batching stage.
        allowed: in this cycle.
    """
    cap = variant.workload.cap
    if cap is None:
        return RollStep(None, wanted.reason, wanted.message)
    roll = variant.memory.roll
    if cap.completed:
        if roll is not None and facts.now - roll.started_at < SEEN_SECONDS and roll.started_at > cap.changed_at:
            # Just decided, not yet seen.
            return RollStep(roll, Reason.BATCH_CHANGE_STARTED, "the new cap is being written", floor=roll.base)
        if not wanted.change:
            return RollStep(None, wanted.reason, wanted.message, on_new=variant.ready)
        return _start(facts, variant, cap, wanted, allowed)
    if roll is None:
        roll = Roll(cap.changed_at, variant.current, surge=False)
    return _continue(_Rolling(facts, variant, cap, roll, allowed))


def _start(
    facts: ServiceFacts, variant: VariantFacts, cap: BatchCap, wanted: CapDecision, allowed: Allowed
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
    if replicas == 1 and not allowed.room:
        words = (
            f"cap {value} instead of {cap.value} would interrupt the only replica: "
            "no room for a second one (free GPUs, maxReplicas)"
        )
        return RollStep(None, Reason.BATCH_CHANGE_WOULD_INTERRUPT, words)
    spec = facts.spec.key
    action = SetBatchCap(spec, variant.name, variant.workload.ref, cap.value, value, wanted.reason, wanted.message)
    roll = Roll(facts.now, replicas, surge=False)
    return RollStep(roll, Reason.BATCH_CHANGE_STARTED, wanted.message, floor=replicas, action=action)


def _continue(state: _Rolling) -> RollStep:
    variant, cap, roll = state.variant, state.cap, state.roll
    if not cap.rolled_back and cap.previous is not None:
        trouble = _trouble(state)
        if trouble is not None:
            return trouble
    old = [pod for pod in variant.living if not state.is_new(pod)]
    new_ready = [pod for pod in variant.living if state.is_new(pod) and pod.ready]
    broken = [pod for pod in old if pod.crashed and not pod.ready and pod.uid != roll.evicted_uid]
    if broken:
        return _evict(state, broken[0], "it does not serve")
    if not old and len(new_ready) >= variant.current >= state.floor:
        return _complete(state)
    if variant.current < state.floor:
        return state.wait(f"one extra replica first: {state.floor}")
    return _next(state, old, new_ready)


def _trouble(state: _Rolling) -> RollStep | None:
    """Take the change back when the new cap is bad or its extra replica finds no place; None when all is well."""
    roll = state.roll
    if roll.bad_since is not None and state.facts.now - roll.started_at < SEEN_SECONDS:
        return state.wait("the cap is being taken back")
    failed = _failure(state)
    if failed:
        return _roll_back(state, failed)
    stuck = _stuck(state) if roll.surge else ""
    if stuck and roll.base > 1:
        dropped = replace(roll, surge=False)
        return state.wait(f"the extra replica finds no place ({stuck}): going on without it", roll=dropped)
    return _roll_back(state, f"the extra replica finds no place ({stuck})") if stuck else None


def _next(state: _Rolling, old: list[PodFact], new_ready: list[PodFact]) -> RollStep:
    """Evict the next pod when all are Ready and the canary has served long enough."""
    variant, roll, now = state.variant, state.roll, state.facts.now
    ready = sum(1 for pod in variant.living if pod.ready)
    if ready < variant.current or not old:
        return state.wait(f"{ready} of {variant.current} replicas are Ready, {len(old)} to go")
    if any(pod.uid == roll.evicted_uid for pod in old) and now - roll.evicted_at < SEEN_SECONDS:
        return state.wait("the eviction has not shown yet")
    if not state.allowed.judge and not state.cap.rolled_back:
        return state.wait("waits for metrics")
    if not state.cap.rolled_back and new_ready:
        served = now - min(pod.ready_at or now for pod in new_ready)
        if served < max(state.facts.settings.canary_seconds, _season(state)):
            return state.wait(f"the first pod with cap {state.cap.value} has served {served:.0f} s as a canary")
    if not new_ready and roll.surge and not state.cap.rolled_back:
        return state.wait("waits for the extra replica")
    wanted = state.allowed.wanted
    if wanted is not None and wanted < roll.base:
        # The eviction comes before the scale-down: the controller then removes the successor, not a pod with the new cap.
        smaller = replace(state, roll=replace(roll, base=roll.base - 1))
        return _evict(smaller, old[0], f"no longer needed: {roll.base - 1} replicas, {len(old) - 1} old ones left")
    if not state.cap.rolled_back:
        patience = _patience(state, ready, len(old))
        if patience is not None:
            return patience
    return _evict(state, old[0], f"its successor starts with cap {state.cap.value}, {len(old)} to go")


def _patience(state: _Rolling, ready: int, to_go: int) -> RollStep | None:
    """Wait for a good moment: a calm one for a lowered cap, a spare replica or an extra one; None to go ahead.

    A cap that is raised because requests wait is the cure for what makes the moment a bad one.
    """
    roll, cap, allowed = state.roll, state.cap, state.allowed
    lowered = cap.previous is None or cap.value < cap.previous
    if lowered and not allowed.calm:
        return state.wait(f"demand is rising: the roll waits, {to_go} to go")
    if roll.surge or not allowed.room or allowed.spare(ready):
        return None
    waited = state.facts.now - max(roll.started_at, roll.evicted_at)
    if lowered and waited < SPARE_CANARIES * state.facts.settings.canary_seconds:
        return state.wait(f"waits for a replica to be spare, {to_go} to go")
    return state.wait("one extra replica first", roll=replace(roll, surge=True))


def _evict(state: _Rolling, pod: PodFact, why: str) -> RollStep:
    message = f"{pod.key.name} evicted: {why}"
    action = EvictPod(state.facts.spec.key, state.variant.name, pod.key, pod.uid, Reason.BATCH_CHANGE_ROLLING, message)
    roll = replace(state.roll, evicted_uid=pod.uid, evicted_at=state.facts.now)
    return replace(state.wait(message, roll=roll), action=action)


def _complete(state: _Rolling) -> RollStep:
    cap, variant = state.cap, state.variant
    reason = Reason.BATCH_CHANGE_ROLLED_BACK if cap.rolled_back else Reason.BATCH_CHANGE_COMPLETED
    message = f"all {len(variant.living)} pods run with cap {cap.value}"
    action = CompleteBatchCap(state.facts.spec.key, variant.name, variant.workload.ref, cap.value, reason, message)
    # The floor stays until the completion is seen, without the extra replica.
    return RollStep(None, reason, message, action=action, on_new=len(variant.living))


def _roll_back(state: _Rolling, why: str) -> RollStep:
    cap, variant = state.cap, state.variant
    previous = cap.previous or cap.value
    message = f"cap {cap.value} taken back to {previous}: {why}"
    action = SetBatchCap(
        state.facts.spec.key,
        variant.name,
        variant.workload.ref,
        cap.value,
        previous,
        Reason.BATCH_CHANGE_ROLLED_BACK,
        message,
        rolled_back=True,
    )
    roll = replace(state.roll, bad_since=cap.changed_at, started_at=state.facts.now, evicted_uid="")
    return RollStep(roll, Reason.BATCH_CHANGE_ROLLED_BACK, message, floor=state.floor, action=action, blocked=cap.value)


def _stuck(state: _Rolling) -> str:
    """Words of a pod that the scheduler has refused for longer than a scheduling retry."""
    for pod in state.variant.living:
        since = pod.unschedulable_since
        if since is not None and state.facts.now - since > SEEN_SECONDS:
            return pod.message or f"{pod.key.name} is unschedulable"
    return ""


def _failure(state: _Rolling) -> str:
    """Why the new cap is bad; empty if nothing speaks against it."""
    facts, variant = state.facts, state.variant
    new = [pod for pod in variant.living if state.is_new(pod)]
    usual = variant.memory.start_seconds or facts.settings.start_seconds
    patience = max(MIN_PATIENCE_SECONDS, START_PATIENCE * usual)
    for pod in new:
        if pod.crashed and not pod.ready:
            return f"{pod.key.name} crashes: {pod.message or 'no message'}"
        if pod.bound_at is not None and not pod.ready and facts.now - pod.bound_at > patience:
            return f"{pod.key.name} is not Ready after {facts.now - pod.bound_at:.0f} s"
    return _breach(state, new)


def _breach(state: _Rolling, new: list[PodFact]) -> str:
    """The canary breaks the inter-token objective and the old pods keep both objectives.

    Only the first pod is judged: later ones join while the fleet is in motion, and their latencies tell of that.
    """
    if len(new) > 1:
        return ""
    objective, ttft = state.facts.targets.inter_token, state.facts.targets.ttft
    old = [pod for pod in state.variant.living if not state.is_new(pod)]
    if objective is None or not old or not new:
        return ""
    measure = LatencyKind.TIME_PER_OUTPUT_TOKEN
    theirs = _late(state, [pod for pod in new if _seasoned(state, pod)], measure, objective)
    ours = _late(state, old, measure, objective)
    first = None if ttft is None else _late(state, old, LatencyKind.TTFT, ttft)
    if ttft is not None and first is not None and first > ttft:
        return ""  # the old cap misses too: going back would not help
    if theirs is None or ours is None or theirs <= objective * CLEAR_BREACH or ours > objective:
        return ""
    return (
        f"{theirs * 1000:.0f} ms between tokens with it, {ours * 1000:.0f} ms without, objective {objective * 1000:.0f}"
    )


def _season(state: _Rolling) -> float:
    """Seconds of service after which a pod's latencies are its own, not its warm-up's.

    A fresh pod is the least loaded one and so gets the rush of prompts; requests that began in the rush have to be
    out, and a rate window must have passed since.
    """
    load, variant = state.facts.load, state.variant
    rush = 0.0
    if load is not None and variant.engine is not None and variant.batch:
        rush = RUSH_LIFETIMES * load.steps * at_batch(variant.engine, load, variant.batch).inter_token
    return state.facts.window + min(rush, MAX_RUSH_SECONDS)


def _seasoned(state: _Rolling, pod: PodFact) -> bool:
    return pod.ready_at is not None and state.facts.now - pod.ready_at >= _season(state)


def _late(state: _Rolling, pods: list[PodFact], kind: LatencyKind, objective: float) -> float | None:
    keys = {pod.key for pod in pods}
    found = [
        metrics.histograms[kind]
        for metrics in state.variant.measured
        if metrics.pod in keys and kind in metrics.histograms
    ]
    merged = merge(found) if found else None
    if merged is None or merged.cumulative[-1] * state.facts.window < MIN_EVENTS:
        return None
    bounds = quantile(merged, state.facts.targets.percentile / 100.0)
    if bounds is None:
        return None
    return bounds.low if bounds.low < objective < bounds.high else bounds.estimate
