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
from pertoken.adapters.prometheus.engines import Across
from pertoken.adapters.prometheus.parse import PodLabels, Sample, Tally
from pertoken.adapters.prometheus.plausible import MOST_SEQUENCES, plausible
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
        try:
            snapshot = reading.snapshot(health)
        except Exception:
            LOGGER.exception("profile %s: the answers could not be read", self._profile.name)
            why = f"Prometheus {self._profile.url}: the answers could not be read; see the log"
            health = MetricsHealth(ok=False, why=why)
            return MetricsSnapshot(health, self._profile.window_seconds, self._profile.fresh_seconds)
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

    def __init__(self, profile: MetricsProfile, plan: queries.QueryPlan, answers: Answers) -> None:
        self.tally = Tally()
        self.gaps: frozenset[PodKey] = frozenset()
        self._profile = profile
        self._plan = plan
        self._results = answers.results
        self._pods: dict[PodKey, _Pod] = defaultdict(_Pod)
        self._engine_labels = _labels(profile.engine.labels)
        self._gpu_labels = _labels(profile.gpu.labels)
        self._ages = self._tagged(plan.ages)
        self._within: dict[PodKey, dict[str, float]] = {}
        self._halved: frozenset[PodKey] = frozenset()

    def snapshot(self, health: MetricsHealth) -> MetricsSnapshot:
        self._read_ages()
        self._read_gauges()
        totals = self._read_totals()
        self._read_rates(totals)
        self._read_histograms()
        self._read_gpu()
        gateway = self._tagged(self._plan.gateway)
        return MetricsSnapshot(
            health=health,
            window_seconds=self._profile.window_seconds,
            fresh_seconds=self._profile.fresh_seconds,
            pods={key: self._finished(key, pod) for key, pod in sorted(self._pods.items())},
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

    def _per_server(self, read: Mapping[str, list[Sample]], tag: str) -> dict[PodKey, dict[str, float]]:
        return parse.by_server(read.get(tag, ()), self._engine_labels, self.tally)

    def _per_pod(self, read: Mapping[str, list[Sample]], tag: str, across: Across = Across.SUM) -> dict[PodKey, float]:
        """The figure of a pod from those of its servers."""
        return {
            pod: sum(servers.values()) / (len(servers) if across is Across.MEAN else 1)
            for pod, servers in self._per_server(read, tag).items()
        }

    def _read_ages(self) -> None:
        live: dict[PodKey, set[str]] = defaultdict(set)
        for pod, ages in self._per_server(self._ages, queries.AGE_BEFORE).items():
            self._pods[pod].age = max(0.0, min(ages.values()))
        for row in self._profile.engine.rows():  # the living series' own age wins
            for pod, ages in self._per_server(self._ages, queries.age_tag(row)).items():
                self._pods[pod].age, self._pods[pod].engine = max(0.0, min(ages.values())), row.name
                live[pod] |= {port for port, age in ages.items() if age <= self._profile.fresh_seconds}
        self._within = self._per_server(self._ages, queries.SAMPLES)
        before = self._per_server(self._ages, queries.SAMPLES_BEFORE)
        self._halved = frozenset(pod for pod, servers in before.items() if live[pod] and servers.keys() - live[pod])
        self.gaps = frozenset(pod for pod, servers in before.items() if self._after_gap(pod, servers, live[pod]))

    def _after_gap(self, pod: PodKey, looked_back: Mapping[str, float], live: set[str]) -> bool:
        """A window that mostly predates the samples dilutes a rate; of a new pod it is right, after a gap it is not."""
        expected = self._profile.window_seconds / self._profile.scrape_seconds
        within = self._within.get(pod, {})
        return any(
            looked_back[port] > within.get(port, 0.0) and within.get(port, 0.0) < COVERED * expected
            for port in live & looked_back.keys()
        )

    def _read_gauges(self) -> None:
        read = self._tagged(self._plan.gauges)
        for row in self._profile.engine.rows():
            for signal, gauge in row.gauges.items():
                shown = self._per_pod(read, queries.tag_of(gauge.metric), gauge.across)
                self._set(signal, shown, gauge.metric)
            if row.capacity:
                ranks = (self._profile.engine.rank,) if self._profile.engine.rank and row.ranks else row.ranks
                series = read.get(queries.CAPACITY + row.capacity.label, ())
                shown = parse.capacities(series, self._engine_labels, row.capacity, ranks, self.tally)
                self._set(Signal.KV_CAPACITY_TOKENS, shown)

    def _read_rates(self, totals: Mapping[str, set[PodKey]]) -> None:
        read = self._tagged(self._plan.rates)
        rates = {tag: self._per_pod(read, tag) for tag in read}
        for row in self._profile.engine.rows():
            unborn = self._unborn(row, totals.get(row.name, set()))
            for signal, metric in row.rates.items():
                shown = self._covered(rates.get(queries.tag_of(metric), {}), metric)
                if signal in row.offer.signals:
                    shown |= {pod: 0.0 for pod in unborn if pod not in shown}
                self._set(signal, shown, metric)
            for signal, mean in row.means.items():
                growth = self._covered(rates.get(queries.tag_of(mean.total), {}), mean.total)
                counts = rates.get(queries.tag_of(mean.count), {})
                means = {pod: total / counts[pod] for pod, total in growth.items() if counts.get(pod, 0.0) > 0}
                self._set(signal, means, mean.total)

    def _covered(self, shown: Mapping[PodKey, float], metric: engines.Metric) -> dict[PodKey, float]:
        """Without the pods on whose pages the family was missing for most of the time that the pod was there."""
        samples = self._per_server(self._ages, queries.samples_tag(metric))
        return {
            pod: value
            for pod, value in shown.items()
            if pod not in self.gaps
            and all(
                count >= COVERED * self._within.get(pod, {}).get(port, 0.0)
                for port, count in samples.get(pod, {}).items()
            )
        }

    def _unborn(self, row: engines.EngineMetrics, counted: set[PodKey]) -> set[PodKey]:
        """Pods whose counters are not there since no request ever came: an engine that was seen idle all the time."""
        if not row.begins_with_traffic:
            return set()
        gauges = [row.gauges[signal].metric for signal in (Signal.RUNNING, Signal.WAITING)]
        busiest = [self._per_pod(self._ages, f"{queries.BUSIEST}:{queries.tag_of(metric)}") for metric in gauges]
        return {
            pod
            for pod in self._pods
            if pod not in counted and pod not in self.gaps and all(peak.get(pod) == 0.0 for peak in busiest)
        }

    def _read_totals(self) -> dict[str, set[PodKey]]:
        """Counters; returns by row which pods have shown any of its families within the look-back."""
        read = self._tagged(self._plan.totals)
        seen: dict[str, set[PodKey]] = defaultdict(set)
        for row in self._profile.engine.rows():
            for counter, metric in row.totals.items():
                living = self._per_server(read, queries.tag_of(metric))
                ended = self._per_server(read, queries.ended_tag(metric))
                seen[row.name] |= living.keys() | ended.keys()
                for pod in living.keys() | ended.keys():
                    total = self._total(pod, living.get(pod, {}), ended.get(pod, {}))
                    if total is not None:
                        self._pods[pod].counters[counter] = total * metric.scale
        return seen

    def _total(self, pod: PodKey, living: Mapping[str, float], ended: Mapping[str, float]) -> float | None:
        """The last values of a pod that is gone; of one that answers only what it shows now."""
        answers = self._pods[pod].age <= self._profile.fresh_seconds
        if not answers:
            return sum({**ended, **living}.values())
        return sum(living.values()) if living and living.keys() == ended.keys() else None

    def _read_histograms(self) -> None:
        for kind, query in self._plan.histograms:
            read = self._tagged(query)
            for row in self._profile.engine.rows():
                metric = row.histograms.get(kind)
                if metric is None:
                    continue
                series = read.get(queries.tag_of(metric), ())
                by_pod = parse.histograms(series, self._engine_labels, metric.scale, self.tally)
                counted = engines.Metric(f"{metric.name}_count")
                covered = self._covered(dict.fromkeys(by_pod, 0.0), counted)
                for pod in covered:
                    self._pods[pod].histograms[kind] = by_pod[pod]

    def _read_gpu(self) -> None:
        read, labels = self._tagged(self._plan.gpu), self._gpu_labels
        for signal, metric in (
            (Signal.GPU_UTILIZATION, engines.GPU_UTILIZATION),
            (Signal.POWER_WATTS, engines.GPU_POWER),
        ):
            shown = parse.by_pod(read.get(queries.tag_of(metric), ()), labels, self.tally)
            self._set(signal, shown)  # in the unit of the signal already: metrics of several units were chosen from
        for pod, age in parse.by_pod(read.get(queries.AGE, ()), labels, self.tally).items():
            self._pods[pod].gpu_age = max(0.0, age)

    def _set(self, signal: Signal, shown: Mapping[PodKey, float], metric: engines.Metric | None = None) -> None:
        scale = metric.scale if metric else 1.0
        for pod, value in shown.items():
            self._pods[pod].values[signal] = value * scale

    def _finished(self, key: PodKey, pod: _Pod) -> PodMetrics:
        """A pod with engine series is as old as those; one that only a GPU exporter knows is as old as its figures.

        While one of a pod's servers reports nothing, the others' figures do not tell the pod's load: they are left out.
        """
        age = pod.age if math.isfinite(pod.age) else pod.gpu_age
        age = min(age, self._profile.lookback_seconds)  # older series are not looked for
        halved = key in self._halved
        assembled = PodMetrics(
            key, age, {} if halved else pod.values, pod.counters, {} if halved else pod.histograms, pod.engine
        )
        kept, left_out = plausible(assembled)
        self.tally.implausible += left_out
        return kept

    def _by_model(
        self, read: Mapping[str, list[Sample]], prefix: str, names: tuple[str, ...]
    ) -> dict[tuple[str, str], float]:
        source = self._profile.gateway
        totals: dict[tuple[str, str], float] = {}
        for name in reversed(names):
            series = read.get(prefix + name, ())
            shown = parse.by_model(series, source.labels.namespace, source.model, self.tally)
            possible = {key: value for key, value in shown.items() if 0.0 <= value <= MOST_SEQUENCES}
            self.tally.implausible += len(shown) - len(possible)
            totals |= possible
        return totals


def _labels(names: SeriesLabels) -> PodLabels:
    return PodLabels(names.namespace, names.pod)
