"""Are the metrics good enough, and for what? Missing metrics never scale down and never change caps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Judgement, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.planner.facts import ServiceFacts
from pertoken.planner.memory import ServiceMemory
from pertoken.planner.needs import Lacks, Purpose, lacks_of, told, words

PANIC_CYCLES = 4
PANIC_BACKLOG_PER_REPLICA = 8.0


class Grade(IntEnum):
    """What the metrics allow."""

    HOLD = 0  # nothing moves
    UP_ONLY = 1  # replicas may rise
    NORMAL = 2
    PANIC = 3  # replicas may only rise, at once


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the metrics allow.

    Attributes:
        grade: for replicas and caps.
        judgement: the condition to show.
        fresh_since: since when metrics have been fresh.
        lacks: what serving pods do not tell, by what it is needed for.
    """

    grade: Grade
    judgement: Judgement
    fresh_since: float | None
    lacks: Lacks = field(default_factory=dict)

    def allows(self, purpose: Purpose) -> bool:
        """Whether every signal that it needs is there."""
        return self.grade is not Grade.HOLD and not self.lacks.get(purpose)

    @property
    def may_shrink(self) -> bool:
        """Whether replicas may fall."""
        return self.grade is Grade.NORMAL

    @property
    def may_change_cap(self) -> bool:
        """Whether a batch cap may change."""
        return self.grade in (Grade.NORMAL, Grade.PANIC)


def assess(facts: ServiceFacts) -> Assessment:
    """Judge one service's metrics.

    Pods without series are imputed as HPA does: they are taken to be fully busy when that would remove replicas (so
    none are removed) and idle when it would add some (so only what is seen adds). The same holds for every single
    signal that a decision needs. After a gap nothing goes down until a whole rate window has been seen.
    """
    snapshot = facts.snapshot
    if snapshot is None:
        words = f"there is no metrics profile {facts.spec.metrics_profile!r}"
        return _hold(Verdict.FALSE, Reason.METRICS_MISSING, words)
    if not snapshot.health.ok:
        reason = Reason.PROMETHEUS_PARTIAL if snapshot.health.partial else Reason.PROMETHEUS_UNREACHABLE
        return _hold(Verdict.FALSE, reason, snapshot.health.why or "Prometheus gave no answer")
    lacks = lacks_of(facts)
    return replace(_judge_pods(facts, snapshot, lacks), lacks=lacks)


def _judge_pods(facts: ServiceFacts, snapshot: MetricsSnapshot, lacks: Lacks) -> Assessment:
    lacking = words(lacks)
    measured = sum(len(variant.measured) for variant in facts.variants)
    silent = sum(variant.silent for variant in facts.variants)
    serving = sum(variant.ready for variant in facts.variants)
    if not measured:
        return _all_silent(facts, silent) if silent else _nothing_serves(facts, serving)
    if silent:
        found = f"{silent} of {measured + silent} serving pods have no fresh metrics; {lacking}"
        return Assessment(Grade.UP_ONLY, Judgement(Verdict.FALSE, Reason.METRICS_STALE, found), None)
    if lacks.get(Purpose.SCALE_DOWN):
        return Assessment(Grade.UP_ONLY, Judgement(Verdict.FALSE, Reason.SIGNALS_MISSING, lacking), None)
    since = facts.memory.fresh_since
    since = facts.now if since is None else since
    seen = facts.now - since
    if seen < snapshot.window_seconds:
        found = f"{seen:.0f} s of the {snapshot.window_seconds:.0f} s rate window seen since the start or the last gap"
        return Assessment(Grade.UP_ONLY, Judgement(Verdict.TRUE, Reason.METRICS_WARMING_UP, found), since)
    oldest = max(metrics.age_seconds for variant in facts.variants for metrics in variant.measured)
    found = f"{measured} pods, oldest sample {oldest:.0f} s"
    fresh = Judgement(Verdict.TRUE, Reason.NO_TRAFFIC if _quiet(facts) else Reason.METRICS_FRESH, found)
    if lacking:
        fresh = Judgement(Verdict.FALSE, Reason.SIGNALS_MISSING, lacking)
    if facts.backlog > PANIC_BACKLOG_PER_REPLICA * max(1, serving) or facts.now < facts.memory.panic_until:
        return Assessment(Grade.PANIC, fresh, since)
    return Assessment(Grade.NORMAL, fresh, since)


def _quiet(facts: ServiceFacts) -> bool:
    """All tell that nothing runs and nothing waits."""
    return facts.total(Signal.RUNNING) == 0 and facts.waiting == 0


def _hold(verdict: Verdict, reason: Reason, words: str) -> Assessment:
    return Assessment(Grade.HOLD, Judgement(verdict, reason, words), None)


def _all_silent(facts: ServiceFacts, silent: int) -> Assessment:
    snapshot = facts.snapshot
    ages = [
        found.age_seconds
        for variant in facts.variants
        for pod in variant.living
        if snapshot is not None and (found := snapshot.pods.get(pod.key)) is not None and found.values
    ]
    if ages:
        return _hold(Verdict.FALSE, Reason.METRICS_STALE, f"newest sample of {silent} pods is {min(ages):.0f} s old")
    words = f"Prometheus has no series of the {silent} serving pods"
    # A queue at the gateway is known even so, and may only add replicas.
    grade = Grade.UP_ONLY if facts.gateway_queue else Grade.HOLD
    return Assessment(grade, Judgement(Verdict.FALSE, Reason.METRICS_MISSING, words), None)


def _nothing_serves(facts: ServiceFacts, serving: int) -> Assessment:
    wanted = sum(variant.current for variant in facts.variants)
    since = facts.memory.fresh_since
    if wanted == 0:
        words = "no replicas; the gateway's queue is watched"
        since = facts.now if since is None else since
        return Assessment(Grade.NORMAL, Judgement(Verdict.TRUE, Reason.NO_TRAFFIC, words), since)
    words = f"{serving} of {wanted} replicas serve, none has been measured yet"
    return Assessment(Grade.UP_ONLY, Judgement(Verdict.UNKNOWN, Reason.METRICS_WARMING_UP, words), None)


def remember(
    memory: ServiceMemory, assessment: Assessment, queue: tuple[float, int], now: float, cycle: float
) -> ServiceMemory:
    """Keep freshness and panic for the next cycle; `queue` is the backlog and the pods that serve it."""
    backlog, serving = queue
    panicking = backlog > PANIC_BACKLOG_PER_REPLICA * max(1, serving) and assessment.grade is Grade.PANIC
    until = now + PANIC_CYCLES * cycle if panicking else memory.panic_until
    return replace(memory, fresh_since=assessment.fresh_since, panic_until=until)


def noted(facts: ServiceFacts, memory: ServiceMemory) -> ServiceMemory:
    """The memory with the signals that were seen for the first time."""
    return replace(memory, told=told(facts))
