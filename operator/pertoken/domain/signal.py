"""What serving pods tell, by name. Missing data is a type, never a zero."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """In place of a value that cannot be formed, with the reason in words."""

    why: str


class Signal(StrEnum):
    """What one serving pod tells in one cycle. Rates are means over the profile's rate window.

    Units: sequences and requests are counts, KV usage and GPU utilization are shares in [0, 1], times are
    seconds, token figures are tokens or tokens per second, power is watts.
    """

    RUNNING = "running"
    WAITING = "waiting"
    KV_USAGE = "kv_usage"
    KV_CAPACITY_TOKENS = "kv_capacity_tokens"
    DECODING_SEQUENCES = "decoding_sequences"  # rate(inter_token_latency_seconds_sum), Little's law
    STEP_SECONDS = "step_seconds"  # mean inter-token latency, as the sequences see it
    STEPS_PER_SECOND = "steps_per_second"
    PROMPT_TOKENS_PER_SECOND = "prompt_tokens_per_second"  # includes cached ones
    CACHED_PROMPT_TOKENS_PER_SECOND = "cached_prompt_tokens_per_second"
    GENERATION_TOKENS_PER_SECOND = "generation_tokens_per_second"
    FINISHED_PER_SECOND = "finished_per_second"
    FINISHED_INPUT_TOKENS_PER_SECOND = "finished_input_tokens_per_second"
    FINISHED_OUTPUT_TOKENS_PER_SECOND = "finished_output_tokens_per_second"
    PREEMPTIONS_PER_SECOND = "preemptions_per_second"
    REJECTIONS_PER_SECOND = "rejections_per_second"
    TTFT_MEAN_SECONDS = "ttft_mean_seconds"
    PREFILL_MEAN_SECONDS = "prefill_mean_seconds"
    GPU_UTILIZATION = "gpu_utilization"
    POWER_WATTS = "power_watts"


GPU_SIGNALS: Final = frozenset({Signal.GPU_UTILIZATION, Signal.POWER_WATTS})  # of a GPU exporter, not of engines


class Counter(StrEnum):
    """Monotone totals of one pod since its engine started; resets are handled by the reader."""

    FINISHED_REQUESTS = "finished_requests"
    FINISHED_INPUT_TOKENS = "finished_input_tokens"
    FINISHED_OUTPUT_TOKENS = "finished_output_tokens"
    CACHED_INPUT_TOKENS = "cached_input_tokens"


class LatencyKind(StrEnum):
    """Latency distributions read as whole histograms."""

    TTFT = "ttft"
    TIME_PER_OUTPUT_TOKEN = "time_per_output_token"  # per-request mean: what `interTokenMilliseconds` judges
    INTER_TOKEN = "inter_token"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events per second by upper bucket edge.

    Attributes:
        edges: ascending upper bounds in seconds; the last is ``math.inf``.
        cumulative: rate of events at or below each edge (events per second), same length, non-decreasing.
    """

    edges: tuple[float, ...]
    cumulative: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class QuantileBounds:
    """What a histogram can say of a quantile: it lies between the two edges, `estimate` interpolates linearly."""

    low: float
    estimate: float
    high: float
