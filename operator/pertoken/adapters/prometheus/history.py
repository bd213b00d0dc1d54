"""What a service did lately, out of Prometheus' range queries: traffic by step, and the replicas that served it.

Traffic is found by namespace and the label ``model_name`` (the served name), never by the names of pods. Replicas come
from kube-state-metrics; without it from pertoken's own gauges (it need only have watched, in mode Recommend); without
those, for a service with one variant, from the count of pods that answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from pertoken.adapters.prometheus.client import QuerySession, explain
from pertoken.adapters.prometheus.engines import ENGINES, EngineMetrics, Metric
from pertoken.adapters.prometheus.profile import REPLICA_LABELS, MetricsProfile
from pertoken.adapters.prometheus.promql import INSTANCE, JOB, duration, quote, selector
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.signal import Signal

MAX_POINTS: Final = 10_000  # below the 11,000 that Prometheus answers per series
LEAST_STEP: Final = 120.0  # two samples even of a scrape job that runs once a minute
DAY: Final = 86_400.0
MODEL_LABEL: Final = "model_name"
ANSWERED: Final = "pods that answered (starting ones are not seen)"
TRAFFIC: Final = (
    Signal.FINISHED_PER_SECOND,
    Signal.FINISHED_INPUT_TOKENS_PER_SECOND,
    Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND,
)
_KINDS: Final = {
    "Deployment": ("kube_deployment_status_replicas", "deployment"),
    "StatefulSet": ("kube_statefulset_status_replicas", "statefulset"),
    "ReplicaSet": ("kube_replicaset_status_replicas", "replicaset"),
}


class HistoryUnavailable(Exception):
    """Prometheus does not tell enough; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to look for.

    Attributes:
        service: namespace and name of the InferenceService.
        served_name: what engines call the model.
        engine: row of the engine table.
        workloads: by variant.
        days: how far back from now.
    """

    namespace: str
    service: str
    served_name: str
    engine: str
    workloads: Mapping[str, WorkloadRef]
    days: float


@dataclass(frozen=True, slots=True)
class ServedHistory:
    """One row per step.

    Attributes:
        starts: beginnings of the steps, seconds since the epoch.
        counts: finished requests, their input and their output tokens in each step.
        replicas: mean of each step, by variant.
        unknown: steps for which Prometheus had no traffic though replicas existed; they count as without traffic.
        held: steps for which it had no replica count; the one before stands (at the beginning the first known).
        source: where the replicas come from, in words.
    """

    starts: tuple[float, ...]
    counts: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    replicas: Mapping[str, tuple[float, ...]]
    unknown: int
    held: int
    source: str


def read_history(profile: MetricsProfile, asked: HistoryQuery, timeout: float = 120.0) -> ServedHistory:
    """Ask for the last `asked.days` days, in steps of two minutes or more.

    Raises:
        HistoryUnavailable: Prometheus does not answer, or not enough.
    """
    source = Ranges(profile, timeout)
    end = source.now()
    step = max(LEAST_STEP, math.ceil(asked.days * DAY / MAX_POINTS / 60.0) * 60.0)
    points = int(asked.days * DAY // step)
    if points < 2:
        raise HistoryUnavailable(f"--days {asked.days:g}: expected at least {2 * step / DAY:.4f}")
    moments = [end - step * (points - 1 - index) for index in range(points)]
    row = ENGINES[asked.engine]
    series = [source.values(traffic_query(row, asked, signal, step), moments, step) for signal in TRAFFIC]
    if not any(not math.isnan(value) and value > 0 for value in series[0]):
        raise HistoryUnavailable(
            f"no finished requests in {asked.days:g} days for {MODEL_LABEL}={asked.served_name!r} in namespace "
            f"{asked.namespace!r}; check model.servedName and the Prometheus url"
        )
    replicas, held, words = _replicas(source, asked, row, moments, step)
    first = next(index for index, value in enumerate(series[0]) if not math.isnan(value))
    shown = range(first, points)  # before that there was no record, which is not the same as no traffic
    unknown = sum(1 for i in shown if math.isnan(series[0][i]) and any(counts[i] > 0 for counts in replicas.values()))
    requests, inputs, outputs = (tuple(_zero(values[i]) for i in shown) for values in series)
    return ServedHistory(
        tuple(moments[i] - step for i in shown),
        (requests, inputs, outputs),
        {name: tuple(counts[i] for i in shown) for name, counts in replicas.items()},
        unknown,
        sum(1 for i in shown if i in held),
        words,
    )


def _zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _matched(metric: Metric, asked: HistoryQuery, row: EngineMetrics) -> str:
    matchers = [*metric.matchers, ("namespace", "=", asked.namespace)]
    if row.name in {"vllm", "sglang"}:
        matchers.append((MODEL_LABEL, "=", asked.served_name))
    return selector(metric.name, matchers)


def traffic_query(row: EngineMetrics, asked: HistoryQuery, signal: Signal, step: float) -> str:
    """PromQL of what a service finished in a step: all its servers, each scraped once or several times."""
    server = f"namespace, pod, {INSTANCE}"
    scrape = ", ".join((server, JOB, *REPLICA_LABELS))
    grown = (f"increase({_matched(metric, asked, row)}[{duration(step)}])" for metric in row.rates[signal])
    return f"sum({' or '.join(f'max by ({server}) (sum by ({scrape}) ({increase}))' for increase in grown)})"


def _replicas(
    source: Ranges, asked: HistoryQuery, row: EngineMetrics, moments: Sequence[float], step: float
) -> tuple[dict[str, list[float]], set[int], str]:
    """Replicas by the first source that knows every variant, the steps without a count, and the source's name."""
    for words, queries in _replica_queries(asked, row, step):
        counts = {name: source.values(query, moments, step) for name, query in queries.items()}
        if not all(any(not math.isnan(value) for value in values) for values in counts.values()):
            continue
        if words is ANSWERED:  # where no pod answered there was none; where a gauge is missing its value is unknown
            return {name: [_zero(value) for value in values] for name, values in counts.items()}, set(), words
        gaps = {i for values in counts.values() for i, value in enumerate(values) if math.isnan(value)}
        return {name: _filled(values) for name, values in counts.items()}, gaps, words
    raise HistoryUnavailable(
        f"no replica counts: neither kube-state-metrics nor pertoken_variant_current_replicas knows all of "
        f"{', '.join(sorted(asked.workloads))}; give a CSV instead"
    )


def _filled(values: Sequence[float]) -> list[float]:
    """Gaps take the value before them; those at the beginning the first one known."""
    last = next(value for value in values if not math.isnan(value))
    filled = []
    for value in values:
        last = last if math.isnan(value) else value
        filled.append(last)
    return filled


def _replica_queries(asked: HistoryQuery, row: EngineMetrics, step: float) -> Iterator[tuple[str, dict[str, str]]]:
    window = duration(step)
    kinds = {name: _KINDS.get(workload.kind) for name, workload in asked.workloads.items()}
    if all(kinds.values()):
        yield (
            "kube-state-metrics",
            {
                name: f"max(avg_over_time({selector(kind[0], _named(workload, kind[1]))}[{window}]))"
                for name, workload in asked.workloads.items()
                if (kind := kinds[name]) is not None
            },
        )
    own = f"namespace={quote(asked.namespace)}, service={quote(asked.service)}"
    gauge = "pertoken_variant_current_replicas"
    yield (
        "pertoken's own gauges",
        {name: f"max(avg_over_time({gauge}{{{own}, variant={quote(name)}}}[{window}]))" for name in asked.workloads},
    )
    if len(asked.workloads) == 1 and row.presence is not None:
        seen = f"max by (namespace, pod) (max_over_time({_matched(row.presence, asked, row)}[{window}]))"
        yield ANSWERED, dict.fromkeys(asked.workloads, f"count({seen})")


def _named(workload: WorkloadRef, label: str) -> list[tuple[str, str, str]]:
    return [("namespace", "=", workload.namespace), (label, "=", workload.name)]


def _at(samples: Sequence[Sequence[Any]], moments: Sequence[float], step: float) -> list[float]:
    by_moment = [math.nan] * len(moments)
    for moment, value in samples:
        index = round((float(moment) - moments[0]) / step)
        if 0 <= index < len(by_moment):
            by_moment[index] = float(value)
    return by_moment


class Ranges:
    """Range queries, one after the other; they are large."""

    def __init__(self, profile: MetricsProfile, timeout: float) -> None:
        self._profile = profile
        self._timeout = timeout
        session = QuerySession(profile)
        self._session = session
        self._connect = PrometheusConnect(
            url=profile.url.rstrip("/"), session=session, auth=session.auth, retry=Retry(0), method="POST"
        )

    def now(self) -> float:
        """Prometheus' own time, by which its samples are dated; this machine's clock may differ."""
        answer = self._ask(lambda: self._connect.custom_query("time()", timeout=self._limits()))
        try:
            return float(math.floor(float(answer[1])))
        except (IndexError, TypeError, ValueError, KeyError):
            raise HistoryUnavailable(f"{self._profile.url}: the answer is not that of a Prometheus query API") from None

    def values(self, query: str, moments: Sequence[float], step: float) -> list[float]:
        """One value per moment, NaN where there is none.

        Raises:
            HistoryUnavailable: no answer.
        """
        by_moment = [math.nan] * len(moments)
        for _, values in self.series(query, moments, step):
            by_moment = [old if math.isnan(new) else new for old, new in zip(by_moment, values, strict=True)]
        return by_moment

    def series(self, query: str, moments: Sequence[float], step: float) -> list[tuple[Mapping[str, str], list[float]]]:
        """Labels and one value per moment of each series, NaN where there is none.

        Raises:
            HistoryUnavailable: no answer.
        """
        start, end = (datetime.fromtimestamp(moments[i], UTC) for i in (0, -1))
        answer = self._ask(
            lambda: self._connect.custom_query_range(query, start, end, f"{step:g}", timeout=self._limits())
        )
        return [(series["metric"], _at(series["values"], moments, step)) for series in answer]

    def _limits(self) -> Any:
        return (self._profile.connect_seconds, self._timeout)

    def _ask(self, call: Any) -> Any:
        self._session.deadline = time.monotonic() + self._timeout
        try:
            return call()
        except Exception as error:  # whatever the library raises, in words
            raise HistoryUnavailable(f"{self._profile.url}: {explain(error, self._profile).why}") from error
