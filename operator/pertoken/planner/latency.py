"""What was measured of one latency, gathered once per cycle, with what histograms can and cannot say of it.

Buckets hide where events lie, so everything is a pair of bounds; where an objective lies inside the bucket that holds
the percentile, an interpolated figure must neither add replicas nor keep them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import Histogram, LatencyKind, QuantileBounds, Signal
from pertoken.frozen import dataclass
from pertoken.performance.histogram import merge, quantile, share_within
from pertoken.units import PER_CENT


@dataclass(frozen=True, slots=True)
class LatencyEvidence:
    """One latency of a group of pods over the rate window.

    Attributes:
        objective: seconds; None where nothing is promised.
        percentile: at which it is owed.
        window: rate window in seconds: events = rate x window.
        all_pods: distribution over all measured pods; None where none tells.
        warmed_up: the same without fresh pods, whose latencies tell of the rush that a router sends them.
    """

    kind: LatencyKind
    objective: float | None
    percentile: int
    window: float
    all_pods: Histogram | None
    warmed_up: Histogram | None

    @property
    def events(self) -> float:
        """Requests in the window, of warmed-up pods."""
        return 0.0 if self.warmed_up is None else self.warmed_up.cumulative[-1] * self.window

    @property
    def bounds(self) -> QuantileBounds | None:
        """The percentile of all pods; None without events."""
        return None if self.all_pods is None else quantile(self.all_pods, self.percentile / PER_CENT)

    def measured(self, enough: float, percentile: float | None = None) -> float | None:
        """A percentile of warmed-up pods in seconds, the one that is owed if none is given; None with too few events.

        Where the objective lies inside the bucket that holds it, the lower edge is taken.
        """
        share = (self.percentile if percentile is None else percentile) / PER_CENT
        bounds = None if self.warmed_up is None else quantile(self.warmed_up, share)
        if bounds is None or self.events < enough:
            return None
        undecided = self.objective is not None and bounds.low < self.objective < bounds.high
        return bounds.low if undecided else bounds.estimate

    @property
    def share_kept(self) -> tuple[float, float] | None:
        """Least and most share of all pods' requests within the objective; None without objective or events."""
        if self.objective is None or self.all_pods is None or self.all_pods.cumulative[-1] <= 0:
            return None
        return share_within(self.all_pods, self.objective)


@dataclass(frozen=True, slots=True)
class OwedLatency:
    """What a user asks of one latency.

    Attributes:
        objective: seconds; None where nothing is promised.
        percentile: at which it is owed.
    """

    objective: float | None
    percentile: int


def evidence(
    kind: LatencyKind,
    owed: OwedLatency,
    window: float,
    pods: Sequence[PodMetrics],
    warmed_up: Sequence[PodMetrics],
) -> LatencyEvidence:
    """What pods tell of one latency.

    Args:
        kind: which latency.
        owed: what it is held against.
        window: rate window in seconds.
        pods: all that are measured.
        warmed_up: those of them that have served long enough.
    """
    combine = _gaps if kind is LatencyKind.INTER_TOKEN else partial(merged, kind=kind)
    all_pods = combine(pods)
    of_warmed_up = all_pods if len(warmed_up) == len(pods) else combine(warmed_up)
    return LatencyEvidence(kind, owed.objective, owed.percentile, window, all_pods, of_warmed_up)


def _gaps(pods: Iterable[PodMetrics]) -> Histogram | None:
    """Gaps between tokens, counted as so many events as requests ended: requests weigh alike in every latency."""
    histograms = []
    for pod in pods:
        gaps, requests = pod.histograms.get(LatencyKind.INTER_TOKEN), pod.values.get(Signal.FINISHED_PER_SECOND)
        if gaps is not None and requests is not None and gaps.cumulative[-1] > 0:
            share = requests / gaps.cumulative[-1]
            histograms.append(Histogram(gaps.edges, tuple(rate * share for rate in gaps.cumulative)))
    return merge(histograms) if histograms else None


def merged(pods: Iterable[PodMetrics], kind: LatencyKind) -> Histogram | None:
    """One distribution of several pods; None where none of them tells."""
    histograms = [pod.histograms[kind] for pod in pods if kind in pod.histograms]
    return merge(histograms) if histograms else None
