"""Whether engines run with the cap that their template gives them, by their own count of running requests.

A template tells how an engine is started, and a start script in between may do otherwise. More requests running than a
cap allows refute it for good, until the pods' template changes; exactly as many, with others waiting, confirm it.
`gather` calls this before anything is built on the cap.
"""

from __future__ import annotations

from collections.abc import Iterable

from pertoken.domain.cluster import PodFact
from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import Signal
from pertoken.planner.memory import CapProof
from pertoken.planner.service_state import VariantState
from pertoken.planner.tuning import Tuning

_TEMPLATE_LABELS = (
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "leaderworkerset.sigs.k8s.io/template-revision-hash",
    "controller-revision-hash",
)


def template_of(pod: PodFact) -> str:
    """The hash of the template that a pod was made from, as its controller writes it; empty where none does."""
    return next((pod.labels[label] for label in _TEMPLATE_LABELS if pod.labels.get(label)), "")


def cap_proof(variant: VariantState, proof: CapProof | None, now: float, tuning: Tuning) -> CapProof | None:
    """What is known of the variant's cap after this cycle's measurements.

    Args:
        variant: with the pods and metrics of this cycle.
        proof: what was known before.
        now: seconds since the epoch.
        tuning: how long a write takes to reach the pods that start after it.
    """
    newest = max(variant.living, key=lambda pod: (pod.created_at, pod.key), default=None)
    if newest is None:
        return proof
    template = template_of(newest)
    key = f"{variant.workload.uid}/{template}"
    if proof is not None and proof.key == key and proof.refuted:
        return proof
    known = proof if proof is not None and proof.key == key else None
    pods = {pod.key: pod for pod in variant.living if template_of(pod) == template}
    measured = [(pods[metrics.pod], metrics) for metrics in variant.measured if metrics.pod in pods]
    fresh = CapProof(key, at=now)
    return _refutation(variant, measured, fresh, tuning) or known or _confirmation(variant, measured, fresh)


def _refutation(
    variant: VariantState, measured: Iterable[tuple[PodFact, PodMetrics]], fresh: CapProof, tuning: Tuning
) -> CapProof | None:
    for pod, metrics in measured:
        running, most = metrics.values.get(Signal.RUNNING), _most(variant, pod, tuning)
        if running is not None and most is not None and round(running) > most:
            return CapProof(fresh.key, pod=pod.key.name, running=running, most=most, at=fresh.at)
    return None


def _confirmation(
    variant: VariantState, measured: Iterable[tuple[PodFact, PodMetrics]], fresh: CapProof
) -> CapProof | None:
    """An engine that is full by count, while requests wait."""
    cap = variant.workload.cap
    if cap is None:
        return None
    most = cap.value * _engines(variant)
    for _, metrics in measured:
        running, waiting = metrics.values.get(Signal.RUNNING), metrics.values.get(Signal.WAITING)
        if running is not None and waiting is not None and waiting > 0 and round(running) == most:
            return fresh
    return None


def _engines(variant: VariantState) -> int:
    """Data-parallel engines of one replica: each runs as many requests as its cap allows."""
    return max(variant.ranks, variant.workload.engine.ranks)


def _most(variant: VariantState, pod: PodFact, tuning: Tuning) -> int | None:
    """Requests that all engines of a pod can run at once if they heed pertoken's cap; None where they have none.

    A pod that started before the last change, or while it was on its way, may run with the value before it.
    """
    cap = variant.workload.cap
    if cap is None or cap.foreign:
        return None
    value, started = cap.value, pod.engine_started_at
    if cap.previous is not None and (started is None or started <= cap.changed_at + tuning.cap.seen_seconds):
        value = max(value, cap.previous)
    return value * _engines(variant)
