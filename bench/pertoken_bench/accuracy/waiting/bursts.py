"""Arrivals within scrape intervals, rebuilt from what scrapes show: a count and a sum of work per interval.

Real requests come in bursts on every time scale, also below a scrape. A conservative cascade spreads each interval's
requests: every interval is halved again and again, and at each halving one half gets the share 1/2 + s, the other
1/2 - s, of what was there (the b-model of Wang, Madhyastha, Chan, Papadimitriou, Faloutsos, ICDE 2002). The variance
s^2 of the share at the coarsest halving is measured on the scrapes themselves, one octave up, without bias by counting
noise: for n events of N in one half, E[n (n - 1)] / E[N (N - 1)] = 1/4 + s^2.

Everything is a fixed function of its arguments: the "random" choices are a hash of their number (splitmix64; Steele,
Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FINEST_SECONDS: Final = 0.15  # below it arrivals are taken as unrelated
DECAY: Final = 0.85  # of s^2 from one halving to the next, as measured on the Azure 2023 traces from 15 s to 0.2 s
BELOW_SCRAPE: Final = 0.7  # of s^2 below the scrape interval to that above it, same traces
LEAST_VARIANCE: Final = 2e-4
LARGEST_VARIANCE: Final = 0.2
_LIMIT: Final = 0.2499
_SAMPLE: Final = 1024


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens per request as a histogram shows them.

    Attributes:
        edges: ascending upper edges; the last may be infinite.
        counts: requests in each bucket (not cumulative).
        mean: sum of tokens / requests, which the sum and count series tell exactly.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class ArrivalRecord:
    """Arrivals of one service as scrapes show them.

    Attributes:
        interval: seconds between scrapes.
        requests: arrivals per interval.
        work: work that arrived per interval, in seconds of one server.
        sizes: a sample of the work of single requests; only its shape counts. Empty: all alike.
    """

    interval: float
    requests: tuple[float, ...]
    work: tuple[float, ...]
    sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape.

        Raises:
            ValueError: the series differ in length, or an interval or figure is negative or zero where it must not be.
        """
        if self.interval <= 0 or len(self.requests) != len(self.work):
            raise ValueError(f"interval={self.interval!r}: expected > 0 and as many counts as sums of work")
        if any(not value >= 0 for value in (*self.requests, *self.work, *self.sizes)):
            raise ValueError("requests, work and sizes: expected no negative figure")

    @property
    def seconds(self) -> float:
        """Length of the record."""
        return self.interval * len(self.requests)

    @property
    def rate(self) -> float:
        """Mean arrivals per second."""
        return sum(self.requests) / self.seconds if self.requests else 0.0

    @property
    def offered(self) -> float:
        """Mean work per second: the number of servers that would be busy all the time."""
        return sum(self.work) / self.seconds if self.work else 0.0

    @property
    def size_variation(self) -> float:
        """Squared coefficient of variation of the work of a request; 0 without a sample."""
        if not self.sizes:
            return 0.0
        sizes = np.asarray(self.sizes)
        mean = float(sizes.mean())
        return float(sizes.var()) / (mean * mean) if mean > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests in order of time: seconds since the start of the record, work in seconds of one server."""

    at: Floats
    work: Floats


def uniform(count: int, stream: int) -> Floats:
    """`count` fixed numbers in [0, 1) that behave like random ones; another `stream` gives others."""
    x = np.arange(count, dtype=np.uint64) + np.uint64((stream + 1) << 36)
    with np.errstate(over="ignore"):
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def request_sizes(
    inputs: Lengths, outputs: Lengths, seconds_per_input: float, seconds_per_output: float
) -> tuple[float, ...]:
    """A sample of the work of single requests from the histograms of their lengths, taken as independent.

    Args:
        inputs: prompt tokens.
        outputs: generated tokens.
        seconds_per_input: work per prompt token, see `attribution`.
        seconds_per_output: work per generated token.
    """
    tokens_in, tokens_out = _sample(inputs, 1), _sample(outputs, 2)
    return tuple((seconds_per_input * tokens_in + seconds_per_output * tokens_out).tolist())


def _sample(lengths: Lengths, stream: int) -> Floats:
    """Lengths at scattered quantiles, linear within a bucket, with the histogram's mean."""
    counts = np.asarray(lengths.counts, dtype=np.float64)
    total = counts.sum()
    if total <= 0:
        return np.full(_SAMPLE, lengths.mean)
    upper = np.asarray(lengths.edges, dtype=np.float64)
    lower = np.concatenate(([0.0], upper[:-1]))
    upper = np.where(np.isfinite(upper), upper, 1.5 * np.maximum(lower, 1.0))
    cumulative = np.cumsum(counts) / total
    quantiles = uniform(_SAMPLE, stream)
    bucket = np.minimum(np.searchsorted(cumulative, quantiles, side="right"), len(counts) - 1)
    before = np.concatenate(([0.0], cumulative[:-1]))[bucket]
    inside = (quantiles - before) / np.maximum(cumulative[bucket] - before, 1e-12)
    drawn = lower[bucket] + (upper - lower)[bucket] * inside
    mean = float(drawn.mean())
    scale = lengths.mean / mean if mean > 0 else 1.0
    return np.asarray(drawn * scale, dtype=np.float64)


def share_variance(requests: Sequence[float]) -> float:
    """s^2 of the halving that leads to these intervals, counting noise taken out; 0 where it cannot be seen."""
    half = np.asarray(requests, dtype=np.float64)
    half = half[: len(half) // 2 * 2]
    whole = half.reshape(-1, 2).sum(axis=1)
    pairs = float((whole * (whole - 1.0)).mean()) if len(whole) else 0.0
    if pairs <= 0:
        return 0.0
    return max(0.0, float((half * (half - 1.0)).mean()) / pairs - 0.25)


def regularity(requests: Sequence[float]) -> float:
    """Variance of counts in halves / that of arrivals by chance: 1 for chance or bursts, less for evener arrivals.

    Requests of closed loops and paced clients come more evenly than by chance. One standard error is given away so that
    counting noise does not pass for evenness.
    """
    half = np.asarray(requests, dtype=np.float64)
    pairs = half[: len(half) // 2 * 2].reshape(-1, 2)
    whole = pairs.sum(axis=1)
    seen = whole > 1
    if not seen.any():
        return 1.0
    ratio = float(((pairs[seen, 0] - pairs[seen, 1]) ** 2 / whole[seen]).mean())
    return min(1.0, ratio + float(np.sqrt(2.0 / seen.sum())))


def prior_burstiness(record: ArrivalRecord) -> float:
    """s^2 of the first halving below the scrape interval, carried on from the octave above it."""
    variance = BELOW_SCRAPE * share_variance(record.requests)
    return min(max(variance, LEAST_VARIANCE), LARGEST_VARIANCE)


def rebuild(record: ArrivalRecord, burstiness: float, rate: float = 1.0, copy: int = 0) -> Arrivals:
    """One course of single arrivals that a record admits.

    Args:
        record: what the scrapes show.
        burstiness: s^2 of the first halving below the scrape interval.
        rate: factor on the number of requests (they stay as large as they are).
        copy: number of the course; another one gives other times and sizes for the same record.
    """
    stream = 64 * copy
    intervals = len(record.requests)
    wanted = np.asarray(record.requests, dtype=np.float64) * rate
    counts = np.floor(wanted + uniform(intervals, stream)).astype(np.int64)
    counts = np.where(wanted > 0, np.maximum(counts, 0), 0)
    total = int(counts.sum())
    owner = np.repeat(np.arange(intervals), counts)
    times = _times(record, owner, burstiness, stream)
    work = _works(record, owner, rate, stream)
    order = np.argsort(times, kind="stable")
    return Arrivals(times[order], work[order]) if total else Arrivals(np.empty(0), np.empty(0))


def _times(record: ArrivalRecord, owner: NDArray[np.int64], burstiness: float, stream: int) -> Floats:
    interval, intervals = record.interval, len(record.requests)
    shares = cascade(intervals, levels(interval), burstiness, stream)
    edges = (np.cumsum(shares, axis=1) + np.arange(intervals)[:, None]).ravel()
    cells = shares.shape[1]
    position = owner + _places(owner, intervals, regularity(record.requests), stream + 40)
    cell = np.minimum(np.searchsorted(edges, position, side="right"), len(edges) - 1)
    within = np.clip(cell - owner * cells, 0, cells - 1) + uniform(len(owner), stream + 41)
    return np.asarray(owner * interval + within * (interval / cells), dtype=np.float64)


def _places(owner: NDArray[np.int64], intervals: int, evenness: float, stream: int) -> Floats:
    """Places in [0, 1) within each interval: by chance, drawn towards equal distances where arrivals are even."""
    chance = uniform(len(owner), stream)
    if evenness >= 1.0:
        return chance
    order = np.lexsort((chance, owner))
    counts = np.bincount(owner, minlength=intervals)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    even = (rank + 0.5) / np.repeat(counts, counts)
    weight = evenness**0.5
    placed = np.empty(len(owner))
    placed[order] = weight * chance[order] + (1.0 - weight) * even
    return placed


def _works(record: ArrivalRecord, owner: NDArray[np.int64], rate: float, stream: int) -> Floats:
    """Sizes drawn from the sample, scaled so that each interval has its recorded work."""
    count = len(owner)
    sample = np.asarray(record.sizes or (1.0,), dtype=np.float64)
    drawn = np.maximum(sample[(uniform(count, stream + 42) * len(sample)).astype(np.int64)], 1e-12)
    wanted = np.asarray(record.work, dtype=np.float64) * rate
    drawn_sum = np.bincount(owner, weights=drawn, minlength=len(wanted))
    scale = np.divide(wanted, drawn_sum, out=np.zeros_like(wanted), where=drawn_sum > 0)
    return np.asarray(drawn * scale[owner], dtype=np.float64)


def levels(interval: float) -> int:
    """Halvings from the scrape interval down to `FINEST_SECONDS`."""
    return max(0, ceil(log2(interval / FINEST_SECONDS))) if interval > FINEST_SECONDS else 0


def cascade(intervals: int, halvings: int, burstiness: float, stream: int) -> Floats:
    """Shares of each interval's arrivals in its 2^halvings cells; every row adds up to 1."""
    shares = np.ones((intervals, 1))
    for level in range(halvings):
        swing = min(max(burstiness, 0.0) * DECAY**level, _LIMIT) ** 0.5
        side = np.where(uniform(shares.size, stream + 1 + level) < 0.5, -swing, swing).reshape(shares.shape)
        shares = np.stack([shares * (0.5 + side), shares * (0.5 - side)], axis=-1).reshape(intervals, -1)
    return shares
