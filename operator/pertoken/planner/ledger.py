"""A service's account over its cost window: GPU time, money and finished tokens, in buckets.

Counters of pods only ever grow until an engine restarts; a smaller value than before is a restart, and all of it is
new. Pods that are gone are counted with their last totals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from pertoken.accounting.bill import Bill
from pertoken.accounting.cost import Tokens
from pertoken.accounting.energy import Energy
from pertoken.domain.cluster import PodFact
from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import Counter

BUCKETS: Final = 120


@dataclass(frozen=True, slots=True)
class Lines:
    """Money of the bill that bought no work, USD x 3.6e9 in whole units (3e-10 USD); the rest is work.

    Attributes:
        idle: engines stood still.
        warming: pods were bound and not serving yet.
        unallocated: the service's part of what its pools charge and nobody holds.
    """

    idle: int = 0
    warming: int = 0
    unallocated: int = 0

    def __add__(self, other: Lines) -> Lines:
        """Both together."""
        return Lines(self.idle + other.idle, self.warming + other.warming, self.unallocated + other.unallocated)


@dataclass(frozen=True, slots=True)
class Charged:
    """Modelled GPU-seconds of the finished tokens, at the operating points at which they finished.

    Attributes:
        input, cached_input, output: Shapley values.
        output_low, output_high: output when it is said to come second, and first.
    """

    input: float = 0.0
    cached_input: float = 0.0
    output: float = 0.0
    output_low: float = 0.0
    output_high: float = 0.0

    def __add__(self, other: Charged) -> Charged:
        """Both together."""
        return Charged(
            self.input + other.input,
            self.cached_input + other.cached_input,
            self.output + other.output,
            self.output_low + other.output_low,
            self.output_high + other.output_high,
        )


NO_LINES: Final = Lines()
NOT_CHARGED: Final = Charged()
NO_ENERGY: Final = Energy()


@dataclass(frozen=True, slots=True)
class Bucket:
    """One slice of the window.

    Attributes:
        start: seconds since the epoch.
        judged_gpu_seconds, busy_gpu_seconds: GPU time whose use was measured, and the used part of it.
        lines, charged, energy: see there.
    """

    start: float
    gpu_microseconds: int = 0
    usd_microhours: Decimal = Decimal(0)
    priced: bool = True
    requests: float = 0.0
    input_tokens: float = 0.0
    cached_tokens: float = 0.0
    output_tokens: float = 0.0
    judged_gpu_seconds: float = 0.0
    busy_gpu_seconds: float = 0.0
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY


@dataclass(frozen=True, slots=True)
class Totals:
    """Last counters of one pod."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account. `counters` by pod uid; `opened_at` is the first instant that was accounted for."""

    buckets: tuple[Bucket, ...] = ()
    counters: Mapping[str, Totals] = field(default_factory=dict)
    opened_at: float | None = None
    closed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Sums over the window."""

    bill: Bill
    tokens: Tokens
    seconds: float
    judged_gpu_seconds: float
    busy_gpu_seconds: float
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY

    @property
    def idle_share(self) -> float | None:
        """Share of the billed GPU time that did no work; None where use is not measured."""
        if self.judged_gpu_seconds <= 0:
            return None
        return min(1.0, max(0.0, 1.0 - self.busy_gpu_seconds / self.judged_gpu_seconds))


@dataclass(frozen=True, slots=True)
class Entry:
    """What one cycle adds."""

    bill: Bill
    tokens: Tokens
    judged_gpu_seconds: float = 0.0
    busy_gpu_seconds: float = 0.0
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY


def post(ledger: Ledger, entry: Entry, now: float, window_seconds: float) -> Ledger:
    """Add an entry to the bucket of `now` and drop buckets that have left the window."""
    width = max(window_seconds / BUCKETS, 1.0)
    start = now - now % width
    buckets = ledger.buckets
    last = buckets[-1] if buckets and buckets[-1].start == start else None
    into = last or Bucket(start)
    into = replace(
        into,
        gpu_microseconds=into.gpu_microseconds + entry.bill.gpu_microseconds,
        usd_microhours=into.usd_microhours + entry.bill.usd_microhours,
        priced=into.priced and entry.bill.priced,
        requests=into.requests + entry.tokens.requests,
        input_tokens=into.input_tokens + entry.tokens.input,
        cached_tokens=into.cached_tokens + entry.tokens.cached,
        output_tokens=into.output_tokens + entry.tokens.output,
        judged_gpu_seconds=into.judged_gpu_seconds + entry.judged_gpu_seconds,
        busy_gpu_seconds=into.busy_gpu_seconds + entry.busy_gpu_seconds,
        lines=into.lines + entry.lines,
        charged=into.charged + entry.charged,
        energy=into.energy + entry.energy,
    )
    kept = buckets[:-1] if last else buckets
    if kept and kept[0].start <= now - window_seconds - width:
        kept = tuple(bucket for bucket in kept if bucket.start > now - window_seconds - width)
    opened = now if ledger.opened_at is None else ledger.opened_at
    return replace(ledger, buckets=(*kept, into), opened_at=opened, closed_at=now)


def account(ledger: Ledger, now: float, window_seconds: float) -> Account:
    """Sums over the window that ends now."""
    bill, tokens = Bill(), Tokens()
    judged = busy = 0.0
    lines, charged, energy = NO_LINES, NOT_CHARGED, NO_ENERGY
    for bucket in ledger.buckets:
        bill += Bill(bucket.gpu_microseconds, bucket.usd_microhours, bucket.priced)
        tokens += Tokens(bucket.requests, bucket.input_tokens, bucket.cached_tokens, bucket.output_tokens)
        judged += bucket.judged_gpu_seconds
        busy += bucket.busy_gpu_seconds
        lines += bucket.lines
        charged += bucket.charged
        energy += bucket.energy
    opened = now if ledger.opened_at is None else ledger.opened_at
    return Account(bill, tokens, min(now - opened, window_seconds), judged, busy, lines, charged, energy)


def finished_since(
    ledger: Ledger, pods: Iterable[PodFact], metrics: Mapping[str, PodMetrics]
) -> tuple[Tokens, dict[str, Totals]]:
    """Tokens finished since the last entry, and the counters to remember.

    A pod that was created after the account was opened counts from zero; an older one that is seen for the first time
    only sets the starting point, since its past belongs to a bill that was not taken.

    Args:
        ledger: with the last counters.
        pods: the service's pods, gone ones included.
        metrics: of these pods, by pod uid.
    """
    tokens = Tokens()
    counters: dict[str, Totals] = {}
    for pod in pods:
        before = ledger.counters.get(pod.uid)
        found = metrics.get(pod.uid)
        now = None if found is None else _totals(found.counters, before)
        if now is None:
            if before is not None:
                counters[pod.uid] = before
            continue
        counters[pod.uid] = now
        if before is None:
            if ledger.closed_at is None or pod.created_at < ledger.closed_at:
                continue
            before = Totals()
        tokens += _delta(before, now)
    return tokens, counters


def _totals(counters: Mapping[Counter, float], before: Totals | None) -> Totals | None:
    """One pod's totals; None where one of those that are billed is not told: then the next reading catches up."""
    billed = (Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS)
    if any(counter not in counters for counter in billed):
        return None
    cached = counters.get(Counter.CACHED_INPUT_TOKENS)
    if cached is None:
        # Not every engine counts cached tokens: all prompts are then billed as computed ones.
        cached = Totals().cached_tokens if before is None else before.cached_tokens
    requests, inputs, outputs = (counters[counter] for counter in billed)
    return Totals(requests, inputs, outputs, cached)


def _delta(before: Totals, now: Totals) -> Tokens:
    if now.requests < before.requests:
        before = Totals()
    tokens = max(0.0, now.input_tokens - before.input_tokens)
    return Tokens(
        requests=now.requests - before.requests,
        input=tokens,
        cached=min(max(0.0, now.cached_tokens - before.cached_tokens), tokens),
        output=max(0.0, now.output_tokens - before.output_tokens),
    )
