"""Answers of Prometheus to values. Pure. What is not a finite number is missing, never zero."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pertoken.adapters.prometheus.engines import InfoLabel
from pertoken.adapters.prometheus.plausible import MOST
from pertoken.adapters.prometheus.promql import INSTANCE, TAG
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Histogram

Value = TypeVar("Value")
Twins = Mapping[PodKey, Mapping[str, str]]  # of each server of a pod, the one that it is

NO_TWINS: Twins = {}
LONGEST = 64  # characters of a number
FLOAT_NOISE = 1e-6  # cumulative buckets may fall by this share of all events without meaning anything


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer with its value."""

    labels: Mapping[str, str]
    value: float

    @property
    def tag(self) -> str:
        """What the series is about."""
        return self.labels.get(TAG, "")


@dataclass(slots=True)
class Tally:
    """Series of one cycle that were left out, counted by reason while the answers are read."""

    not_a_number: int = 0
    malformed: int = 0
    without_pod: int = 0
    duplicates: int = 0
    bad_histograms: int = 0
    implausible: int = 0

    def __str__(self) -> str:
        words = {
            "not a number": self.not_a_number,
            "malformed": self.malformed,
            "without namespace or pod": self.without_pod,
            "duplicate": self.duplicates,
            "inconsistent histogram": self.bad_histograms,
            "implausible": self.implausible,
        }
        return ", ".join(f"{count} {word}" for word, count in words.items() if count)


@dataclass(frozen=True, slots=True)
class PodLabels:
    """Names of the labels that identify a pod in an answer."""

    namespace: str
    pod: str

    def of(self, sample: Sample, tally: Tally) -> PodKey | None:
        """The pod of a series: the exact label values, or nothing when one is absent or empty."""
        namespace, name = sample.labels.get(self.namespace, ""), sample.labels.get(self.pod, "")
        if namespace and name:
            return PodKey(namespace, name)
        tally.without_pod += 1
        return None


def number(text: object) -> float | None:
    """A finite float, or None for ``NaN``, ``+Inf``, words and anything else."""
    if not isinstance(text, str | int | float) or isinstance(text, bool):
        return None
    if isinstance(text, str) and len(text) > LONGEST:
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def samples(result: Any, tally: Tally) -> list[Sample]:
    """The usable series of an instant vector; the others are counted."""
    if not isinstance(result, list):
        tally.malformed += 1
        return []
    usable = []
    for series in result:
        match series:
            case {"metric": dict(labels), "value": [_, raw]} if all(isinstance(text, str) for text in labels.values()):
                value = number(raw)
                if value is None:
                    tally.not_a_number += 1
                else:
                    usable.append(Sample(labels, value))
            case _:
                tally.malformed += 1
    return usable


def by_tag(read: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Series grouped by what they are about."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in read:
        groups[sample.tag].append(sample)
    return dict(groups)


def by_pod(read: Iterable[Sample], labels: PodLabels, tally: Tally) -> dict[PodKey, float]:
    """One value per pod. Two series for one pod contradict each other: that pod's value is missing."""
    values: dict[PodKey, float] = {}
    doubled: set[PodKey] = set()
    for sample in read:
        pod = labels.of(sample, tally)
        if pod is None:
            continue
        if pod in values:
            doubled.add(pod)
            tally.duplicates += 1
        values[pod] = sample.value
    return {pod: value for pod, value in values.items() if pod not in doubled}


def server_of(labels: Mapping[str, str]) -> str:
    """What tells the servers of one pod apart: the port of the scraped address, empty where that has none.

    The host says nothing: one server may be scraped by its pod's address and by another name of it.
    """
    _, colon, port = labels.get(INSTANCE, "").rpartition(":")
    return port if colon and port.isdecimal() else ""


def twins(started: Mapping[PodKey, Mapping[str, float]]) -> Twins:
    """Servers of a pod that are one process under several ports: a proxy beside it passes its page on.

    Args:
        started: when the process behind each server began, exact to the clock tick; servers that do not tell are apart.
    """
    same: dict[PodKey, dict[str, str]] = {}
    for pod, servers in started.items():
        first: dict[float, str] = {}
        named = {port: first.setdefault(begun, port) for port, begun in sorted(servers.items())}
        if len(first) < len(named):
            same[pod] = named
    return same


def _server_here(sample: Sample, pod: PodKey, same: Twins) -> str:
    server = server_of(sample.labels)
    return same.get(pod, {}).get(server, server)


def by_server(
    read: Iterable[Sample], labels: PodLabels, tally: Tally, same: Twins = NO_TWINS
) -> dict[PodKey, dict[str, float]]:
    """One value per server of each pod; the same server under several addresses is one.

    Where some series carry a port and others none, those without are copies and left out.
    """
    readings: dict[PodKey, dict[str, float]] = defaultdict(dict)
    addresses: set[tuple[PodKey, str]] = set()
    doubled: set[PodKey] = set()
    for sample in read:
        pod = labels.of(sample, tally)
        if pod is None:
            continue
        address, server = sample.labels.get(INSTANCE, ""), _server_here(sample, pod, same)
        if (pod, address) in addresses:
            doubled.add(pod)
            tally.duplicates += 1
        addresses.add((pod, address))
        values = readings[pod]
        values[server] = max(values.get(server, sample.value), sample.value)
    return {pod: _with_ports(values) for pod, values in readings.items() if pod not in doubled}


def _with_ports(values: Mapping[str, Value]) -> dict[str, Value]:
    return {port: value for port, value in values.items() if port} or dict(values)


def by_model(read: Iterable[Sample], namespace: str, model: str, tally: Tally) -> dict[tuple[str, str], float]:
    """One value per (namespace, model), both labels present and exact."""
    keyed = PodLabels(namespace, model)
    return {(key.namespace, key.name): value for key, value in by_pod(read, keyed, tally).items()}


def capacities(
    read: Iterable[Sample],
    labels: PodLabels,
    info: InfoLabel,
    ranks: tuple[str, ...],
    tally: Tally,
    same: Twins = NO_TWINS,
) -> dict[PodKey, float]:
    """KV-cache tokens per pod: the figure in the labels, added over servers and ranks.

    A rank that shows two different figures, or one that is not a positive number, leaves its pod without a value.
    """
    per_server: dict[PodKey, dict[str, dict[tuple[str, ...], set[float | None]]]] = defaultdict(dict)
    for sample in read:
        pod = labels.of(sample, tally)
        if pod is None:
            continue
        rank = tuple(sample.labels.get(label, "") for label in ranks)
        shown = per_server[pod].setdefault(_server_here(sample, pod, same), {}).setdefault(rank, set())
        shown.add(_figure(sample.labels, info))
    totals: dict[PodKey, float] = {}
    for pod, servers in per_server.items():
        shown_by_rank = [figures for ranked in _with_ports(servers).values() for figures in ranked.values()]
        figures = [next(iter(values)) for values in shown_by_rank if len(values) == 1]
        if len(figures) < len(shown_by_rank):
            tally.duplicates += 1
            continue
        tokens = [tokens for tokens in figures if tokens is not None and 0 < tokens < MOST]
        if len(tokens) == len(shown_by_rank):
            totals[pod] = sum(tokens)
        else:
            tally.not_a_number += 1
    return totals


def _figure(labels: Mapping[str, str], info: InfoLabel) -> float | None:
    """The number itself, else the product of its factors."""
    whole = number(labels.get(info.label))
    if whole is not None or not info.factors:
        return whole
    factors = [number(labels.get(label)) for label in info.factors]
    known = [factor for factor in factors if factor is not None and factor > 0]
    return math.prod(known) if len(known) == len(factors) else None


def edge(text: object) -> float | None:
    """An upper bucket bound: ``1`` and ``1.0`` are the same, ``+Inf`` is infinite; None if it is no bound."""
    try:
        value = float(text) if isinstance(text, str) and len(text) <= LONGEST else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) or value == -math.inf else value


def histogram(buckets: Mapping[float, float]) -> Histogram | None:
    """A histogram of cumulative rates by upper edge.

    Falls within float noise are levelled upward; a real fall, a negative rate or a missing infinite edge means that
    the buckets do not belong together, and there is no histogram.
    """
    if math.inf not in buckets or any(rate > MOST for rate in buckets.values()):
        return None
    edges = tuple(sorted(buckets))
    total = buckets[math.inf]
    noise = FLOAT_NOISE * max(abs(total), *(abs(rate) for rate in buckets.values()))
    highest = 0.0
    levelled = []
    for upper in edges:
        rate = buckets[upper]
        if rate < highest - noise:
            return None
        highest = max(highest, rate)
        levelled.append(highest)
    return Histogram(edges, tuple(levelled))


def histograms(
    read: Iterable[Sample], labels: PodLabels, scale: float, tally: Tally, same: Twins = NO_TWINS
) -> dict[PodKey, Histogram]:
    """One histogram per pod, servers added; edges are multiplied by `scale` to seconds.

    Two spellings of one edge (before and after an upgrade of Prometheus) are copies of one bucket: the higher holds.
    """
    collected: dict[PodKey, dict[str, dict[float, float]]] = defaultdict(dict)
    for sample in read:
        pod = labels.of(sample, tally)
        upper = edge(sample.labels.get("le"))
        if pod is None:
            continue
        if upper is None:
            tally.malformed += 1
            continue
        rates = collected[pod].setdefault(_server_here(sample, pod, same), {})
        rates[upper * scale] = max(rates.get(upper * scale, sample.value), sample.value)
    summed = {}
    for pod, servers in collected.items():
        wholes = [histogram(buckets) for buckets in _with_ports(servers).values()]
        good = [whole for whole in wholes if whole is not None]
        if len(good) < len(wholes):
            tally.bad_histograms += 1
        else:
            summed[pod] = _added(good)
    return summed


def _added(parts: Sequence[Histogram]) -> Histogram:
    """The sum of histograms, at the edges that all of them have."""
    tables = [dict(zip(part.edges, part.cumulative, strict=True)) for part in parts]
    edges = tuple(upper for upper in parts[0].edges if all(upper in table for table in tables))
    return Histogram(edges, tuple(sum(table[upper] for table in tables) for upper in edges))
