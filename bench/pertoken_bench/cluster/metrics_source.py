"""The operator's `MetricsSource` over the simulated Prometheus: one metrics profile, as its adapter reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pertoken.adapters.prometheus.engines import VLLM
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken_bench.cluster.prometheus import PodSeries, Prometheus
from pertoken_bench.compiled_engine import layout as at

_RATES: Final[Mapping[Signal, int]] = {
    Signal.DECODING_SEQUENCES: at.S_BETWEEN,
    Signal.STEPS_PER_SECOND: at.N_STEPS,
    Signal.PROMPT_TOKENS_PER_SECOND: at.N_PROMPT,
    Signal.CACHED_PROMPT_TOKENS_PER_SECOND: at.N_CACHED,
    Signal.GENERATION_TOKENS_PER_SECOND: at.N_GENERATED,
    Signal.FINISHED_PER_SECOND: at.N_FINISHED,
    Signal.FINISHED_INPUT_TOKENS_PER_SECOND: at.N_FINISHED_IN,
    Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: at.N_FINISHED_OUT,
    Signal.PREEMPTIONS_PER_SECOND: at.N_PREEMPTED,
}
_MEANS: Final[Mapping[Signal, tuple[int, int]]] = {
    Signal.STEP_SECONDS: (at.S_BETWEEN, at.N_BETWEEN),
    Signal.TTFT_MEAN_SECONDS: (at.S_TTFT, at.N_FIRST),
    Signal.PREFILL_MEAN_SECONDS: (at.S_PREFILL, at.N_FIRST),
}
_TOTALS: Final[Mapping[Counter, int]] = {
    Counter.FINISHED_REQUESTS: at.N_FINISHED,
    Counter.FINISHED_INPUT_TOKENS: at.N_FINISHED_IN,
    Counter.FINISHED_OUTPUT_TOKENS: at.N_FINISHED_OUT,
    Counter.CACHED_INPUT_TOKENS: at.N_CACHED,
}


@dataclass(frozen=True, slots=True)
class SimulatedSource:
    """Implements `pertoken.ports.MetricsSource`."""

    prometheus: Prometheus
    profile: MetricsProfile

    def observe(self) -> MetricsSnapshot:
        """All pods' metrics now."""
        prometheus = self.prometheus
        told = (self._pod(service, series) for service, series in prometheus.series())
        services = {work.service.key: work.service for work in prometheus.cluster.workloads}
        queue = {
            (key.namespace, spec.model.served_name): prometheus.gateway_queue(key.name)
            for key, spec in services.items()
        }
        return MetricsSnapshot(
            MetricsHealth(ok=True),
            self.profile.window_seconds,
            self.profile.fresh_seconds,
            {metrics.pod: metrics for metrics in told if metrics is not None},
            queue,
            offers={VLLM.name: VLLM.offer},
        )

    def _pod(self, service: str, series: PodSeries) -> PodMetrics | None:
        prometheus = self.prometheus
        index = prometheus.latest_row(series)
        if index < 0 or prometheus.now - series.times[index] > self.profile.lookback_seconds:
            return None
        row = series.rows[index]
        values: dict[Signal, float] = {} if series.ended else self._gauges(series, index)
        histograms: dict[LatencyKind, Histogram] = {}
        rates = prometheus.rates(series, self.profile.window_seconds)
        if rates is not None:
            values |= {signal: float(rates[column - at.N_ARRIVED]) for signal, column in _RATES.items()}
            for signal, (total, count) in _MEANS.items():
                if rates[count - at.N_ARRIVED] > 0:
                    values[signal] = float(rates[total - at.N_ARRIVED] / rates[count - at.N_ARRIVED])
            histograms = {kind: prometheus.buckets(service, kind, rates) for kind in LatencyKind}
        return PodMetrics(
            PodKey(series.pod.workload.service.key.namespace, series.pod.name),
            prometheus.now - series.times[index],
            values,
            {counter: float(row[column - at.N_ARRIVED]) for counter, column in _TOTALS.items()},
            histograms,
            VLLM.name,
        )

    def _gauges(self, series: PodSeries, index: int) -> dict[Signal, float]:
        running, waiting, kv_usage, utilization, _ = series.gauges[index]
        blocks = self.prometheus.cluster.fleet.state.kinds[series.pod.workload.kind, at.K_BLOCKS]
        return {
            Signal.RUNNING: running,
            Signal.WAITING: waiting,
            Signal.KV_USAGE: kv_usage,
            Signal.KV_CAPACITY_TOKENS: float(blocks * at.BLOCK),
            Signal.GPU_UTILIZATION: utilization,
        }
