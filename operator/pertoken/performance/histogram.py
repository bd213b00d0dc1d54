"""What classic histograms can and cannot say: quantiles and shares as bounds, since buckets hide where events lie."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from pertoken.domain.signal import Histogram, QuantileBounds


def quantile(histogram: Histogram, q: float) -> QuantileBounds | None:
    """The q-quantile of a histogram of latencies.

    The quantile is the smallest time within which a share q of all events ended; it lies in the first bucket whose
    cumulative rate reaches that share. The estimate interpolates linearly inside the bucket, as Prometheus's
    ``histogram_quantile`` does, except that an open last bucket yields its lower edge.

    Args:
        histogram: events per second by upper edge in seconds.
        q: share in [0, 1].

    Returns:
        Bounds in seconds (`high` is infinite in the open bucket), or None when the histogram holds no event.

    Raises:
        ValueError: q is outside [0, 1].
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"q={q!r} must be in [0, 1]")
    total = histogram.cumulative[-1] if histogram.cumulative else 0.0
    if total <= 0.0:
        return None
    rank = q * total
    # Rank zero lies in the first bucket that holds anything, not in empty ones below it.
    index = bisect_right(histogram.cumulative, 0.0) if rank <= 0.0 else bisect_left(histogram.cumulative, rank)
    low = _lower_edge(histogram, index)
    high = histogram.edges[index]
    below = histogram.cumulative[index - 1] if index else 0.0
    inside = histogram.cumulative[index] - below
    if math.isinf(high):
        return QuantileBounds(low, low, high)
    estimate = low + (high - low) * max(0.0, rank - below) / inside
    return QuantileBounds(low, min(high, max(low, estimate)), high)


def share_within(histogram: Histogram, limit_seconds: float) -> tuple[float, float]:
    """Bounds on the share of events at or below a limit.

    Args:
        histogram: events per second by upper edge in seconds.
        limit_seconds: the objective; exact when it is one of the edges.

    Returns:
        (least, most) in [0, 1]; (0, 1), that is nothing known, when the histogram holds no event.
    """
    total = histogram.cumulative[-1] if histogram.cumulative else 0.0
    if total <= 0.0:
        return 0.0, 1.0
    certain = bisect_right(histogram.edges, limit_seconds) - 1
    least = histogram.cumulative[certain] / total if certain >= 0 else 0.0
    if certain >= 0 and histogram.edges[certain] == limit_seconds:
        return least, least
    if limit_seconds < 0.0:
        return 0.0, 0.0
    return least, histogram.cumulative[certain + 1] / total


def merge(histograms: Iterable[Histogram]) -> Histogram | None:
    """One histogram of all events of several, for example of a service's pods.

    With differing edges (engines of two versions) only those that all histograms have are kept: coarser, never wrong.

    Returns:
        The merged histogram, or None when there is none to merge.
    """
    parts = [part for part in histograms if part.edges]
    if not parts:
        return None
    edges = parts[0].edges
    if math.isinf(edges[-1]) and all(part.edges == edges for part in parts):
        if len(parts) == 1:
            return parts[0]
        return Histogram(edges, _non_decreasing(map(math.fsum, zip(*(part.cumulative for part in parts), strict=True))))
    common = sorted(set.intersection(*(set(part.edges) for part in parts)))
    if not common or not math.isinf(common[-1]):
        return None
    lookups = [dict(zip(part.edges, part.cumulative, strict=True)) for part in parts]
    rates = (math.fsum(lookup[upper] for lookup in lookups) for upper in common)
    return Histogram(tuple(common), _non_decreasing(rates))


def _lower_edge(histogram: Histogram, index: int) -> float:
    """Latencies are positive: the first bucket starts at zero unless its edge says otherwise."""
    if index:
        return histogram.edges[index - 1]
    return min(0.0, histogram.edges[0])


def _non_decreasing(rates: Iterable[float]) -> tuple[float, ...]:
    """Rounding of sums must not make a cumulative series fall."""
    levelled: list[float] = []
    for rate in rates:
        levelled.append(max(rate, levelled[-1]) if levelled else rate)
    return tuple(levelled)
