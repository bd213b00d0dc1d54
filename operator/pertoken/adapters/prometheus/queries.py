"""PromQL of one cycle, built from a profile. Pure; the number of queries never depends on the number of services.

Each query is a union (``or``) of small expressions of the same shape, told apart by the label ``signal``. All of them
aggregate to one series per pod on the server. Copies of a series (two jobs on one pod, a pair of Prometheus servers)
are folded with ``max`` before different ranks are added with ``sum``. Only functions that Prometheus 2.42 and 3.x
evaluate alike are used, and no matcher on ``le``, whose spelling differs between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pertoken.adapters.prometheus import engines
from pertoken.adapters.prometheus.engines import EngineMetrics, Metric
from pertoken.adapters.prometheus.profile import EngineSource, Matcher, MetricsProfile, SeriesLabels
from pertoken.domain.signal import LatencyKind

TAG = "signal"
AGE = "age"  # of an engine's samples: followed by ":" and the row's name
AGE_BEFORE = "age_before_it_vanished"
SAMPLES = "samples_in_window"
SAMPLES_BEFORE = "samples_in_lookback"
CAPACITY = "capacity:"  # followed by the label that holds the figure
GATEWAY_QUEUE = "queue:"
GATEWAY_REFUSALS = "refusals:"

_BARE_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


@dataclass(frozen=True, slots=True)
class Query:
    """One instant query.

    Attributes:
        name: what it is about, for messages.
        required: without its answer the whole profile counts as not answered.
    """

    name: str
    promql: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """All queries of one cycle by purpose; None where the profile has nothing to ask."""

    ages: Query | None
    gauges: Query | None
    rates: Query | None
    totals: Query | None
    histograms: tuple[tuple[LatencyKind, Query], ...]
    gpu: Query | None
    gateway: Query | None

    def queries(self) -> tuple[Query, ...]:
        """In the order of sending: the largest answers first."""
        rest = (self.rates, self.totals, self.gauges, self.ages, self.gpu, self.gateway)
        return (*(query for _, query in self.histograms), *(query for query in rest if query))


def plan(profile: MetricsProfile) -> Plan:
    """The queries of every cycle with this profile."""
    rows = [row for row in profile.engine.rows() if row.presence]
    kinds = [kind for kind in LatencyKind if any(kind in row.histograms for row in rows)]
    return Plan(
        ages=_query("ages", [term for row in rows for term in _age_terms(profile, row)]),
        gauges=_query("gauges", [term for row in rows for term in _gauge_terms(profile, row)]),
        rates=_query("rates", [term for row in rows for term in _rate_terms(profile, row)]),
        totals=_query("totals", [term for row in rows for term in _total_terms(profile, row)]),
        histograms=tuple((kind, _histogram(profile, rows, kind)) for kind in kinds),
        gpu=_gpu(profile, required=not rows) if profile.gpu.enabled else None,
        gateway=_gateway(profile) if profile.gateway.enabled else None,
    )


def tag_of(metric: Metric) -> str:
    """The value of the label `signal` under which a metric's figure comes back."""
    return metric.name + "".join(f"[{label}{operator}{value}]" for label, operator, value in metric.matchers)


def age_tag(row: EngineMetrics) -> str:
    """The value of the label `signal` under which the age of an engine's pods comes back."""
    return f"{AGE}:{row.name}"


def quote(text: str) -> str:
    """A PromQL string literal that means exactly `text`."""
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'


def duration(seconds: float) -> str:
    """A PromQL duration, to the millisecond."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def selector(name: str, matchers: Iterable[tuple[str, str, str]]) -> str:
    """An instant selector; names outside the classic alphabet go through ``__name__``."""
    parts = [f"{label}{operator}{quote(value)}" for label, operator, value in matchers]
    if _BARE_NAME.fullmatch(name):
        return name + ("{" + ",".join(parts) + "}" if parts else "")
    return "{" + ",".join([f"__name__={quote(name)}", *parts]) + "}"


def _query(name: str, terms: Sequence[str], *, required: bool = True) -> Query | None:
    return Query(name, "\nor\n".join(terms), required) if terms else None


def _tagged(tag: str, expression: str) -> str:
    return f'label_replace({expression}, "{TAG}", {quote(tag.replace("$", "$$"))}, "", "")'


def _select(source: EngineSource, metric: Metric, suffix: str = "") -> str:
    renamed = dict(source.renamed)
    name = renamed.get(metric.name + suffix, renamed.get(metric.name, metric.name) + suffix)
    matchers = [*metric.matchers, *_extra(source.matchers)]
    if source.container:
        matchers.append((source.container_label, "=", source.container))
    return selector(name, matchers)


def _extra(matchers: Iterable[Matcher]) -> list[tuple[str, str, str]]:
    return [(matcher.label, matcher.operator, matcher.value) for matcher in matchers]


def _pod(labels: SeriesLabels, *more: str) -> str:
    return ", ".join(dict.fromkeys((labels.namespace, labels.pod, *more)))


def _unique(source: EngineSource, row: EngineMetrics, metric: Metric, *more: str) -> str:
    """The labels that tell true series apart; whatever else differs makes copies."""
    ranks = (source.rank,) if source.rank and row.ranks else row.ranks
    return _pod(source.labels, *ranks, *metric.dimensions, *more)


def _age_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    """Age of the newest sample, and how many samples the window and the look-back hold.

    A failed scrape ends the series at once (staleness marker), so the age of a pod that stopped answering is read
    back from where its series still stood, at steps of one scrape.
    """
    if row.presence is None:
        return []
    series, by = _select(profile.engine, row.presence), _pod(profile.engine.labels)
    window, lookback = duration(profile.window_seconds), duration(profile.lookback_seconds)
    step = duration(profile.scrape_seconds)
    return [
        _tagged(age_tag(row), f"min by ({by}) (time() - timestamp({series}))"),
        _tagged(AGE_BEFORE, f"min by ({by}) (time() - max_over_time(timestamp({series})[{lookback}:{step}]))"),
        _tagged(SAMPLES, f"max by ({by}) (count_over_time({series}[{window}]))"),
        _tagged(SAMPLES_BEFORE, f"max by ({by}) (count_over_time({series}[{lookback}]))"),
    ]


def _gauge_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    source, by = profile.engine, _pod(profile.engine.labels)
    terms = [
        _tagged(
            tag_of(gauge.metric),
            f"{gauge.across} by ({by}) (max by ({_unique(source, row, gauge.metric)}) "
            f"({_select(source, gauge.metric)}))",
        )
        for gauge in row.gauges.values()
    ]
    if row.capacity:
        info = Metric(row.capacity.name)
        unique = _unique(source, row, info, row.capacity.label)
        terms.append(_tagged(CAPACITY + row.capacity.label, f"max by ({unique}) ({_select(source, info)})"))
    return terms


def _rate_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    metrics = [*row.rates.values()]
    for mean in row.means.values():
        metrics += [mean.total, mean.count]
    source, by, window = profile.engine, _pod(profile.engine.labels), duration(profile.window_seconds)
    return [
        _tagged(
            tag_of(metric),
            f"sum by ({by}) (max by ({_unique(source, row, metric)}) (rate({_select(source, metric)}[{window}])))",
        )
        for metric in dict.fromkeys(metrics)
    ]


def _total_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    """The living series first: a restarted engine's small totals must not hide behind its predecessor's."""
    source, by, lookback = profile.engine, _pod(profile.engine.labels), duration(profile.lookback_seconds)
    terms = []
    for metric in dict.fromkeys(row.totals.values()):
        unique, series = _unique(source, row, metric), _select(source, metric)
        latest = f"max by ({unique}) ({series}) or max by ({unique}) (last_over_time({series}[{lookback}]))"
        terms.append(_tagged(tag_of(metric), f"sum by ({by}) ({latest})"))
    return terms


def _histogram(profile: MetricsProfile, rows: Sequence[EngineMetrics], kind: LatencyKind) -> Query:
    source, window = profile.engine, duration(profile.window_seconds)
    terms = []
    for row in rows:
        if kind not in row.histograms:
            continue
        metric = row.histograms[kind]
        buckets = f"rate({_select(source, metric, '_bucket')}[{window}])"
        summed = f"sum by ({_pod(source.labels, 'le')}) (max by ({_unique(source, row, metric, 'le')}) ({buckets}))"
        terms.append(_tagged(tag_of(metric), summed))
    return Query(f"{kind} histogram", "\nor\n".join(terms))


def _gpu(profile: MetricsProfile, *, required: bool) -> Query | None:
    source, window = profile.gpu, duration(profile.window_seconds)
    by, unique = _pod(source.labels), _pod(source.labels, *engines.GPU_LABELS)
    matchers = [*_extra(source.matchers), (source.labels.pod, "!=", "")]  # idle GPUs belong to no pod

    def over_gpus(metric: Metric, across: str) -> str:
        series = f"avg_over_time({selector(metric.name, matchers)}[{window}])"
        return _tagged(tag_of(metric), f"{across} by ({by}) (max by ({unique}) ({series}))")

    terms = [over_gpus(metric, "avg") for metric in engines.GPU_UTILIZATION]
    terms.append(over_gpus(engines.GPU_POWER, "sum"))
    terms += [
        _tagged(AGE, f"min by ({by}) (time() - timestamp({selector(metric.name, matchers)}))")
        for metric in engines.GPU_UTILIZATION[:1]
    ]
    return _query("GPU", terms, required=required)


def _gateway(profile: MetricsProfile) -> Query | None:
    source, window = profile.gateway, duration(profile.window_seconds)
    by = f"{source.labels.namespace}, {source.model}"
    unique = _pod(source.labels, source.model, *engines.GATEWAY_LABELS)
    extra = _extra(source.matchers)
    refused = [*extra, engines.GATEWAY_REFUSED]
    terms = [
        _tagged(GATEWAY_QUEUE + name, f"sum by ({by}) (max by ({unique}) ({selector(name, extra)}))")
        for name in source.queue
    ]
    terms += [
        _tagged(
            GATEWAY_REFUSALS + name,
            f"sum by ({by}) (max by ({unique}, outcome) (rate({selector(name, refused)}[{window}])))",
        )
        for name in source.refusals
    ]
    return _query("gateway", terms, required=False)
