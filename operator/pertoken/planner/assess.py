"""Stage `assess`: are the metrics good enough, and for what? Missing metrics never scale down and never change caps.

Pods without series are imputed as HPA does: they are taken to be fully busy when that would remove replicas (so none
are removed) and idle when it would add some (so only what is seen adds). The same holds for every single signal that a
decision needs. After a gap nothing goes down until a whole rate window has been seen.
"""

from __future__ import annotations

from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.domain.trace import Told
from pertoken.frozen import replace
from pertoken.planner.assessment import Assessment, Grade
from pertoken.planner.needs import Lacks, Purpose, engine_lacks, lacks_of, words
from pertoken.planner.proposal import Proposal, step
from pertoken.planner.service_state import ServiceState
from pertoken.planner.waking import may_sleep, untold, watched


def assess(proposal: Proposal) -> Proposal:
    """The proposal with what its metrics allow."""
    assessment = assessment_of(proposal.state)
    condition = assessment.condition
    change = ("", assessment.grade.name.lower())
    noted = proposal.noting(step("assess", change, condition.reason, Told(condition.message)))
    return replace(noted, assessment=assessment)


def assessment_of(state: ServiceState) -> Assessment:
    """Judge one service's metrics."""
    snapshot = state.snapshot
    if snapshot is None:
        words = f"there is no metrics profile {state.spec.metrics_profile!r}"
        words += f"; the administrator set up {', '.join(state.profiles)}" if state.profiles else ""
        return _hold(Verdict.FALSE, Reason.METRICS_MISSING, words)
    if not snapshot.health.ok:
        reason = Reason.PROMETHEUS_PARTIAL if snapshot.health.partial else Reason.PROMETHEUS_UNREACHABLE
        return _hold(Verdict.FALSE, reason, snapshot.health.why or "Prometheus gave no answer")
    lacks = lacks_of(state)
    return replace(_of_pods(state, snapshot, lacks), lacks=lacks)


def _of_pods(state: ServiceState, snapshot: MetricsSnapshot, lacks: Lacks) -> Assessment:
    lacking = words(lacks)
    measured = sum(len(variant.measured) for variant in state.variants)
    unreported = sum(variant.unreported for variant in state.variants)
    if not measured:
        return _nothing_reported(state, unreported) if unreported else _nothing_serves(state)
    if unreported:
        message = f"{unreported} of {measured + unreported} serving pods have no fresh metrics; {lacking}"
        return Assessment(Grade.UP_ONLY, Condition(Verdict.FALSE, Reason.METRICS_STALE, message), None)
    if lacks.get(Purpose.SCALE_DOWN):
        return Assessment(Grade.UP_ONLY, Condition(Verdict.FALSE, Reason.SIGNALS_MISSING, lacking), None)
    since = state.now if state.memory.fresh_since is None else state.memory.fresh_since
    seen = state.now - since
    if seen < snapshot.window_seconds:
        window = f"the {snapshot.window_seconds:.0f} s rate window"
        message = f"{seen:.0f} s of {window} seen since the start or the last gap"
        return Assessment(Grade.UP_ONLY, Condition(Verdict.TRUE, Reason.METRICS_WARMING_UP, message), since)
    oldest = max(metrics.age_seconds for variant in state.variants for metrics in variant.measured)
    fresh = _fresh(state, f"{measured} pods, oldest sample {oldest:.0f} s")
    if lacking:
        fresh = Condition(Verdict.FALSE, Reason.SIGNALS_MISSING, lacking)
    if long_queue(state) or state.now < state.memory.panic_until:
        return Assessment(Grade.PANIC, fresh, since)
    return Assessment(Grade.NORMAL, fresh, since)


def _fresh(state: ServiceState, message: str) -> Condition:
    """All that is expected is told; what the engine's version never tells is said, and so is what should wake it."""
    asleep = untold(state)
    if asleep and may_sleep(state):
        return Condition(Verdict.FALSE, Reason.SIGNALS_MISSING, f"{message}; {asleep}: it is not put to sleep")
    if _quiet(state):
        return Condition(Verdict.TRUE, Reason.NO_TRAFFIC, message)
    off = engine_lacks(state)
    if not off:
        return Condition(Verdict.TRUE, Reason.METRICS_FRESH, message)
    return Condition(Verdict.TRUE, Reason.ENGINE_LACKS_SIGNALS, f"{message}; {'; '.join(map(str, off))}")


def long_queue(state: ServiceState) -> bool:
    """So many requests wait that replicas are called for at once."""
    return state.backlog > state.tuning.panic.backlog_per_replica * max(1, state.serving)


def _quiet(state: ServiceState) -> bool:
    """All tell that nothing runs and nothing waits."""
    return state.total(Signal.RUNNING) == 0 and state.waiting == 0


def _hold(verdict: Verdict, reason: Reason, message: str) -> Assessment:
    return Assessment(Grade.HOLD, Condition(verdict, reason, message), None)


def _nothing_reported(state: ServiceState, unreported: int) -> Assessment:
    snapshot = state.snapshot
    ages = [
        series.age_seconds
        for variant in state.variants
        for pod in variant.living
        if snapshot is not None and (series := snapshot.pods.get(pod.key)) is not None and series.values
    ]
    if ages:
        message = f"newest sample of {unreported} pods is {min(ages):.0f} s old"
        return _hold(Verdict.FALSE, Reason.METRICS_STALE, message)
    message = f"Prometheus has no series of the {unreported} serving pods"
    # A queue at the gateway is known even so, and may only add replicas.
    grade = Grade.UP_ONLY if state.gateway_queue else Grade.HOLD
    return Assessment(grade, Condition(Verdict.FALSE, Reason.METRICS_MISSING, message), None)


def _nothing_serves(state: ServiceState) -> Assessment:
    wanted = sum(variant.current for variant in state.variants)
    since = state.memory.fresh_since
    if wanted == 0:
        words, seen = watched(state)
        verdict, reason = (Verdict.TRUE, Reason.NO_TRAFFIC) if seen else (Verdict.FALSE, Reason.SIGNALS_MISSING)
        since = state.now if since is None else since
        return Assessment(Grade.NORMAL, Condition(verdict, reason, f"no replicas; {words}"), since)
    message = f"{state.serving} of {wanted} replicas serve, none has been measured yet"
    return Assessment(Grade.UP_ONLY, Condition(Verdict.UNKNOWN, Reason.METRICS_WARMING_UP, message), None)
