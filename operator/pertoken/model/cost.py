"""Money: the bill of pods, and the ledger that a cost index is read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pertoken.domain.cluster import PodFact
from pertoken.domain.service import PriceList
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION

BUCKETS: Final = 240


@dataclass(frozen=True, slots=True)
class Entry:
    """One bucket of the ledger: what was billed and what finished within it."""

    start: float
    usd: Decimal = Decimal(0)
    requests: float = 0.0
    input_tokens: float = 0.0
    cached_tokens: float = 0.0
    output_tokens: float = 0.0

    def plus(self, other: Entry) -> Entry:
        """Both together, from the earlier start."""
        return Entry(
            min(self.start, other.start),
            self.usd + other.usd,
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


def gpu_seconds(pods: Iterable[PodFact], resource: str, since: float, until: float) -> Decimal:
    """GPU-seconds of pods within [since, until]: each from bound to deleted, whatever it did."""
    total = Decimal(0)
    for pod in pods:
        if pod.bound_at is None:
            continue
        end = until if pod.deleted_at is None else min(pod.deleted_at, until)
        held = end - max(pod.bound_at, since)
        if held > 0:
            total += Decimal(str(held)) * pod.requests.get(resource, 0)
    return total


def bill(gpu_time: Decimal, usd_per_gpu_hour: Decimal) -> Decimal:
    """USD for GPU-seconds."""
    return gpu_time * usd_per_gpu_hour / SECONDS_PER_HOUR


def record(ledger: tuple[Entry, ...], entry: Entry, window_seconds: float) -> tuple[Entry, ...]:
    """Add an entry to the bucket of its start; buckets that left the window are dropped."""
    width = window_seconds / BUCKETS
    horizon = entry.start - window_seconds
    kept = tuple(old for old in ledger if old.start > horizon)
    if kept and entry.start - kept[-1].start < width:
        return (*kept[:-1], kept[-1].plus(entry))
    return (*kept, entry)


def total(ledger: tuple[Entry, ...]) -> Entry:
    """Everything in the ledger."""
    summed = Entry(ledger[0].start if ledger else 0.0)
    for entry in ledger:
        summed = summed.plus(entry)
    return summed


def worth(entry: Entry, prices: PriceList) -> Decimal:
    """What the finished tokens may cost by the price list, USD."""
    cached = min(entry.cached_tokens, entry.input_tokens)
    computed = entry.input_tokens - cached
    return (
        Decimal(str(computed)) * prices.input
        + Decimal(str(cached)) * prices.cached_input
        + Decimal(str(entry.output_tokens)) * prices.output
    ) / TOKENS_PER_MILLION
