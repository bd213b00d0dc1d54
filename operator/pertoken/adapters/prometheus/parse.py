"""Answers of Prometheus to values. Pure. What is not a finite number is missing, never zero."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pertoken.adapters.prometheus.queries import TAG
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Histogram

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
    """Series of one cycle that were left out, by why. Mutable: it counts while answers are read."""

    not_a_number: int = 0
    malformed: int = 0
    without_pod: int = 0
    duplicates: int = 0
    bad_histograms: int = 0

    def __str__(self) -> str:
        words = {
            "not a number": self.not_a_number,
            "malformed": self.malformed,
            "without namespace or pod": self.without_pod,
            "duplicate": self.duplicates,
            "inconsistent histogram": self.bad_histograms,
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
            case {"metric": dict(labels), "value": [_, raw]}:
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


def by_model(read: Iterable[Sample], namespace: str, model: str, tally: Tally) -> dict[tuple[str, str], float]:
    """One value per (namespace, model), both labels present and exact."""
    keyed = PodLabels(namespace, model)
    return {(key.namespace, key.name): value for key, value in by_pod(read, keyed, tally).items()}


def capacities(
    read: Iterable[Sample], labels: PodLabels, figure: str, ranks: tuple[str, ...], tally: Tally
) -> dict[PodKey, float]:
    """KV-cache tokens per pod: the label `figure` as a number, added over ranks.

    A rank that shows two different figures, or one that is not a positive number, leaves its pod without a value.
    """
    per_rank: dict[PodKey, dict[tuple[str, ...], set[float | None]]] = defaultdict(lambda: defaultdict(set))
    for sample in read:
        pod = labels.of(sample, tally)
        if pod is None:
            continue
        rank = tuple(sample.labels.get(label, "") for label in ranks)
        per_rank[pod][rank].add(number(sample.labels.get(figure)))
    totals: dict[PodKey, float] = {}
    for pod, shown in per_rank.items():
        figures = [next(iter(values)) for values in shown.values() if len(values) == 1]
        if len(figures) < len(shown):
            tally.duplicates += 1
            continue
        tokens = [tokens for tokens in figures if tokens is not None and tokens > 0]
        if len(tokens) == len(shown):
            totals[pod] = sum(tokens)
        else:
            tally.not_a_number += 1
    return totals


def edge(text: object) -> float | None:
    """An upper bucket bound: ``1`` and ``1.0`` are the same, ``+Inf`` is infinite; None if it is no bound."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) or value == -math.inf else value


def histogram(buckets: Mapping[float, float]) -> Histogram | None:
    """A histogram of cumulative rates by upper edge.

    Falls within float noise are levelled upward; a real fall, a negative rate or a missing infinite edge means that
    the buckets do not belong together, and there is no histogram.
    """
    if math.inf not in buckets:
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


def histograms(read: Iterable[Sample], labels: PodLabels, scale: float, tally: Tally) -> dict[PodKey, Histogram]:
    """One histogram per pod; edges are multiplied by `scale` to seconds.

    Two spellings of one edge (before and after an upgrade of Prometheus) are copies of one bucket: the higher holds.
    """
    collected: dict[PodKey, dict[float, float]] = defaultdict(dict)
    for sample in read:
        pod = labels.of(sample, tally)
        upper = edge(sample.labels.get("le"))
        if pod is None:
            continue
        if upper is None:
            tally.malformed += 1
            continue
        rates = collected[pod]
        rates[upper * scale] = max(rates.get(upper * scale, sample.value), sample.value)
    found = {}
    for pod, buckets in collected.items():
        whole = histogram(buckets)
        if whole is None:
            tally.bad_histograms += 1
        else:
            found[pod] = whole
    return found
