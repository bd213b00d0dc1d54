"""GPU figures of a DCGM exporter: the query, and what a card's power is to the pods that share it.

On MIG instances GPU_UTIL is 0 or absent (dcgm-exporter#216); the graphics engine's active share is right on them and on
whole GPUs, where the exporter collects it. Power is known of whole cards only: of every MIG instance, and under
time-slicing of every pod, the exporter tells the card's (dcgm-exporter#582). Utilization under time-slicing is the
card's, too: how busy the card is of which a pod has a share of the time, whoever keeps it busy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from pertoken.adapters.prometheus.engines import Metric
from pertoken.adapters.prometheus.parse import PodLabels, Sample, Tally
from pertoken.adapters.prometheus.profile import GpuSource, MetricsProfile
from pertoken.adapters.prometheus.promql import (
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
from pertoken.domain.identity import PodKey

UTILIZATION: Final = Metric("DCGM_FI_DEV_GPU_UTIL", scale=0.01)
ACTIVE: Final = Metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE")
POWER: Final = Metric("DCGM_FI_DEV_POWER_USAGE")
AGE: Final = "gpu_age"

PROFILE: Final = "GPU_I_PROFILE"  # of a MIG instance: "3g.40gb"
SHARE: Final = "vgpu"  # number of a pod's share of a card under time-slicing, where the exporter tells it

_SLICES: Final = re.compile(r"(\d+)g\.")


def query(profile: MetricsProfile, *, required: bool) -> tuple[Query, ...]:
    """Utilization per GPU or MIG instance by the metric that can be right there, then over a pod's instances."""
    source, window = profile.gpu, duration(profile.window_seconds)
    by, card = pod_labels(source.labels), (source.device, source.host)
    unique, device = pod_labels(source.labels, *card, source.instance), pod_labels(source.labels, *card)
    matchers = [*extra(source.matchers), (source.labels.pod, "!=", "")]  # idle GPUs belong to no pod

    def series(metric: Metric, *more: tuple[str, str, str]) -> str:
        return selector(name_here(source, metric.name), [*matchers, *more])

    def mean(metric: Metric, labels: str, *more: tuple[str, str, str]) -> str:
        shown = series(metric, *more)
        scaled = "" if metric.scale == 1.0 else f" * {metric.scale:g}"
        return f"(max by ({labels}) (avg_over_time({shown}[{window}]) and {live(profile, shown)}){scaled})"

    whole = mean(UTILIZATION, unique, (source.instance, "=", ""))
    active = mean(ACTIVE, unique)
    # A whole GPU's own figure counts unless the GPU is partitioned; where it is 0 the profiling metric is asked first.
    partitions = mean(ACTIVE, unique, (source.instance, "!=", ""))
    utilization = (
        f"({whole} > 0 unless on ({device}) {partitions}) or {active} or ({whole} unless on ({device}) {active})"
    )
    ages = " or ".join(f"max by ({by}) (timestamp({series(metric)}))" for metric in (UTILIZATION, ACTIVE, POWER))
    holders = pod_labels(source.labels, *card, source.instance, PROFILE, SHARE)
    terms = [
        tagged(tag_of(UTILIZATION), f"avg by ({by}) ({utilization})"),
        tagged(tag_of(POWER), mean(POWER, holders)),
        tagged(AGE, f"time() - ({ages})"),
    ]
    return union("GPU", terms, required=required)


def shared_power(read: Iterable[Sample], source: GpuSource, labels: PodLabels, tally: Tally) -> Mapping[PodKey, float]:
    """Watts by pod: what a card draws, divided among those who hold it, so that all together draw what it does.

    A MIG instance counts by its compute slices, a share under time-slicing as one. Series of the card as a whole beside
    those of its instances tell who else is there only where no instance does.
    """
    cards: dict[tuple[str, str], list[tuple[PodKey, Sample]]] = defaultdict(list)
    for sample in read:
        pod = labels.of(sample, tally)
        if pod is not None:
            card = (sample.labels.get(source.device, ""), sample.labels.get(source.host, ""))
            cards[card].append((pod, sample))
    watts: dict[PodKey, float] = defaultdict(float)
    for shown in cards.values():
        parts = [(pod, sample) for pod, sample in shown if sample.labels.get(source.instance)] or shown
        drawn = max(sample.value for _, sample in shown)
        weights = [(pod, _slices(sample.labels.get(PROFILE, ""))) for pod, sample in parts]
        total = sum(weight for _, weight in weights)
        for pod, weight in weights:
            watts[pod] += drawn * weight / total
    return watts


def _slices(profile: str) -> int:
    match = _SLICES.search(profile)
    return max(1, int(match.group(1))) if match and len(match.group(1)) < len("1000") else 1
