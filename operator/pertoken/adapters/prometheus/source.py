"""One profile's metrics as a snapshot: asks all queries, then assembles what they say about each pod.

Engine signals are all or nothing: if one of their queries fails, so does the snapshot, since half a picture (running
without waiting, rates without ages) misleads a planner more than none. GPU and gateway figures only add to it: their
failure leaves those signals out and is told in the health's text.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pertoken.adapters.prometheus import engines, parse, queries
from pertoken.adapters.prometheus.client import Answers, QueryClient
from pertoken.adapters.prometheus.parse import PodLabels, Sample, Tally
from pertoken.adapters.prometheus.profile import MetricsProfile, SeriesLabels
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal

LOGGER = logging.getLogger(__name__)
COVERED = 0.6  # share of the window's scrapes below which a rate after a gap says nothing


@dataclass(frozen=True, slots=True)
class Report:
    """How the last cycle went, for telemetry and support.

    Attributes:
        queries: how many were sent.
        seconds: time until all were answered or given up.
        left_out: series that could not be used, in words; empty if none.
        gaps: pods whose rates were withheld because their window begins after a gap in the samples.
    """

    queries: int
    seconds: float
    left_out: str = ""
    gaps: frozenset[PodKey] = frozenset()


@dataclass(slots=True)
class _Pod:
    """One pod while its figures are gathered."""

    age: float = math.inf
    gpu_age: float = math.inf
    engine: str = ""
    values: dict[Signal, float] = field(default_factory=dict)
    counters: dict[Counter, float] = field(default_factory=dict)
    histograms: dict[LatencyKind, Histogram] = field(default_factory=dict)


class PrometheusSource:
    """Implements `ports.MetricsSource` for one profile.

    Args:
        profile: the administrator's description of the endpoint.
        client: asks the queries; made from the profile if not given.
    """

    def __init__(self, profile: MetricsProfile, client: QueryClient | None = None) -> None:
        self._profile = profile
        self._plan = queries.plan(profile)
        self._client = client or QueryClient(profile)
        self.report = Report(len(self._plan.queries()), 0.0)
        LOGGER.info("profile %s: %d queries per cycle at %s", profile.name, self.report.queries, profile.url)

    def observe(self) -> MetricsSnapshot:
        """All pods' metrics now. Never raises for an unreachable source: the snapshot's health tells."""
        asked = self._plan.queries()
        answers = self._client.run(asked)
        optional = {query.name for query in asked if not query.required}
        health = _health(self._profile, answers, optional)
        if not health.ok:
            self.report = Report(len(asked), answers.seconds)
            return MetricsSnapshot(health, self._profile.window_seconds, self._profile.fresh_seconds)
        reading = _Reading(self._profile, self._plan, answers)
        snapshot = reading.snapshot(health)
        self.report = Report(len(asked), answers.seconds, str(reading.tally), reading.gaps)
        LOGGER.debug(
            "profile %s: %d queries in %.3f s, %d pods%s",
            self._profile.name,
            len(asked),
            answers.seconds,
            len(snapshot.pods),
            f", left out: {reading.tally}" if str(reading.tally) else "",
        )
        return snapshot

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _health(profile: MetricsProfile, answers: Answers, optional: set[str]) -> MetricsHealth:
    """Sound if every required query was answered; what failed is named once per distinct reason."""
    reasons: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name, failure in answers.failures.items():
        reasons[failure.why, failure.partial].append(name)
    words = "; ".join(f"{', '.join(names)}: {why}" for (why, _), names in reasons.items())
    required = {name: failure for name, failure in answers.failures.items() if name not in optional}
    if not required:
        return MetricsHealth(ok=True, why=f"left out {words}" if words else "")
    return MetricsHealth(
        ok=False,
        why=f"Prometheus {profile.url}: {words}",
        partial=all(failure.partial for failure in required.values()),
    )


class _Reading:
    """Turns the answers of one cycle into pods."""

    def __init__(self, profile: MetricsProfile, plan: queries.Plan, answers: Answers) -> None:
        self.tally = Tally()
        self.gaps: frozenset[PodKey] = frozenset()
        self._profile = profile
        self._plan = plan
        self._results = answers.results
        self._pods: dict[PodKey, _Pod] = defaultdict(_Pod)
        self._engine_labels = _labels(profile.engine.labels)
        self._gpu_labels = _labels(profile.gpu.labels)

    def snapshot(self, health: MetricsHealth) -> MetricsSnapshot:
        self._read_ages()
        self._read_gauges()
        self._read_rates()
        self._read_totals()
        self._read_histograms()
        self._read_gpu()
        gateway = self._tagged(self._plan.gateway)
        return MetricsSnapshot(
            health=health,
            window_seconds=self._profile.window_seconds,
            fresh_seconds=self._profile.fresh_seconds,
            pods={key: _finished(key, pod) for key, pod in sorted(self._pods.items())},
            gateway_queue=self._by_model(gateway, queries.GATEWAY_QUEUE, self._profile.gateway.queue),
            gateway_rejections_per_second=self._by_model(
                gateway, queries.GATEWAY_REFUSALS, self._profile.gateway.refusals
            ),
            offers={row.name: row.offer for row in self._profile.engine.rows()},
        )

    def _tagged(self, query: queries.Query | None) -> dict[str, list[Sample]]:
        if query is None or query.name not in self._results:
            return {}
        return parse.by_tag(parse.samples(self._results[query.name], self.tally))

    def _per_pod(self, read: Mapping[str, list[Sample]], tag: str, labels: PodLabels) -> dict[PodKey, float]:
        return parse.by_pod(read.get(tag, ()), labels, self.tally)

    def _read_ages(self) -> None:
        read, labels = self._tagged(self._plan.ages), self._engine_labels
        for pod, age in self._per_pod(read, queries.AGE_BEFORE, labels).items():
            self._pods[pod].age = max(0.0, age)
        for row in self._profile.engine.rows():  # the living series' own age wins
            for pod, age in self._per_pod(read, queries.age_tag(row), labels).items():
                self._pods[pod].age, self._pods[pod].engine = max(0.0, age), row.name
        within = self._per_pod(read, queries.SAMPLES, labels)
        before = self._per_pod(read, queries.SAMPLES_BEFORE, labels)
        self.gaps = frozenset(pod for pod in before if self._after_gap(pod, within.get(pod, 0.0), before[pod]))

    def _after_gap(self, pod: PodKey, within: float, looked_back: float) -> bool:
        """A window that mostly predates the samples dilutes a rate; of a new pod it is right, after a gap it is not."""
        expected = self._profile.window_seconds / self._profile.scrape_seconds
        answering = self._pods[pod].age <= self._profile.fresh_seconds
        return answering and looked_back > within and within < COVERED * expected

    def _read_gauges(self) -> None:
        read = self._tagged(self._plan.gauges)
        for row in self._profile.engine.rows():
            for signal, gauge in row.gauges.items():
                self._set(signal, self._per_pod(read, queries.tag_of(gauge.metric), self._engine_labels), gauge.metric)
            if row.capacity:
                label = row.capacity.label
                ranks = (self._profile.engine.rank,) if self._profile.engine.rank and row.ranks else row.ranks
                series = read.get(queries.CAPACITY + label, ())
                shown = parse.capacities(series, self._engine_labels, label, ranks, self.tally)
                self._set(Signal.KV_CAPACITY_TOKENS, shown)

    def _read_rates(self) -> None:
        read = self._tagged(self._plan.rates)
        rates = {
            tag: {
                pod: rate for pod, rate in self._per_pod(read, tag, self._engine_labels).items() if pod not in self.gaps
            }
            for tag in read
        }
        for row in self._profile.engine.rows():
            for signal, metric in row.rates.items():
                self._set(signal, rates.get(queries.tag_of(metric), {}), metric)
            for signal, mean in row.means.items():
                totals, counts = rates.get(queries.tag_of(mean.total), {}), rates.get(queries.tag_of(mean.count), {})
                means = {pod: total / counts[pod] for pod, total in totals.items() if counts.get(pod, 0.0) > 0}
                self._set(signal, means, mean.total)

    def _read_totals(self) -> None:
        read = self._tagged(self._plan.totals)
        for row in self._profile.engine.rows():
            for counter, metric in row.totals.items():
                for pod, total in self._per_pod(read, queries.tag_of(metric), self._engine_labels).items():
                    self._pods[pod].counters[counter] = total * metric.scale

    def _read_histograms(self) -> None:
        for kind, query in self._plan.histograms:
            read = self._tagged(query)
            for row in self._profile.engine.rows():
                metric = row.histograms.get(kind)
                series = read.get(queries.tag_of(metric), ()) if metric else ()
                scale = metric.scale if metric else 1.0
                for pod, whole in parse.histograms(series, self._engine_labels, scale, self.tally).items():
                    if pod not in self.gaps:
                        self._pods[pod].histograms[kind] = whole

    def _read_gpu(self) -> None:
        read, labels = self._tagged(self._plan.gpu), self._gpu_labels
        for metric in reversed(engines.GPU_UTILIZATION):  # the first one listed is written last and wins
            self._set(Signal.GPU_UTILIZATION, self._per_pod(read, queries.tag_of(metric), labels), metric)
        power = engines.GPU_POWER
        self._set(Signal.POWER_WATTS, self._per_pod(read, queries.tag_of(power), labels), power)
        for pod, age in self._per_pod(read, queries.AGE, labels).items():
            self._pods[pod].gpu_age = max(0.0, age)

    def _set(self, signal: Signal, shown: Mapping[PodKey, float], metric: engines.Metric | None = None) -> None:
        scale = metric.scale if metric else 1.0
        for pod, value in shown.items():
            self._pods[pod].values[signal] = value * scale

    def _by_model(
        self, read: Mapping[str, list[Sample]], prefix: str, names: tuple[str, ...]
    ) -> dict[tuple[str, str], float]:
        source = self._profile.gateway
        found: dict[tuple[str, str], float] = {}
        for name in reversed(names):
            series = read.get(prefix + name, ())
            found |= parse.by_model(series, source.labels.namespace, source.model, self.tally)
        return found


def _labels(names: SeriesLabels) -> PodLabels:
    return PodLabels(names.namespace, names.pod)


def _finished(key: PodKey, pod: _Pod) -> PodMetrics:
    """A pod with engine series is as old as those; one that only a GPU exporter knows is as old as its figures."""
    age = pod.age if math.isfinite(pod.age) else pod.gpu_age
    return PodMetrics(key, age, pod.values, pod.counters, pod.histograms, pod.engine)
