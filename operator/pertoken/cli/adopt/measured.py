"""What Prometheus tells of engines that run: their metrics' names, load and latency of the last hours, prices.

By the same queries and readers as the operator: a snapshot over minutes for what is now, one over hours for latencies
and lengths, range queries for load and replicas over time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from pertoken.adapters.prometheus.client import QueryClient
from pertoken.adapters.prometheus.engines import ENGINES, GENERIC
from pertoken.adapters.prometheus.history import MODEL_LABEL, HistoryQuery, HistoryUnavailable, read_history
from pertoken.adapters.prometheus.profile import GatewaySource, GpuSource, MetricsProfile
from pertoken.adapters.prometheus.promql import Query, selector
from pertoken.adapters.prometheus.source import PrometheusSource
from pertoken.calculators.savings import ServedLoad
from pertoken.cli.adopt.engines import MetricsSight
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot, PodMetrics
from pertoken.domain.signal import Histogram, LatencyKind, QuantileBounds, Signal
from pertoken.performance.histogram import merge, quantile
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

NAMES: Final = "model names"
NODE_PRICES: Final = "node prices"
PRICE_METRIC: Final = "node_gpu_hourly_cost"  # OpenCost, USD
TIMEOUT: Final = 60.0
LEAST_REQUESTS: Final = 20  # below which no objective is proposed: a percentile of fewer is chance


@dataclass(frozen=True, slots=True)
class Question:
    """Which pods a service has, and where its record stands in Prometheus.

    Attributes:
        engine: row of the engine table.
        workloads: by variant.
    """

    namespace: str
    service: str
    served_name: str
    engine: str
    pods: tuple[PodKey, ...]
    workloads: Mapping[str, WorkloadRef]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a service did lately; None where Prometheus does not tell.

    Attributes:
        percentile: of the latencies, in percent.
        ttft, inter_token: seconds, as bounds of the histogram's edges.
        rate: finished requests per second now.
        requests: finished in the hours; fewer than `LEAST_REQUESTS` propose nothing.
        input_tokens, output_tokens: of a mean request.
        cached_share: of prompt tokens.
        loads: by variant, in steps.
        hours: that the record of loads spans.
        release: versions of the engine by its metrics, in words.
        missing: why something is not known, one phrase each.
    """

    percentile: int = 95
    ttft: QuantileBounds | None = None
    inter_token: QuantileBounds | None = None
    rate: float | None = None
    requests: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_share: float = 0.0
    loads: Mapping[str, ServedLoad] = field(default_factory=dict)
    hours: float = 0.0
    release: str = ""
    missing: tuple[str, ...] = ()

    @property
    def enough(self) -> bool:
        """So many requests that their percentile and their price say something."""
        return self.requests is not None and self.requests >= LEAST_REQUESTS


class Meter:
    """Asks one Prometheus.

    Args:
        profile: where it is.
        hours: of load and latency that are read.
    """

    def __init__(self, profile: MetricsProfile, hours: float) -> None:
        engines = tuple(name for name in ENGINES if name != GENERIC.name)
        bare = replace(
            profile,
            engine=replace(profile.engine, engines=engines),
            gpu=GpuSource(enabled=False),
            gateway=GatewaySource(enabled=False),
            timeout_seconds=max(profile.timeout_seconds, TIMEOUT),
        )
        window = max(hours * SECONDS_PER_HOUR, bare.window_seconds)
        self.url = profile.url
        self.hours = hours
        self._profile = bare
        self._long = replace(bare, window_seconds=window, lookback_seconds=max(window, bare.lookback_seconds))

    def sight(self) -> tuple[MetricsSight, MetricsSnapshot]:
        """Engines and model names by pod, and what all pods tell now."""
        snapshot = _observed(self._profile)
        labels = self._profile.engine.labels
        named = [(MODEL_LABEL, "!=", "")]
        terms = [
            f"group by ({labels.namespace}, {labels.pod}, {MODEL_LABEL}) ({selector(row.presence.name, named)})"
            for row in ENGINES.values()
            if row.presence is not None
        ]
        shown = self._ask(Query(NAMES, " or ".join(terms)))
        names: dict[PodKey, str] = {}
        for series in shown:
            metric = series.get("metric") or {}
            if metric.get(labels.namespace) and metric.get(labels.pod):
                names.setdefault(PodKey(metric[labels.namespace], metric[labels.pod]), str(metric.get(MODEL_LABEL, "")))
        engines = {key: pod.engine for key, pod in snapshot.pods.items() if pod.engine}
        return MetricsSight(engines, names), snapshot

    def over_hours(self) -> MetricsSnapshot:
        """What all pods told over the hours: latencies and lengths, of pods that serve now."""
        return _observed(self._long)

    def node_prices(self) -> dict[str, Decimal]:
        """USD per GPU and hour by node, where OpenCost is scraped."""
        prices = {}
        for series in self._ask(Query(NODE_PRICES, f"max by (node) ({PRICE_METRIC} > 0)")):
            node = (series.get("metric") or {}).get("node")
            try:
                price = Decimal(str(series["value"][1]))
            except (KeyError, IndexError, ArithmeticError):
                continue
            if node and price.is_finite():
                prices[str(node)] = price
        return prices

    def history(self, question: Question) -> tuple[Mapping[str, ServedLoad], float, str]:
        """Load by variant, the hours of the record, and why there is none (empty if there is)."""
        asked = HistoryQuery(
            question.namespace,
            question.service,
            question.served_name,
            question.engine,
            question.workloads,
            self.hours / HOURS_PER_DAY,
        )
        try:
            record = read_history(self._profile, asked, TIMEOUT)
        except HistoryUnavailable as error:
            return {}, 0.0, str(error)
        step = record.starts[1] - record.starts[0] if len(record.starts) > 1 else 0.0
        if step <= 0:
            return {}, 0.0, "there is no record of several minutes yet"
        requests = record.counts[0]
        totals = [sum(counts) for counts in zip(*record.replicas.values(), strict=True)]
        loads = {}
        for name, replicas in record.replicas.items():
            # Traffic of a service is told as a whole: a variant's share is that of its replicas.
            shares = [own / total if total > 0 else 0.0 for own, total in zip(replicas, totals, strict=True)]
            rates = tuple(count * share / step for count, share in zip(requests, shares, strict=True))
            loads[name] = ServedLoad(rates, replicas, step)
        return loads, len(record.starts) * step / SECONDS_PER_HOUR, ""

    def _ask(self, query: Query) -> Sequence[Mapping[str, Any]]:
        client = QueryClient(self._profile)
        try:
            result = client.run([query]).results.get(query.name)
        finally:
            client.close()
        return [series for series in result if isinstance(series, Mapping)] if isinstance(result, list) else []


def _observed(profile: MetricsProfile) -> MetricsSnapshot:
    source = PrometheusSource(profile)
    try:
        return source.observe()
    finally:
        source.close()


def measure(meter: Meter, question: Question, now: MetricsSnapshot, lately: MetricsSnapshot) -> Measured:
    """One service."""
    if not now.health.ok:
        return Measured(missing=(now.health.why,))
    present = [now.pods[pod] for pod in question.pods if pod in now.pods]
    told = [lately.pods[pod] for pod in question.pods if pod in lately.pods] if lately.health.ok else []
    if not present and not told:
        return Measured(missing=(f"Prometheus {meter.url} has no series of its pods",))
    loads, hours, why = meter.history(question)
    seconds = lately.window_seconds
    finished = _sum(told, Signal.FINISHED_PER_SECOND)
    requests = None if finished is None else finished * seconds
    missing = [f"load over time: {why}"] if why else []
    prompt = _sum(told, Signal.PROMPT_TOKENS_PER_SECOND)
    cached = _sum(told, Signal.CACHED_PROMPT_TOKENS_PER_SECOND)
    measured = Measured(
        ttft=_quantile(told, (LatencyKind.TTFT,)),
        inter_token=_quantile(told, (LatencyKind.TIME_PER_OUTPUT_TOKEN, LatencyKind.INTER_TOKEN)),
        rate=_sum(present, Signal.FINISHED_PER_SECOND),
        requests=requests,
        input_tokens=_ratio(_sum(told, Signal.FINISHED_INPUT_TOKENS_PER_SECOND), finished),
        output_tokens=_ratio(_sum(told, Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND), finished),
        cached_share=min(1.0, cached / prompt) if cached and prompt else 0.0,
        loads=loads,
        hours=hours,
        release=next((pod.release for pod in told if pod.release), ""),
        missing=tuple(missing),
    )
    if measured.enough:
        return measured
    few = f"fewer than {LEAST_REQUESTS} requests finished in the last {meter.hours:g} h"
    return replace(measured, ttft=None, inter_token=None, missing=(*measured.missing, few))


def _sum(pods: Iterable[PodMetrics], signal: Signal) -> float | None:
    values = [value for pod in pods if (value := pod.values.get(signal)) is not None]
    return math.fsum(values) if values else None


def _ratio(total: float | None, count: float | None) -> float | None:
    return total / count if total is not None and count else None


def _quantile(pods: Sequence[PodMetrics], kinds: Sequence[LatencyKind]) -> QuantileBounds | None:
    """The 95th percentile of all pods together, by the first kind of histogram that they show."""
    for kind in kinds:
        parts: list[Histogram] = [shown for pod in pods if (shown := pod.histograms.get(kind)) is not None]
        whole = merge(parts)
        bounds = None if whole is None else quantile(whole, 0.95)
        if bounds is not None:
            return bounds
    return None
