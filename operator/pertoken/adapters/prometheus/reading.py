"""The answers of one cycle, assembled to what they say about each pod."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pertoken.adapters.prometheus import gpus, parse, promql, queries
from pertoken.adapters.prometheus.client import Answers
from pertoken.adapters.prometheus.engines import ENGINES, Across, EngineMetrics, Gauge, Metric
from pertoken.adapters.prometheus.engines.model import PageRelease, part_of
from pertoken.adapters.prometheus.parse import PodLabels, Sample, Tally
from pertoken.adapters.prometheus.plausible import MOST_SEQUENCES, plausible
from pertoken.adapters.prometheus.profile import MetricsProfile, SeriesLabels
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal

Figure = TypeVar("Figure")

COVERED = 0.6  # share of the window's scrapes below which a rate after a gap says nothing


@dataclass(slots=True)
class _Pod:
    """One pod while its figures are gathered."""

    age: float = math.inf
    gpu_age: float = math.inf
    engine: str = ""
    values: dict[Signal, float] = field(default_factory=dict)
    counters: dict[Counter, float] = field(default_factory=dict)
    histograms: dict[LatencyKind, Histogram] = field(default_factory=dict)
    per_token: bool = False
    shown: set[Metric] = field(default_factory=set)


class Reading:
    """Turns the answers of one cycle into pods.

    Args:
        profile: what was asked for.
        plan: the queries.
        answers: their results.
    """

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
        self._same: parse.Twins = parse.NO_TWINS
        self._same = parse.twins(self._per_server(self._ages, queries.PROCESS))
        self._within: dict[PodKey, dict[str, float]] = {}
        self._halved: frozenset[PodKey] = frozenset()

    def snapshot(self, health: MetricsHealth) -> MetricsSnapshot:
        """All pods; once per reading."""
        self._read_ages()
        self._read_gauges()
        totals = self._read_totals()
        self._read_rates(totals)
        self._read_histograms()
        self._read_versions()
        self._stand_in()
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
            wake_signals={
                (name, *key): value
                for name, _ in self._profile.gateway.signals
                for key, value in self._by_model(gateway, queries.WAKE_SIGNAL, (name,)).items()
            },
            offers={row.name: row.offer for row in self._profile.engine.rows()},
            gateways=self._gateways(gateway),
        )

    def _tagged(self, group: Iterable[promql.Query]) -> dict[str, list[Sample]]:
        read: list[Sample] = []
        for query in group:
            if query.name in self._results:
                read += parse.samples(self._results[query.name], self.tally)
        return parse.by_tag(read)

    def _per_server(self, read: Mapping[str, list[Sample]], tag: str) -> dict[PodKey, dict[str, float]]:
        return parse.by_server(read.get(tag, ()), self._engine_labels, self.tally, self._same)

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
        """Whether samples begin late in the window after a gap: the rate is then too low. For a new pod it is right."""
        expected = self._profile.window_seconds / self._profile.scrape_seconds
        within = self._within.get(pod, {})
        return any(
            looked_back[port] > within.get(port, 0.0) and within.get(port, 0.0) < COVERED * expected
            for port in live & looked_back.keys()
        )

    def _read_gauges(self) -> None:
        read = self._tagged(self._plan.gauges)
        for row in self._profile.engine.rows():
            for signal, gauges in row.gauges.items():
                self._set(signal, _newest(self._gauge(read, gauge) for gauge in gauges))
            if row.capacity:
                ranks = (self._profile.engine.rank,) if self._profile.engine.rank and row.ranks else row.ranks
                series = read.get(queries.CAPACITY + row.capacity.label, ())
                shown = parse.capacities(series, self._engine_labels, row.capacity, ranks, self.tally, self._same)
                self._set(Signal.KV_CAPACITY_TOKENS, shown)

    def _gauge(self, read: Mapping[str, list[Sample]], gauge: Gauge) -> dict[PodKey, float]:
        shown = self._per_server(read, promql.tag_of(gauge.metric))
        if gauge.times is not None:
            factors = self._per_server(read, promql.tag_of(gauge.times))
            shown = {
                pod: {port: value * factors[pod][port] for port, value in servers.items()}
                for pod, servers in shown.items()
                if servers.keys() == factors.get(pod, {}).keys()
            }
        return {pod: value * gauge.metric.scale for pod, value in _combined(shown, gauge.across).items()}

    def _read_rates(self, totals: Mapping[str, set[PodKey]]) -> None:
        read = self._tagged(self._plan.rates)
        rates = {tag: _combined(self._per_server(read, tag)) for tag in read}
        for row in self._profile.engine.rows():
            unborn = self._unborn(row, totals.get(row.name, set()))
            for signal, metrics in row.rates.items():
                shown = _newest(self._rate(rates, metric) for metric in metrics)
                if signal in row.offer.signals:
                    shown |= {pod: 0.0 for pod in unborn if pod not in shown}
                self._set(signal, shown)
            for signal, means in row.means.items():
                self._set(signal, _newest(self._mean(rates, mean.total, mean.count) for mean in means))

    def _rate(self, rates: Mapping[str, dict[PodKey, float]], metric: Metric) -> dict[PodKey, float]:
        shown = self._covered(rates.get(promql.tag_of(metric), {}), metric)
        return {pod: value * metric.scale for pod, value in shown.items()}

    def _mean(self, rates: Mapping[str, dict[PodKey, float]], total: Metric, count: Metric) -> dict[PodKey, float]:
        counts = rates.get(promql.tag_of(count), {})
        grown = self._rate(rates, total)
        return {pod: growth / counts[pod] for pod, growth in grown.items() if counts.get(pod, 0.0) > 0}

    def _read_versions(self) -> None:
        """What only some versions have tells which one runs; samples of a counter are there before its rate is."""
        gauges = self._tagged(self._plan.gauges)
        for row in self._profile.engine.rows():
            for metric in row.evidence():
                shown = self._per_server(gauges, promql.tag_of(metric)).keys()
                for pod in shown or self._per_server(self._ages, queries.samples_tag(metric)).keys():
                    self._pods[pod].shown.add(metric)

    def _covered(self, shown: Mapping[PodKey, float], metric: Metric) -> dict[PodKey, float]:
        """Leave out pods on whose pages the family was missing for most of their time."""
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

    def _unborn(self, row: EngineMetrics, counted: set[PodKey]) -> set[PodKey]:
        """Pods that show no counters because they never had a request: engines that were idle at every scrape."""
        if not (row.begins_with_traffic or row.bare_at_start):
            return set()
        if row.bare_at_start:
            tags = (queries.samples_tag(metric) for metric in row.flows())
            counted = counted.union(*(self._per_server(self._ages, tag) for tag in tags))
        busiest = [
            _combined(self._per_server(self._ages, queries.busiest_tag(gauge.metric)))
            for signal in queries.LOADS
            for gauge in row.gauges.get(signal, ())
        ]
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
            for counter, metrics in row.totals.items():
                taken: set[PodKey] = set()
                for metric in metrics:
                    living = self._per_server(read, promql.tag_of(metric))
                    ended = self._per_server(read, queries.ended_tag(metric))
                    pods = living.keys() | ended.keys()
                    for pod in pods - taken:
                        total = self._total(pod, living.get(pod, {}), ended.get(pod, {}))
                        if total is not None:
                            self._pods[pod].counters[counter] = total * metric.scale
                    taken |= pods
                seen[row.name] |= taken
        return seen

    def _total(self, pod: PodKey, living: Mapping[str, float], ended: Mapping[str, float]) -> float | None:
        """The last values of a pod that is gone; of one that answers only what it shows now."""
        answers = self._pods[pod].age <= self._profile.fresh_seconds
        if not answers:
            return sum({**ended, **living}.values())
        return sum(living.values()) if living and living.keys() == ended.keys() else None

    def _read_histograms(self) -> None:
        for kind, group in self._plan.histograms:
            read = self._tagged(group)
            for row in self._profile.engine.rows():
                for pod, histogram in _newest(
                    self._histogram(read, base) for base in row.histograms.get(kind, ())
                ).items():
                    self._pods[pod].histograms[kind] = histogram

    def _stand_in(self) -> None:
        """Where an engine has no time per output token of requests, its times between tokens, as many as requests."""
        for pod in self._pods.values():
            requests = pod.values.get(Signal.FINISHED_PER_SECOND, 0.0)
            tokens = pod.histograms.get(LatencyKind.INTER_TOKEN)
            if LatencyKind.TIME_PER_OUTPUT_TOKEN in pod.histograms or tokens is None:
                continue
            if requests > 0 and tokens.cumulative[-1] > 0:
                share = requests / tokens.cumulative[-1]
                spread = Histogram(tokens.edges, tuple(rate * share for rate in tokens.cumulative))
                pod.histograms[LatencyKind.TIME_PER_OUTPUT_TOKEN], pod.per_token = spread, True

    def _histogram(self, read: Mapping[str, list[Sample]], base: Metric) -> dict[PodKey, Histogram]:
        series = read.get(promql.tag_of(base), ())
        by_pod = parse.histograms(series, self._engine_labels, base.scale, self.tally, self._same)
        covered = self._covered(dict.fromkeys(by_pod, 0.0), part_of(base, "_count"))
        return {pod: by_pod[pod] for pod in covered}

    def _read_gpu(self) -> None:
        """In the units of the signals already: metrics of several units were chosen from."""
        read, labels = self._tagged(self._plan.gpu), self._gpu_labels
        use = parse.by_pod(read.get(promql.tag_of(gpus.UTILIZATION), ()), labels, self.tally)
        self._set(Signal.GPU_UTILIZATION, use)
        drawn = read.get(promql.tag_of(gpus.POWER), ())
        self._set(Signal.POWER_WATTS, gpus.shared_power(drawn, self._profile.gpu, labels, self.tally))
        for pod, age in parse.by_pod(read.get(gpus.AGE, ()), labels, self.tally).items():
            self._pods[pod].gpu_age = max(0.0, age)

    def _set(self, signal: Signal, shown: Mapping[PodKey, float]) -> None:
        for pod, value in shown.items():
            self._pods[pod].values[signal] = value

    def _finished(self, key: PodKey, pod: _Pod) -> PodMetrics:
        """A pod with engine series is as old as those; one that only a GPU exporter knows is as old as its figures.

        While one of a pod's servers reports nothing, the others' figures do not tell the pod's load: they are left out.
        """
        age = pod.age if math.isfinite(pod.age) else pod.gpu_age
        age = min(age, self._profile.lookback_seconds)  # older series are not looked for
        halved = key in self._halved
        release = _release(pod)
        assembled = PodMetrics(
            key,
            age,
            {} if halved else pod.values,
            pod.counters,
            {} if halved else pod.histograms,
            pod.engine,
            release.versions,
            release.lacks - {*pod.values, *pod.histograms, *pod.counters},
            pod.per_token,
        )
        kept, left_out = plausible(assembled)
        self.tally.implausible += left_out
        return kept

    def _gateways(self, read: Mapping[str, list[Sample]]) -> frozenset[str]:
        label = self._profile.gateway.labels.namespace
        shown = (sample.labels.get(label, "") for sample in read.get(queries.GATEWAY_PRESENCE, ()))
        return frozenset(namespace for namespace in shown if namespace)

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


def _release(pod: _Pod) -> PageRelease:
    """Of what version a pod can be; of one that only a GPU exporter knows nothing is known."""
    row = ENGINES.get(pod.engine)
    if row is None or not row.versions:
        return PageRelease("", frozenset())
    flows = (Signal.RUNNING, Signal.GENERATION_TOKENS_PER_SECOND, Signal.FINISHED_PER_SECOND)
    works = any(pod.values.get(signal, 0.0) > 0 for signal in flows)
    return row.release(frozenset(pod.shown & row.evidence()), works=works)


def _newest(alternatives: Iterable[Mapping[PodKey, Figure]]) -> dict[PodKey, Figure]:
    """Of each pod the first of several families that it shows."""
    chosen: dict[PodKey, Figure] = {}
    for shown in alternatives:
        chosen |= {pod: value for pod, value in shown.items() if pod not in chosen}
    return chosen


def _combined(shown: Mapping[PodKey, Mapping[str, float]], across: Across = Across.SUM) -> dict[PodKey, float]:
    """The figure of a pod from those of its servers."""
    return {
        pod: sum(servers.values()) / (len(servers) if across is Across.MEAN else 1) for pod, servers in shown.items()
    }


def _labels(names: SeriesLabels) -> PodLabels:
    return PodLabels(names.namespace, names.pod)
