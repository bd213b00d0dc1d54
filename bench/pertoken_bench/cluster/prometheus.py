"""What a Prometheus would show of the simulated fleet: samples on the scrape grid, bucket edges, ends of series.

Rates follow Prometheus' extrapolation (``extrapolatedRate`` in promql/functions.go, v3): the growth between the first
and the last sample of the window, extended to the window's ends by at most half a sample distance where samples stop
short of them, and never to before a counter's zero.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.domain.signal import Histogram, LatencyKind
from pertoken_bench.cluster.objects import SimulatedPod, SimulatedWorkload
from pertoken_bench.cluster.simulated import SimulatedCluster
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Edges
from pertoken_bench.policy import PodGauge, Total

Row = NDArray[np.float64]

KEEP_SECONDS: Final = 1200.0  # longest window that a policy may ask for
DCGM_SECONDS: Final = 30.0
EXTRAPOLATE: Final = 1.1  # sample distances to a window's end within which a series is taken to go on

_COLUMNS: Final[Mapping[Total, int]] = {
    Total.REQUESTS: at.N_FINISHED,
    Total.PROMPT_TOKENS: at.N_PROMPT,
    Total.CACHED_PROMPT_TOKENS: at.N_CACHED,
    Total.GENERATION_TOKENS: at.N_GENERATED,
    Total.FINISHED_INPUT_TOKENS: at.N_FINISHED_IN,
    Total.FINISHED_OUTPUT_TOKENS: at.N_FINISHED_OUT,
    Total.FIRST_TOKENS: at.N_FIRST,
    Total.TTFT_SECONDS: at.S_TTFT,
    Total.INTER_TOKENS: at.N_BETWEEN,
    Total.INTER_TOKEN_SECONDS: at.S_BETWEEN,
    Total.STEPS: at.N_STEPS,
    Total.PREEMPTIONS: at.N_PREEMPTED,
    Total.ARRIVALS: at.N_ARRIVED,
}
_KINDS: Final[Mapping[LatencyKind, int]] = {
    LatencyKind.TTFT: at.H_TTFT,
    LatencyKind.TIME_PER_OUTPUT_TOKEN: at.H_PER_TOKEN,
    LatencyKind.INTER_TOKEN: at.H_BETWEEN,
}
_GAUGES: Final = tuple(PodGauge)


@dataclass(slots=True)
class PodSeries:
    """One pod's samples, oldest first; it ends with the pod."""

    pod: SimulatedPod
    times: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # counters and buckets, by the slot's columns
    gauges: list[tuple[float, ...]] = field(default_factory=list)  # in the order of `PodGauge`
    busy: list[tuple[float, float]] = field(default_factory=list)  # (time, busy seconds) on the DCGM grid
    ended: bool = False

    def within(self, since: float, until: float) -> tuple[int, int]:
        """Indices of the samples in (since, until]."""
        return bisect_right(self.times, since), bisect_right(self.times, until)


@dataclass(frozen=True, slots=True)
class ScrapeConfig:
    """The Prometheus of the simulation.

    Attributes:
        seconds: scrape interval.
        delay: age at which a sample can first be queried.
    """

    seconds: float = 15.0
    delay: float = 1.0


class Prometheus:
    """Scrapes the cluster and answers queries; implements `pertoken_bench.policy.ScrapedMetrics`."""

    def __init__(self, cluster: SimulatedCluster, edges: Mapping[str, Edges], config: ScrapeConfig) -> None:
        self.cluster = cluster
        self._fleet = cluster.fleet
        self._edges = edges
        self._config = config
        self._series: dict[str, list[PodSeries]] = {work.service.key.name: [] for work in cluster.workloads}
        self._by_uid: dict[int, PodSeries] = {}
        self._held: dict[str, list[tuple[float, float]]] = {name: [] for name in self._series}
        self._flow: dict[str, list[tuple[float, float, float]]] = {name: [] for name in self._series}
        self._index = {work.service.key.name: work.service_index for work in cluster.workloads}
        self._now = 0.0

    # -- the passing of time ---------------------------------------------------------------------------------------

    def at_time(self, now: float) -> None:
        """Queries are asked at `now`; the gateway's own counts are taken."""
        self._now = now
        state = self._fleet.state
        for name, index in self._index.items():
            row = state.services[index]
            reals = state.services_f[index]
            waited = reals[at.F_INTEGRAL] + row[at.V_IN_SYSTEM] * (now - reals[at.F_INTEGRAL_AT])
            flow = self._flow[name]
            flow.append((now, float(waited), float(row[at.V_ARRIVED])))
            if len(flow) > 4096 and flow[0][0] < now - KEEP_SECONDS:
                del flow[: bisect_left(flow, (now - KEEP_SECONDS,))]

    def scrape(self, now: float) -> None:
        """One round over all pods that serve or drain."""
        state = self._fleet.state
        for workload in self.cluster.workloads:
            name = workload.service.key.name
            for pod in workload.pods:
                if pod.slot is not None:
                    self._sample(name, pod, workload, now)
        for name, series in self._series.items():
            for pod_series in series:
                pod_series.ended = pod_series.ended or pod_series.pod.slot is None
            keep = now - KEEP_SECONDS
            for pod_series in series:
                if pod_series.ended:
                    self._by_uid.pop(pod_series.pod.uid, None)
            self._series[name] = [
                pod_series for pod_series in series if not pod_series.ended or pod_series.times[-1] > keep
            ]
            held = self._held[name]
            held.append((now, float(state.services[self._index[name], at.V_HELD])))
            del held[:-4]

    def _sample(self, name: str, pod: SimulatedPod, workload: SimulatedWorkload, now: float) -> None:
        series = self._by_uid.get(pod.uid)
        if series is None:
            series = self._by_uid[pod.uid] = PodSeries(pod)
            self._series[name].append(series)
        state, slot = self._fleet.state, pod.slot
        integers, reals = state.slots[slot], state.slots_f[slot]
        busy = float(reals[at.S_BUSY])
        if not series.busy or now - series.busy[-1][0] >= DCGM_SECONDS - 1e-6:
            series.busy = [*series.busy[-3:], (now, busy)]
        blocks = state.kinds[workload.kind, at.K_BLOCKS]
        series.times.append(now)
        series.rows.append(reals[at.N_ARRIVED :].copy())
        series.gauges.append(
            (
                float(integers[at.RUNNING]),
                float(integers[at.WAITING]),
                float(integers[at.USED]) / float(blocks),
                _utilization(series.busy),
                float(integers[at.QUEUED_TOKENS]),
            )
        )
        if series.times[0] < now - KEEP_SECONDS:
            drop = len(series.times) // 2
            del series.times[:drop], series.rows[:drop], series.gauges[:drop]

    # -- what a query is made of -----------------------------------------------------------------------------------

    @property
    def scrape_seconds(self) -> float:
        """The scrape interval."""
        return self._config.seconds

    @property
    def now(self) -> float:
        """When queries are asked, by the trace's clock."""
        return self._now

    def series(self) -> Iterator[tuple[str, PodSeries]]:
        """Every pod's samples, with the service's name."""
        return ((name, pod_series) for name, series in self._series.items() for pod_series in series)

    # -- queries ---------------------------------------------------------------------------------------------------

    @property
    def _until(self) -> float:
        return self._now - self._config.delay

    def _answering(self, service: str) -> list[PodSeries]:
        """Series with a newest sample; those of ended pods are stale at once."""
        return [
            series
            for series in self._series[service]
            if not series.ended and series.times and series.times[0] <= self._until
        ]

    def latest_row(self, series: PodSeries) -> int:
        """Index of the newest sample that can be queried; -1 before the first."""
        return bisect_right(series.times, self._until) - 1

    def latest(self, service: str, gauge: PodGauge) -> Mapping[str, float]:
        """Newest sample of each pod that still answers."""
        column = _GAUGES.index(gauge)
        return {series.pod.name: series.gauges[self.latest_row(series)][column] for series in self._answering(service)}

    def mean(self, service: str, gauge: PodGauge, seconds: float) -> Mapping[str, float]:
        """``avg_over_time(gauge[seconds])`` of each pod that still answers."""
        column, means = _GAUGES.index(gauge), {}
        for series in self._answering(service):
            first, last = series.within(self._now - seconds, self._until)
            if last > first:
                means[series.pod.name] = sum(row[column] for row in series.gauges[first:last]) / (last - first)
        return means

    def total(self, service: str, total: Total) -> Mapping[str, float]:
        """Newest value of a counter of each pod that still answers."""
        column = _COLUMNS[total] - at.N_ARRIVED
        return {
            series.pod.name: float(series.rows[self.latest_row(series)][column]) for series in self._answering(service)
        }

    def rate(self, service: str, total: Total, seconds: float) -> Mapping[str, float]:
        """``rate(counter[seconds])`` per second; needs two samples in the window."""
        column = _COLUMNS[total] - at.N_ARRIVED
        rows = ((series, self.rates(series, seconds)) for series in self._series[service])
        return {series.pod.name: float(row[column]) for series, row in rows if row is not None}

    def histogram(self, service: str, kind: LatencyKind, seconds: float) -> Mapping[str, Histogram]:
        """Rates of the buckets over the window (events per second, cumulative over edges)."""
        rows = ((series, self.rates(series, seconds)) for series in self._series[service])
        return {series.pod.name: self.buckets(service, kind, row) for series, row in rows if row is not None}

    def age(self, service: str) -> Mapping[str, float]:
        """Seconds since the newest sample of each pod that still answers."""
        return {
            series.pod.name: self._now - series.times[self.latest_row(series)] for series in self._answering(service)
        }

    def gateway_queue(self, service: str) -> float:
        """Requests that the gateway holds because no replica is Ready, at the last scrape."""
        seen = [held for moment, held in self._held[service] if moment <= self._until]
        return seen[-1] if seen else 0.0

    def in_flight(self, service: str, seconds: float) -> float:
        """Mean requests in the system over the window, as a proxy in the data path counts."""
        since, waited, _ = self._flow_at(service, self._now - seconds)
        _, total, _ = self._flow[service][-1]
        if self._now <= since:
            return float(self._fleet.state.services[self._index[service], at.V_IN_SYSTEM])
        return (total - waited) / (self._now - since)

    def request_rate(self, service: str, seconds: float) -> float:
        """Requests per second that reached the gateway over the window."""
        since, _, before = self._flow_at(service, self._now - seconds)
        return (self._flow[service][-1][2] - before) / (self._now - since) if self._now > since else 0.0

    def _flow_at(self, service: str, moment: float) -> tuple[float, float, float]:
        """The gateway's counts at an instant, between its own notes by linear interpolation."""
        flow = self._flow[service]
        index = bisect_left(flow, (moment,))
        if index == 0 or index >= len(flow):
            return flow[min(index, len(flow) - 1)]
        (t0, w0, n0), (t1, w1, n1) = flow[index - 1], flow[index]
        share = (moment - t0) / (t1 - t0)
        return moment, w0 + share * (w1 - w0), n0 + share * (n1 - n0)

    def rates(self, series: PodSeries, seconds: float) -> Row | None:
        """``rate()`` of every counter and bucket of one pod; None with fewer than two samples in the window."""
        first, last = series.within(self._now - seconds, self._until)
        if last - first < 2:
            return None
        start, end = series.times[first], series.times[last - 1]
        before, after = series.rows[first], series.rows[last - 1]
        sampled = end - start
        distance = sampled / (last - first - 1)
        reach = distance * EXTRAPOLATE
        to_start, to_end = start - (self._now - seconds), self._now - end
        to_end = to_end if to_end < reach else distance / 2.0
        to_start = to_start if to_start < reach else distance / 2.0
        grown = after - before
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero = np.where(grown > 0, sampled * before / grown, np.inf)
        extended: Row = grown * (sampled + np.minimum(to_start, to_zero) + to_end) / sampled / seconds
        return extended

    def buckets(self, service: str, kind: LatencyKind, row: Row) -> Histogram:
        """One latency distribution out of a row of rates."""
        edges = self._edges[service]
        wanted = {LatencyKind.TTFT: edges.ttft, LatencyKind.TIME_PER_OUTPUT_TOKEN: edges.per_token}
        shown = (*wanted.get(kind, edges.between), float("inf"))
        start = at.BUCKETS - at.N_ARRIVED + _KINDS[kind] * at.MAX_EDGES
        return Histogram(shown, tuple(np.cumsum(row[start : start + len(shown)]).tolist()))


def _utilization(busy: list[tuple[float, float]]) -> float:
    """Share of the last DCGM interval with work on the GPU; 0 before the first interval is over."""
    if len(busy) < 2:
        return 0.0
    (t0, b0), (t1, b1) = busy[-2], busy[-1]
    return min(1.0, max(0.0, (b1 - b0) / (t1 - t0)))
