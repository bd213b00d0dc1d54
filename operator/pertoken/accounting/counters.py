"""Finished tokens from the counters of pods, and which pods do not tell theirs.

Counters of pods only ever grow until an engine restarts; a smaller value than before is a restart, and all of it is
new. Pods that are gone are counted with their last totals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pertoken.accounting.billed import BilledService, BilledVariant
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.ledger import PodTotals, ServiceLedger
from pertoken.domain.cluster import PodFact
from pertoken.domain.metrics import PodMetrics, Readings
from pertoken.domain.needs import Lack, Need, tells
from pertoken.domain.service import EngineKind
from pertoken.domain.signal import Counter

FINISHED: Final = tuple(
    Need(name, counters=(counter,), of_events=True)
    for name, counter in (
        ("finished requests", Counter.FINISHED_REQUESTS),
        ("input tokens of finished requests", Counter.FINISHED_INPUT_TOKENS),
        ("output tokens of finished requests", Counter.FINISHED_OUTPUT_TOKENS),
    )
)


def finished_since(
    ledger: ServiceLedger, pods: Iterable[PodFact], metrics: Mapping[str, PodMetrics]
) -> tuple[Tokens, dict[str, PodTotals]]:
    """Tokens finished since the last entry, and the counters to remember.

    A pod that was created after the account was opened counts from zero; an older one that is seen for the first time
    only sets the starting point, since its past belongs to a bill that was not taken.

    Args:
        ledger: with the last counters.
        pods: the service's pods, gone ones included.
        metrics: of these pods, by pod uid.
    """
    tokens = Tokens()
    counters: dict[str, PodTotals] = {}
    for pod in pods:
        before = ledger.counters.get(pod.uid)
        series = metrics.get(pod.uid)
        now = None if series is None else _totals(series.counters, before)
        if now is None:
            if before is not None:
                counters[pod.uid] = before
            continue
        counters[pod.uid] = now
        if before is None:
            if ledger.closed_at is None or pod.created_at < ledger.closed_at:
                continue
            before = PodTotals()
        tokens += _delta(before, now)
    return tokens, counters


def _totals(counters: Readings[Counter, float], before: PodTotals | None) -> PodTotals | None:
    """One pod's totals; None where one of those that are billed is not told: then the next reading catches up."""
    billed = (Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS)
    if any(counter not in counters for counter in billed):
        return None
    cached = counters.get(Counter.CACHED_INPUT_TOKENS)
    if cached is None:
        # Not every engine counts cached tokens: all prompts are then billed as computed ones.
        cached = PodTotals().cached_tokens if before is None else before.cached_tokens
    requests, inputs, outputs = (counters[counter] for counter in billed)
    return PodTotals(requests, inputs, outputs, cached)


def _delta(before: PodTotals, now: PodTotals) -> Tokens:
    if now.requests < before.requests:
        before = PodTotals()
    tokens = max(0.0, now.input_tokens - before.input_tokens)
    return Tokens(
        requests=now.requests - before.requests,
        input=tokens,
        cached=min(max(0.0, now.cached_tokens - before.cached_tokens), tokens),
        output=max(0.0, now.output_tokens - before.output_tokens),
    )


def lacks(service: BilledService) -> tuple[Lack, ...]:
    """Which serving pods do not tell their finished tokens; an engine that no model describes need not.

    Pods that became Ready within the rate window are not expected to tell yet. Of a replica that spans several pods
    one has to tell.
    """
    lacking: dict[str, list[str]] = {}
    for variant in service.variants:
        replicas = 0 if variant.spec.engine is EngineKind.GENERIC else _settled_replicas(variant, service)
        if not replicas:
            continue
        expected = variant.settled(service.now, service.window)
        told = [metrics for key, metrics in variant.measured.items() if key in expected]
        for need in FINISHED:
            telling = {metrics.pod for metrics in told if tells(need, metrics, service.offer(metrics))}
            if len(telling) < replicas:
                lacking.setdefault(need.name, []).extend(sorted(key.name for key in expected if key not in telling))
    return tuple(Lack(name, tuple(dict.fromkeys(pods))) for name, pods in lacking.items())


def all_told(service: BilledService, lacking: tuple[Lack, ...] | None = None) -> bool:
    """Whether all finished tokens are known at present: per-token figures are not made of half-seen counters.

    Args:
        service: in this cycle.
        lacking: its `lacks`, where they are known already.
    """
    if service.snapshot is None or not service.snapshot.health.ok:
        return False
    measured = any(variant.measured for variant in service.variants)
    unreported = any(_settled_replicas(variant, service) for variant in service.variants)
    return (measured or not unreported) and not (lacks(service) if lacking is None else lacking)


def _settled_replicas(variant: BilledVariant, service: BilledService) -> int:
    return variant.settled_replicas(service.now, service.window)
