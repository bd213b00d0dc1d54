"""What a pod's figures can be. A page is written by whoever runs the pod: what is beyond physics is missing.

Planning counts, rounds up and walks over these figures, so an absurd one must not come that far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal

MOST: Final = 1e15  # any figure at all; running totals of tokens come near it after years
MOST_SEQUENCES: Final = 1e6  # of one engine
MOST_TOKENS_PER_SECOND: Final = 1e8
MOST_REQUESTS_PER_SECOND: Final = 1e6
MOST_SECONDS: Final = 1e6
MOST_BUCKETS: Final = 500
ROUNDING: Final = 0.01  # by which a share may exceed 1

_SHARE: Final = 1.0 + ROUNDING
MOST_OF_SIGNAL: Final[Mapping[Signal, float]] = {
    Signal.RUNNING: MOST_SEQUENCES,
    Signal.WAITING: MOST_SEQUENCES,
    Signal.KV_USAGE: _SHARE,
    Signal.KV_CAPACITY_TOKENS: 1e10,
    Signal.DECODING_SEQUENCES: MOST_SEQUENCES,
    Signal.STEP_SECONDS: MOST_SECONDS,
    Signal.STEPS_PER_SECOND: 1e6,
    Signal.PROMPT_TOKENS_PER_SECOND: MOST_TOKENS_PER_SECOND,
    Signal.CACHED_PROMPT_TOKENS_PER_SECOND: MOST_TOKENS_PER_SECOND,
    Signal.GENERATION_TOKENS_PER_SECOND: MOST_TOKENS_PER_SECOND,
    Signal.FINISHED_PER_SECOND: MOST_REQUESTS_PER_SECOND,
    Signal.FINISHED_INPUT_TOKENS_PER_SECOND: MOST_TOKENS_PER_SECOND,
    Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: MOST_TOKENS_PER_SECOND,
    Signal.PREEMPTIONS_PER_SECOND: MOST_REQUESTS_PER_SECOND,
    Signal.REJECTIONS_PER_SECOND: MOST_REQUESTS_PER_SECOND,
    Signal.TTFT_MEAN_SECONDS: MOST_SECONDS,
    Signal.PREFILL_MEAN_SECONDS: MOST_SECONDS,
    Signal.GPU_UTILIZATION: _SHARE,
    Signal.POWER_WATTS: 1e5,
}


def plausible(pod: PodMetrics) -> tuple[PodMetrics, int]:
    """The pod without the figures that no engine can have, and how many those are."""
    values = {signal: value for signal, value in pod.values.items() if 0 <= value <= MOST_OF_SIGNAL.get(signal, MOST)}
    counters: dict[Counter, float] = {name: total for name, total in pod.counters.items() if 0 <= total <= MOST}
    histograms: dict[LatencyKind, Histogram] = {
        kind: measured for kind, measured in pod.histograms.items() if _is_plausible(measured)
    }
    kept = len(values) + len(counters) + len(histograms)
    left_out = len(pod.values) + len(pod.counters) + len(pod.histograms) - kept
    return (replace(pod, values=values, counters=counters, histograms=histograms) if left_out else pod), left_out


def _is_plausible(measured: Histogram) -> bool:
    """The last edge is infinite; the others are times, and rates are those of one engine's tokens at most."""
    edges, rates = measured.edges[:-1], measured.cumulative
    return (
        len(measured.edges) <= MOST_BUCKETS
        and all(0 <= edge <= MOST_SECONDS for edge in edges)
        and all(0 <= rate <= MOST_TOKENS_PER_SECOND for rate in rates)
    )
