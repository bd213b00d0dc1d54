"""PromQL of one cycle, built from a profile. Pure; the number of queries never depends on the number of services.

Each query is a union (``or``) of small expressions of the same shape, told apart by the label ``signal``. All of them
aggregate to one series per server (pod and instance) on the server side.

Two series are copies when the same page was scraped twice: they differ in labels of the scrape (job, replica of
Prometheus) and stand under the same instance. So the series of one scrape add up, and the highest of several scrapes of
one instance counts. Only what is exposed now is read: a rate goes on for a window after its family has left the page,
with falling values, whereas the instant selector is empty at once; and a sample that an exporter stamped too long ago
is stale. Only functions that Prometheus 2.42 and 3.x evaluate alike are used, and no matcher on ``le``, whose spelling
differs between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pertoken.adapters.prometheus import engines
from pertoken.adapters.prometheus.engines import EngineMetrics, Metric
from pertoken.adapters.prometheus.profile import EngineSource, Matcher, MetricsProfile, SeriesLabels
from pertoken.domain.signal import LatencyKind, Signal

TAG = "signal"
AGE = "age"  # of an engine's samples: followed by ":" and the row's name
AGE_BEFORE = "age_before_it_vanished"
SAMPLES = "samples_in_window"
SAMPLES_BEFORE = "samples_in_lookback"
BUSIEST = "busiest"  # most that ran or waited at any scrape of the window
ENDED = "ended:"  # followed by the tag of a total: its last value within the look-back
CAPACITY = "capacity:"  # followed by the label that holds the figure
INSTANCE = "instance"
JOB = "job"
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
class QueryPlan:
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


def plan(profile: MetricsProfile) -> QueryPlan:
    """The queries of every cycle with this profile."""
    rows = [row for row in profile.engine.rows() if row.presence]
    kinds = [kind for kind in LatencyKind if any(kind in row.histograms for row in rows)]
    return QueryPlan(
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


def ended_tag(metric: Metric) -> str:
    """Under this tag a total comes back as it was last seen, exposed or not."""
    return ENDED + tag_of(metric)


def samples_tag(metric: Metric) -> str:
    """Under this tag comes back how many samples of a counter the window holds."""
    return f"{SAMPLES}:{tag_of(metric)}"


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


def _server(labels: SeriesLabels, *more: str) -> str:
    return _pod(labels, INSTANCE, *more)


def _live(profile: MetricsProfile, series: str) -> str:
    """Which series are exposed now, with fresh samples; for the right side of ``and``."""
    return f"timestamp({series}) >= (time() - {profile.fresh_seconds:g})"


def _folded(profile: MetricsProfile, row: EngineMetrics, expression: str, across: str = "sum", le: str = "") -> str:
    """One figure per server: parts of one page combined, copies counted once."""
    source, edges = profile.engine, (le,) if le else ()
    once = f"max without ({', '.join(row.copies)}) ({expression})" if row.copies else expression
    scrape = _server(source.labels, JOB, *source.replica_labels, *edges)
    return f"max by ({_server(source.labels, *edges)}) ({across} by ({scrape}) ({once}))"


def _age_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    """Age of the newest sample, and how many samples the window and the look-back hold.

    A failed scrape ends the series at once (staleness marker), so the age of a pod that stopped answering is read
    back from where its series still stood, at steps of one scrape.
    """
    if row.presence is None:
        return []
    shown, by = _select(profile.engine, row.presence), _server(profile.engine.labels)
    window, lookback = duration(profile.window_seconds), duration(profile.lookback_seconds)
    step = duration(profile.scrape_seconds)
    # A pod is there as long as it shows anything; what it does not show is missing, signal by signal.
    known = [*(gauge.metric for gauge in row.gauges.values()), *row.totals.values()]
    any_age = " or ".join(
        f"max by ({by}) (timestamp({series}))"
        for series in dict.fromkeys([shown, *(_select(profile.engine, metric) for metric in known)])
    )
    flows = dict.fromkeys([*_flows(row), *(Metric(f"{base.name}_count") for base in row.histograms.values())])
    busiest = [row.gauges[signal].metric for signal in (Signal.RUNNING, Signal.WAITING) if signal in row.gauges]
    terms = [
        _tagged(age_tag(row), f"time() - ({any_age})"),
        _tagged(AGE_BEFORE, f"min by ({by}) (time() - max_over_time(timestamp({shown})[{lookback}:{step}]))"),
        _tagged(SAMPLES, f"max by ({by}) (count_over_time({shown}[{window}]))"),
        _tagged(SAMPLES_BEFORE, f"max by ({by}) (count_over_time({shown}[{lookback}]))"),
    ]
    terms += [
        _tagged(samples_tag(metric), f"max by ({by}) (count_over_time({_select(profile.engine, metric)}[{window}]))")
        for metric in flows
    ]
    if row.begins_with_traffic:
        terms += [
            _tagged(
                f"{BUSIEST}:{tag_of(metric)}",
                f"max by ({by}) (max_over_time({_select(profile.engine, metric)}[{window}]))",
            )
            for metric in busiest
        ]
    return terms


def _flows(row: EngineMetrics) -> list[Metric]:
    """Counters of which the growth is read."""
    return [*row.rates.values(), *(part for mean in row.means.values() for part in (mean.total, mean.count))]


def _gauge_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    source = profile.engine
    terms = []
    for gauge in row.gauges.values():
        series = _select(source, gauge.metric)
        shown = _folded(profile, row, f"{series} and {_live(profile, series)}", gauge.across)
        terms.append(_tagged(tag_of(gauge.metric), shown))
    if row.capacity:
        series = _select(source, Metric(row.capacity.name))
        ranks = (source.rank,) if source.rank and row.ranks else row.ranks
        unique = _server(source.labels, *ranks, row.capacity.label, *row.capacity.factors)
        terms.append(
            _tagged(CAPACITY + row.capacity.label, f"max by ({unique}) ({series} and {_live(profile, series)})")
        )
    return terms


def _rate_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    window = duration(profile.window_seconds)
    terms = []
    for metric in dict.fromkeys(_flows(row)):
        series = _select(profile.engine, metric)
        terms.append(
            _tagged(tag_of(metric), _folded(profile, row, f"rate({series}[{window}]) and {_live(profile, series)}"))
        )
    return terms


def _total_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    """Living series apart from ended ones: a restarted engine's small totals must not hide behind its predecessor's."""
    lookback = duration(profile.lookback_seconds)
    terms = []
    for metric in dict.fromkeys(row.totals.values()):
        series = _select(profile.engine, metric)
        terms.append(_tagged(tag_of(metric), _folded(profile, row, f"{series} and {_live(profile, series)}")))
        terms.append(_tagged(ended_tag(metric), _folded(profile, row, f"last_over_time({series}[{lookback}])")))
    return terms


def _histogram(profile: MetricsProfile, rows: Sequence[EngineMetrics], kind: LatencyKind) -> Query:
    window = duration(profile.window_seconds)
    terms = []
    for row in rows:
        if kind not in row.histograms:
            continue
        metric = row.histograms[kind]
        series = _select(profile.engine, metric, "_bucket")
        buckets = f"rate({series}[{window}]) and {_live(profile, series)}"
        terms.append(_tagged(tag_of(metric), _folded(profile, row, buckets, le="le")))
    return Query(f"{kind} histogram", "\nor\n".join(terms))


def _gpu(profile: MetricsProfile, *, required: bool) -> Query | None:
    """Utilization per GPU or MIG instance by the metric that can be right there, then over a pod's instances."""
    source, window = profile.gpu, duration(profile.window_seconds)
    by = _pod(source.labels)
    unique, device = _pod(source.labels, engines.GPU, engines.GPU_INSTANCE), _pod(source.labels, engines.GPU)
    matchers = [*_extra(source.matchers), (source.labels.pod, "!=", "")]  # idle GPUs belong to no pod

    def mean(metric: Metric, *more: tuple[str, str, str]) -> str:
        series = selector(metric.name, [*matchers, *more])
        scaled = "" if metric.scale == 1.0 else f" * {metric.scale:g}"
        return f"(max by ({unique}) (avg_over_time({series}[{window}]) and {_live(profile, series)}){scaled})"

    whole = mean(engines.GPU_UTILIZATION, (engines.GPU_INSTANCE, "=", ""))
    active = mean(engines.GPU_ACTIVE)
    # A whole GPU's own figure counts unless the GPU is partitioned; where it is 0 the profiling metric is asked first.
    partitions = mean(engines.GPU_ACTIVE, (engines.GPU_INSTANCE, "!=", ""))
    utilization = (
        f"({whole} > 0 unless on ({device}) {partitions}) or {active} or ({whole} unless on ({device}) {active})"
    )
    families = (engines.GPU_UTILIZATION, engines.GPU_ACTIVE, engines.GPU_POWER)
    ages = " or ".join(f"max by ({by}) (timestamp({selector(metric.name, matchers)}))" for metric in families)
    terms = [
        _tagged(tag_of(engines.GPU_UTILIZATION), f"avg by ({by}) ({utilization})"),
        _tagged(tag_of(engines.GPU_POWER), f"sum by ({by}) ({mean(engines.GPU_POWER)})"),
        _tagged(AGE, f"time() - ({ages})"),
    ]
    return _query("GPU", terms, required=required)


def _gateway(profile: MetricsProfile) -> Query | None:
    source, window = profile.gateway, duration(profile.window_seconds)
    by = f"{source.labels.namespace}, {source.model}"
    unique = _pod(source.labels, source.model, *engines.GATEWAY_LABELS)
    extra = _extra(source.matchers)
    refused = [*extra, engines.GATEWAY_REFUSED]
    terms = [
        _tagged(
            GATEWAY_QUEUE + name,
            f"sum by ({by}) (max by ({unique}) ({selector(name, extra)} and {_live(profile, selector(name, extra))}))",
        )
        for name in source.queue
    ]
    terms += [
        _tagged(
            GATEWAY_REFUSALS + name,
            f"sum by ({by}) (max by ({unique}, outcome) (rate({selector(name, refused)}[{window}]) "
            f"and {_live(profile, selector(name, refused))}))",
        )
        for name in source.refusals
    ]
    return _query("gateway", terms, required=False)
