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

from collections.abc import Sequence
from dataclasses import dataclass

from pertoken.adapters.prometheus import gateway, gpus
from pertoken.adapters.prometheus.engines import Across, EngineMetrics, Metric
from pertoken.adapters.prometheus.engines.model import part_of
from pertoken.adapters.prometheus.profile import MetricsProfile, SeriesLabels
from pertoken.adapters.prometheus.promql import (
    INSTANCE,
    JOB,
    Query,
    duration,
    extra,
    live,
    name_here,
    pod_labels,
    selector,
    tag_of,
    tagged,
    union,
)
from pertoken.domain.signal import LatencyKind, Signal

AGE = "age"  # of an engine's samples: followed by ":" and the row's name
AGE_BEFORE = "age_before_it_vanished"
SAMPLES = "samples_in_window"
SAMPLES_BEFORE = "samples_in_lookback"
PROCESS = "process_started"
BUSIEST = "busiest"  # most that ran or waited at any scrape of the window
ENDED = "ended:"  # followed by the tag of a total: its last value within the look-back
CAPACITY = "capacity:"  # followed by the label that holds the figure
GATEWAY_QUEUE = "queue:"
GATEWAY_REFUSALS = "refusals:"
GATEWAY_PRESENCE = "gateway"
WAKE_SIGNAL = "wake_signal:"
LOADS = (Signal.RUNNING, Signal.WAITING)


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """All queries of one cycle by purpose; none where the profile has nothing to ask."""

    ages: tuple[Query, ...]
    gauges: tuple[Query, ...]
    rates: tuple[Query, ...]
    totals: tuple[Query, ...]
    histograms: tuple[tuple[LatencyKind, tuple[Query, ...]], ...]
    gpu: tuple[Query, ...]
    gateway: tuple[Query, ...]

    def queries(self) -> tuple[Query, ...]:
        """In the order of sending: the largest answers first."""
        rest = (self.rates, self.totals, self.gauges, self.ages, self.gpu, self.gateway)
        return tuple(query for group in (*(group for _, group in self.histograms), *rest) for query in group)


def plan(profile: MetricsProfile) -> QueryPlan:
    """The queries of every cycle with this profile."""
    rows = [row for row in profile.engine.rows() if row.presence]
    kinds = [kind for kind in LatencyKind if any(kind in row.histograms for row in rows)]
    return QueryPlan(
        ages=union("ages", [term for row in rows for term in _age_terms(profile, row)]),
        gauges=union("gauges", [term for row in rows for term in _gauge_terms(profile, row)]),
        rates=union("rates", [term for row in rows for term in _rate_terms(profile, row)]),
        totals=union("totals", [term for row in rows for term in _total_terms(profile, row)]),
        histograms=tuple((kind, _histogram(profile, rows, kind)) for kind in kinds),
        gpu=gpus.query(profile, required=not rows) if profile.gpu.enabled else (),
        gateway=_gateway(profile) if profile.gateway.enabled else (),
    )


def ended_tag(metric: Metric) -> str:
    """Under this tag a total comes back as it was last seen, exposed or not."""
    return ENDED + tag_of(metric)


def samples_tag(metric: Metric) -> str:
    """Under this tag comes back how many samples of a counter the window holds."""
    return f"{SAMPLES}:{tag_of(metric)}"


def age_tag(row: EngineMetrics) -> str:
    """The value of the label `signal` under which the age of an engine's pods comes back."""
    return f"{AGE}:{row.name}"


def busiest_tag(metric: Metric) -> str:
    """Under this tag comes back the highest value that a gauge had at any scrape of the window."""
    return f"{BUSIEST}:{tag_of(metric)}"


def _select(profile: MetricsProfile, metric: Metric) -> str:
    source = profile.engine
    matchers = [*metric.matchers, *extra(source.matchers)]
    if source.container:
        matchers.append((source.container_label, "=", source.container))
    return selector(name_here(source, metric.name), matchers)


def _exposed(profile: MetricsProfile, metric: Metric) -> str:
    series = _select(profile, metric)
    return f"{series} and {live(profile, series)}"


def _growing(profile: MetricsProfile, metric: Metric) -> str:
    series = _select(profile, metric)
    return f"rate({series}[{duration(profile.window_seconds)}]) and {live(profile, series)}"


def _server(labels: SeriesLabels, *more: str) -> str:
    return pod_labels(labels, INSTANCE, *more)


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
    shown, by = _select(profile, row.presence), _server(profile.engine.labels)
    window, lookback = duration(profile.window_seconds), duration(profile.lookback_seconds)
    step = duration(profile.scrape_seconds)
    # A pod is there as long as it shows anything; what it does not show is missing, signal by signal.
    known = [shown, *(_select(profile, metric) for metric in (*row.gauge_metrics(), *row.total_metrics()))]
    any_age = " or ".join(f"max by ({by}) (timestamp({series}))" for series in dict.fromkeys(known))
    flows = dict.fromkeys([*row.flows(), *(part_of(base, "_count") for base in row.histogram_metrics())])
    terms = [
        tagged(age_tag(row), f"time() - ({any_age})"),
        tagged(AGE_BEFORE, f"min by ({by}) (time() - max_over_time(timestamp({shown})[{lookback}:{step}]))"),
        tagged(SAMPLES, f"max by ({by}) (count_over_time({shown}[{window}]))"),
        tagged(SAMPLES_BEFORE, f"max by ({by}) (count_over_time({shown}[{lookback}]))"),
    ]
    # Two ports that show one process show one engine; not every engine tells when its process began.
    started = _select(profile, Metric("process_start_time_seconds"))
    terms.append(tagged(PROCESS, f"max by ({by}) ({started} and on ({by}) {shown})"))
    counted = {samples_tag(metric): _select(profile, metric) for metric in flows}
    terms += [tagged(tag, f"max by ({by}) (count_over_time({series}[{window}]))") for tag, series in counted.items()]
    if row.begins_with_traffic or row.bare_at_start:
        gauges = (gauge.metric for signal in LOADS for gauge in row.gauges.get(signal, ()))
        terms += [
            tagged(busiest_tag(gauge), f"max by ({by}) (max_over_time({_select(profile, gauge)}[{window}]))")
            for gauge in gauges
        ]
    return terms


def _gauge_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    source = profile.engine
    means = {gauge.metric for gauges in row.gauges.values() for gauge in gauges if gauge.across is Across.MEAN}
    terms = [
        tagged(
            tag_of(metric), _folded(profile, row, _exposed(profile, metric), Across.MEAN if metric in means else "sum")
        )
        for metric in row.gauge_metrics()
    ]
    if row.capacity:
        ranks = (source.rank,) if source.rank and row.ranks else row.ranks
        unique = _server(source.labels, *ranks, row.capacity.label, *row.capacity.factors)
        exposed = _exposed(profile, Metric(row.capacity.name))
        terms.append(tagged(CAPACITY + row.capacity.label, f"max by ({unique}) ({exposed})"))
    return terms


def _rate_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    return [tagged(tag_of(metric), _folded(profile, row, _growing(profile, metric))) for metric in row.flows()]


def _total_terms(profile: MetricsProfile, row: EngineMetrics) -> list[str]:
    """Living series apart from ended ones: a restarted engine's small totals must not hide behind its predecessor's."""
    lookback = duration(profile.lookback_seconds)
    terms = []
    for metric in row.total_metrics():
        ended = f"last_over_time({_select(profile, metric)}[{lookback}])"
        terms.append(tagged(tag_of(metric), _folded(profile, row, _exposed(profile, metric))))
        terms.append(tagged(ended_tag(metric), _folded(profile, row, ended)))
    return terms


def _histogram(profile: MetricsProfile, rows: Sequence[EngineMetrics], kind: LatencyKind) -> tuple[Query, ...]:
    terms = [
        tagged(tag_of(metric), _folded(profile, row, _growing(profile, part_of(metric, "_bucket")), le="le"))
        for row in rows
        for metric in row.histograms.get(kind, ())
    ]
    return union(f"{kind} histogram", terms)


def _gateway(profile: MetricsProfile) -> tuple[Query, ...]:
    source, window = profile.gateway, duration(profile.window_seconds)
    by = f"{source.labels.namespace}, {source.model}"
    unique = pod_labels(source.labels, source.model, *gateway.LABELS)
    matchers = extra(source.matchers)
    refused = [*matchers, gateway.REFUSED]
    held = {name: selector(name, matchers) for name in source.queue}
    terms = [
        tagged(GATEWAY_QUEUE + name, f"sum by ({by}) (max by ({unique}) ({series} and {live(profile, series)}))")
        for name, series in held.items()
    ]
    terms += [
        tagged(
            GATEWAY_REFUSALS + name,
            f"sum by ({by}) (max by ({unique}, outcome) (rate({selector(name, refused)}[{window}]) "
            f"and {live(profile, selector(name, refused))}))",
        )
        for name in source.refusals
    ]
    present = (selector(name, matchers) for name in source.presence)
    terms += [
        tagged(GATEWAY_PRESENCE, f"max by ({source.labels.namespace}) ({series} and {live(profile, series)})")
        for series in present
    ]
    for name, metric in source.signals:
        series = selector(metric, matchers)
        terms.append(
            tagged(WAKE_SIGNAL + name, f"sum by ({by}) (max by ({unique}) ({series} and {live(profile, series)}))")
        )
    return union("gateway", terms, required=False)
