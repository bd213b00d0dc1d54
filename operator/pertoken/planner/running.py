"""Do the replicas that a workload is asked for run? If not, why, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pertoken.domain.cluster import PodFact
from pertoken.domain.plan import Judgement, Verdict
from pertoken.domain.reasons import Reason
from pertoken.planner.facts import ServiceFacts, VariantFacts

START_FACTOR = 3.0  # times the learnt start-up: images and weights are not always on the node
LEAST_PATIENCE_SECONDS = 120.0
UNKNOWN_PATIENCE_SECONDS = 600.0  # Kubernetes' own default of progressDeadlineSeconds
ABSENT_SECONDS = 60.0  # controllers create pods within seconds
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
        reason: `WAITING_FOR_PODS` while the start-up that is normal for them explains it.
        words: why, without the counts.
    """

    variant: str
    asked: int
    running: int
    reason: Reason
    words: str

    @property
    def overdue(self) -> bool:
        """More than a normal start-up."""
        return self.reason is not Reason.WAITING_FOR_PODS

    def __str__(self) -> str:
        return f"{self.running} of {self.asked} replicas of {self.variant} run: {self.words}"


def noticed(variant: VariantFacts, now: float) -> VariantFacts:
    """The variant with what is known of replicas that nobody creates: in the words of its controller, or by its pods.

    A Deployment says so in a condition. Other kinds only have events; for them it counts that pods are missing for
    long while no other pod is starting or ending, for which a controller may wait.
    """
    failure = variant.workload.failure
    if failure and variant.living_replicas < variant.current:
        return replace(variant, refusal=failure)
    waits = len([pod for pod in variant.view.pods if not pod.ended and not pod.ready]) > 0
    missing = variant.current - variant.living_replicas
    if missing <= 0 or waits:
        return replace(variant, memory=replace(variant.memory, absent_since=None))
    since = now if variant.memory.absent_since is None else variant.memory.absent_since
    variant = replace(variant, memory=replace(variant.memory, absent_since=since))
    if now - since < ABSENT_SECONDS:
        return variant
    words = f"{missing} have no pod for {now - since:.0f} s; the events of {variant.workload.ref} may tell why"
    return replace(variant, refusal=words)


def shortfalls(facts: ServiceFacts) -> tuple[Shortfall, ...]:
    """Variants with fewer serving replicas than they are asked for, the worst first."""
    found = [short for variant in facts.variants if (short := _shortfall(facts, variant)) is not None]
    return tuple(sorted(found, key=lambda short: _SEVERITY.index(short.reason)))


def judge_running(facts: ServiceFacts, found: Sequence[Shortfall]) -> Judgement | None:
    """What `AbleToScale` says of replicas that do not run; None where nothing is wrong with them.

    Replicas that are just starting are no fault, but a service of which nothing serves yet is not known to work.
    """
    if not found:
        return None
    words = "; ".join(str(short) for short in found)
    if found[0].overdue:
        return Judgement(Verdict.FALSE, found[0].reason, words)
    serves = any(variant.ready for variant in facts.variants)
    return Judgement(Verdict.TRUE if serves else Verdict.UNKNOWN, Reason.WAITING_FOR_PODS, words)


def _shortfall(facts: ServiceFacts, variant: VariantFacts) -> Shortfall | None:
    missing = variant.current - variant.ready
    if missing <= 0:
        return None
    reason, words = _why(facts, variant, missing)
    return Shortfall(variant.name, variant.current, variant.ready, reason, words)


def _why(facts: ServiceFacts, variant: VariantFacts, missing: int) -> tuple[Reason, str]:
    if variant.refusal:
        return Reason.REPLICA_FAILURE, variant.refusal
    late = [pod for pod in variant.living if not pod.ready]
    crashed = [pod for pod in late if pod.crashed]
    if crashed:
        return Reason.PODS_CRASHING, _of(crashed[0], "crashes")
    pending = [pod for pod in late if pod.bound_at is None]
    patience = 0.0 if variant.pool is None else variant.pool.provisioning_seconds
    overdue = [pod for pod in pending if facts.now - _pending_since(pod) > patience]
    if overdue:
        return Reason.PODS_PENDING, _of(overdue[0], f"has no node for {facts.now - _pending_since(overdue[0]):.0f} s")
    starting = [pod for pod in late if pod.bound_at is not None]
    slow = [pod for pod in starting if facts.now - (pod.bound_at or 0.0) > _patience(variant)]
    if slow:
        age = facts.now - (slow[0].bound_at or 0.0)
        return Reason.PODS_NOT_READY, _of(slow[0], f"is not ready {age:.0f} s after it got its node")
    if pending:
        return Reason.WAITING_FOR_PODS, _of(pending[0], "has no node yet")
    return Reason.WAITING_FOR_PODS, f"{missing} {'is' if missing == 1 else 'are'} starting"


def _pending_since(pod: PodFact) -> float:
    return pod.created_at if pod.unschedulable_since is None else pod.unschedulable_since


def _patience(variant: VariantFacts) -> float:
    usual = variant.memory.start_seconds
    return UNKNOWN_PATIENCE_SECONDS if usual is None else max(START_FACTOR * usual, LEAST_PATIENCE_SECONDS)


def _of(pod: PodFact, what: str) -> str:
    return f"pod {pod.key.name} {what}" + (f": {pod.message}" if pod.message else "")
