"""Replicas that a workload is asked for and that do not run, each with the reason that Kubernetes gives."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.cluster import PodFact
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass
from pertoken.planner.service_state import ServiceState, VariantState

# When several reasons compete, the first of these is told.
_SEVERITY = (
    Reason.REPLICA_FAILURE,
    Reason.PODS_CRASHING,
    Reason.PODS_PENDING,
    Reason.PODS_NOT_READY,
    Reason.WAITING_FOR_PODS,
)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Replicas of one variant that are asked for and do not serve.

    Attributes:
        asked, running: replicas.
        words: why, without the counts.
        overdue: more than a normal start-up.
    """

    variant: str
    asked: int
    running: int
    reason: Reason
    words: str
    overdue: bool = True

    def __str__(self) -> str:
        return f"{self.running} of {self.asked} replicas of {self.variant} run: {self.words}"


def shortfalls(state: ServiceState) -> tuple[Shortfall, ...]:
    """Variants with fewer serving replicas than they are asked for, the worst first."""
    lacking = [short for variant in state.variants if (short := _shortfall(state, variant)) is not None]
    return tuple(sorted(lacking, key=lambda short: _SEVERITY.index(short.reason)))


def running_condition(state: ServiceState, lacking: Sequence[Shortfall]) -> Condition | None:
    """What `AbleToScale` says of replicas that do not run; None where nothing is wrong with them.

    Replicas that are just starting are no fault, but a service of which nothing serves yet is not known to work.
    """
    if not lacking:
        return None
    words = "; ".join(str(short) for short in lacking)
    if lacking[0].overdue:
        return Condition(Verdict.FALSE, lacking[0].reason, words)
    serves = any(variant.ready for variant in state.variants)
    return Condition(Verdict.TRUE if serves else Verdict.UNKNOWN, Reason.WAITING_FOR_PODS, words)


def _shortfall(state: ServiceState, variant: VariantState) -> Shortfall | None:
    missing = variant.current - variant.ready
    if missing <= 0:
        return None
    overdue = _overdue(state, variant)
    reason, words = overdue or (Reason.WAITING_FOR_PODS, _starting(variant, missing))
    return Shortfall(variant.name, variant.current, variant.ready, reason, words, overdue is not None)


def _overdue(state: ServiceState, variant: VariantState) -> tuple[Reason, str] | None:
    """What is wrong with replicas that do not serve; None where a normal start-up explains it."""
    if variant.refusal:
        return Reason.REPLICA_FAILURE, variant.refusal
    late = [pod for pod in variant.living if not pod.ready]
    crashed = [pod for pod in late if pod.crashed]
    if crashed:
        return Reason.PODS_CRASHING, _of(crashed[0], "crashes")
    patience = 0.0 if variant.pool is None else variant.pool.provisioning_seconds
    pending = [pod for pod in late if pod.bound_at is None and state.now - _pending_since(pod) > patience]
    if pending:
        return Reason.PODS_PENDING, _of(pending[0], f"has no node for {state.now - _pending_since(pending[0]):.0f} s")
    slow = [pod for pod in late if pod.bound_at is not None and state.now - pod.bound_at > _patience(state, variant)]
    if slow:
        age = state.now - (slow[0].bound_at or 0.0)
        return Reason.PODS_NOT_READY, _of(slow[0], f"is not ready {age:.0f} s after it got its node")
    return None


def _starting(variant: VariantState, missing: int) -> str:
    pending = [pod for pod in variant.living if not pod.ready and pod.bound_at is None]
    if pending:
        return _of(pending[0], "has no node yet")
    return f"{missing} {'is' if missing == 1 else 'are'} starting"


def _pending_since(pod: PodFact) -> float:
    return pod.created_at if pod.unschedulable_since is None else pod.unschedulable_since


def _patience(state: ServiceState, variant: VariantState) -> float:
    usual, tuning = variant.memory.start_seconds, state.tuning.running
    return tuning.progress_seconds if usual is None else max(tuning.start_factor * usual, tuning.least_patience)


def _of(pod: PodFact, what: str) -> str:
    return f"pod {pod.key.name} {what}" + (f": {pod.message}" if pod.message else "")
