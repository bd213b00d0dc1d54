"""What a row of the engine table says: which metric families of which versions carry which signal.

Names and labels differ between engines and change between their versions; everything else in this package is
independent of them. A row says nothing about labels of the scrape (namespace, pod): those belong to the profile.

A signal has one or several families, the newest first: the first one that a pod shows is read. So a row reads every
version that it names without being told which one runs, pods of several versions side by side included.

Series of one metrics page are parts of a whole, whatever their labels say (rank, finish reason, ``is_streaming``,
priority, model, adapter): they add up, so that a label of tomorrow's version loses no traffic. Exceptions are data of
the row: labels that only tell repeated figures apart (`EngineMetrics.copies`), and a total beside its parts (matchers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pertoken.domain.metrics import Offer
from pertoken.domain.signal import GPU_SIGNALS, Counter, LatencyKind, Signal

Told = Signal | Counter | LatencyKind


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of an engine.

    Attributes:
        name: metric name; of a histogram the base name, without ``_bucket``.
        matchers: label, operator (``=``, ``!=``, ``=~``, ``!~``) and value that select the wanted series.
        scale: factor to the unit of the signal (1e-3 for milliseconds, 0.01 for percent).
        since: first version that exposes it; empty: every one.
        until: first version that exposes it no more; empty: none.
        imitated: a name that imitations alone have, and no version of the engine.
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    scale: float = 1.0
    since: str = ""
    until: str = ""
    imitated: bool = False

    def in_version(self, version: str) -> bool:
        """Whether this version exposes it."""
        if self.imitated:
            return False
        here = version_key(version)
        return not ((self.since and here < version_key(self.since)) or (self.until and here >= version_key(self.until)))


def version_key(version: str) -> tuple[int, ...]:
    """Versions in their order: ``0.9`` before ``0.10``, ``b4000`` before ``b5450``."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


class Across(StrEnum):
    """How the series of one pod combine to the pod's figure."""

    SUM = "sum"
    MEAN = "avg"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge: the metric and how its series of one pod combine.

    Attributes:
        times: a second gauge of the same server by which the first is multiplied.
    """

    metric: Metric
    across: Across = Across.SUM
    times: Metric | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The gauges that are asked for."""
        return (self.metric,) if self.times is None else (self.metric, self.times)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of events over the window: growth of one counter divided by growth of another."""

    total: Metric
    count: Metric


def mean_of(family: Metric) -> Mean:
    """The mean of a histogram family."""
    return Mean(part_of(family, "_sum"), part_of(family, "_count"))


def part_of(family: Metric, part: str) -> Metric:
    """``_sum`` or ``_count`` of a histogram family."""
    return Metric(family.name + part, family.matchers, family.scale, family.since, family.until)


@dataclass(frozen=True, slots=True)
class InfoLabel:
    """A number that an engine exposes in the labels of an info metric, per rank.

    Attributes:
        name: metric name.
        label: holds the number.
        factors: labels whose product is the number where `label` is not there.
    """

    name: str
    label: str
    factors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageRelease:
    """What a pod's page tells of its engine's version.

    Attributes:
        versions: in words: ``0.6 to 0.9``, ``0.16 or later``; empty where it can be any.
        lacks: what those versions, or this build, do not have.
    """

    versions: str
    lacks: frozenset[Told]


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What one engine exposes.

    Attributes:
        name: name of the row in profiles.
        source: where the names were read.
        versions: releases that the row was checked for, oldest first; `Metric.since` and `until` lie among them.
        ranks: labels that tell the engine processes of one pod apart (data-parallel ranks), for `capacity`.
        copies: labels whose values repeat the same figures (tensor-parallel ranks): the highest of them counts, once.
        presence: a gauge that a live engine always exposes; it dates the pod's samples. None: no engine metrics.
        rates: counters read as growth per second.
        histograms: base names of latency histograms (classic buckets).
        capacity: KV-cache tokens per rank in labels; engines with a gauge for it list it in `gauges`.
        sometimes: what not every build of a version has: emulators lack it, or it hangs on an option.
        rare: what begins with a rare event, so that a page without it says nothing of the version.
        begins_with_traffic: counters and histograms appear with the first request.
        bare_at_start: those of imitations do: a page without a single one is that of an engine that nobody asked yet.
    """

    name: str
    source: str
    versions: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    presence: Metric | None = None
    gauges: Mapping[Signal, tuple[Gauge, ...]] = field(default_factory=dict)
    rates: Mapping[Signal, tuple[Metric, ...]] = field(default_factory=dict)
    means: Mapping[Signal, tuple[Mean, ...]] = field(default_factory=dict)
    totals: Mapping[Counter, tuple[Metric, ...]] = field(default_factory=dict)
    histograms: Mapping[LatencyKind, tuple[Metric, ...]] = field(default_factory=dict)
    capacity: InfoLabel | None = None
    sometimes: frozenset[Signal | LatencyKind] = frozenset()
    rare: frozenset[Signal] = frozenset()
    begins_with_traffic: bool = False
    bare_at_start: bool = False

    @property
    def offer(self) -> Offer:
        """What a pod of this engine shows, always and ever. A mean is none always: without an event there is none."""
        signals = {*self.gauges, *self.rates}
        if self.capacity:
            signals.add(Signal.KV_CAPACITY_TOKENS)
        return Offer(
            frozenset(signal for signal in signals if self._always(signal)),
            frozenset(kind for kind in self.histograms if self._always(kind)),
            frozenset({*signals, *self.means}),
            frozenset(self.histograms),
            self.begins_with_traffic,
        )

    def _always(self, told: Signal | LatencyKind) -> bool:
        if told in self.sometimes or told in self.rare:
            return False
        return not self.versions or all(self.families(told, version) for version in self.versions)

    def families(self, told: Told, version: str) -> tuple[str, ...]:
        """Names of what carries a signal in one version, the one that is read first; empty where nothing does."""
        if told is Signal.KV_CAPACITY_TOKENS and self.capacity:
            return (f"{self.capacity.name}{{{self.capacity.label}}}",)
        return tuple(metric.name for metric in self._carriers(told) if metric.in_version(version))

    def _carriers(self, told: Told) -> Iterator[Metric]:
        if isinstance(told, Counter):
            yield from self.totals.get(told, ())
        elif isinstance(told, LatencyKind):
            yield from self.histograms.get(told, ())
        else:
            yield from (gauge.metric for gauge in self.gauges.get(told, ()))
            yield from self.rates.get(told, ())
            yield from (mean.total for mean in self.means.get(told, ()))

    def evidence(self) -> frozenset[Metric]:
        """Metrics of some versions only: which of them a pod shows tells its version."""
        families = (
            *self.gauge_metrics(),
            *self.flows(),
            *(part_of(base, "_count") for base in self.histogram_metrics()),
        )
        return frozenset(metric for metric in families if metric.since or metric.until)  # imitated ones have neither

    def release(self, shown: frozenset[Metric], *, works: bool) -> PageRelease:
        """Which versions a pod can be of.

        Args:
            shown: what of `evidence` it shows.
            works: requests are served, so that what its version has is there.
        """
        fitting = [version for version in self.versions if all(metric.in_version(version) for metric in shown)]
        imitation = False
        if works:
            doubtful = {_family(metric) for told in (*self.sometimes, *self.rare) for metric in self._carriers(told)}
            certain = {metric for metric in self.evidence() - shown if _family(metric) not in doubtful}
            whole = [version for version in fitting if not any(metric.in_version(version) for metric in certain)]
            imitation = not whole
            fitting = whole or fitting
        fitting = fitting or list(self.versions)
        lacks = {
            told
            for told in (*Signal, *Counter, *LatencyKind)
            if told not in GPU_SIGNALS
            and (
                not any(self.families(told, version) for version in fitting)
                or (works and told in self.sometimes)
                or (imitation and told not in self.rare and self._without(told, shown))
            )
        }
        return PageRelease(_span(fitting, self.versions), frozenset(lacks))

    def _without(self, told: Told, shown: frozenset[Metric]) -> bool:
        """Whether all that could carry it would be evidence, and none of it is shown."""
        families = {_family(metric) for metric in shown}
        carriers = [metric for metric in self._carriers(told) if not metric.imitated]
        return bool(carriers) and all(
            (metric.since or metric.until) and _family(metric) not in families for metric in carriers
        )

    def gauge_metrics(self) -> tuple[Metric, ...]:
        """Every gauge that is asked for, once."""
        return _once(metric for gauges in self.gauges.values() for gauge in gauges for metric in gauge.metrics)

    def total_metrics(self) -> tuple[Metric, ...]:
        """Every counter of which the total is asked for, once."""
        return _once(metric for metrics in self.totals.values() for metric in metrics)

    def flows(self) -> tuple[Metric, ...]:
        """Every counter of which the growth is read, once."""
        rates = [metric for metrics in self.rates.values() for metric in metrics]
        parts = [part for means in self.means.values() for mean in means for part in (mean.total, mean.count)]
        return _once([*rates, *parts])

    def histogram_metrics(self) -> tuple[Metric, ...]:
        """Every histogram family, once."""
        return _once(metric for metrics in self.histograms.values() for metric in metrics)


def _family(metric: Metric) -> str:
    return metric.name.removesuffix("_sum").removesuffix("_count")


def _span(fitting: Sequence[str], versions: Sequence[str]) -> str:
    first, last = fitting[0], fitting[-1]
    if len(fitting) == len(versions):
        return ""
    if first == last:
        return first
    return f"{first} or later" if last == versions[-1] else f"{first} to {last}"


def _once(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Without those that differ in nothing but the versions."""
    unique = {(metric.name, metric.matchers): metric for metric in reversed(list(metrics))}
    return tuple(reversed(unique.values()))
