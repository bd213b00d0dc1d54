"""The row of SGLang; its metrics need ``--enable-metrics``.

Every tensor-parallel rank may expose the scheduler's gauges (``--enable-metrics-for-all-schedulers``), and so does
every pipeline stage: they are copies. With priorities, a gauge's total stands under the empty priority beside its
parts. Token counters grow when a request ends, so they serve as finished tokens too; ``is_streaming`` (earlier:
``stream``), priority and custom labels split them.
"""

from __future__ import annotations

from typing import Final

from pertoken.adapters.prometheus.engines.model import Across, EngineMetrics, Gauge, Metric, mean_of, part_of
from pertoken.domain.signal import Counter, LatencyKind, Signal

_TOTAL: Final = (("priority", "=", ""),)
# Up to 0.4.4 the running mean of a request, observed with every chunk: its sum is the time between tokens all the same.
_BETWEEN_TOKENS: Final = (
    Metric("sglang:inter_token_latency_seconds", since="0.4.5"),
    Metric("sglang:time_per_output_token_seconds", until="0.4.5"),
)
_FIRST_TOKEN: Final = Metric("sglang:time_to_first_token_seconds")
_PROMPTS: Final = (Metric("sglang:prompt_tokens_total"),)
_GENERATED: Final = (Metric("sglang:generation_tokens_total"),)
_CACHED: Final = (Metric("sglang:cached_tokens_total", since="0.4.5"),)
_FINISHED: Final = (
    Metric("sglang:num_requests_total", since="0.4.5"),
    Metric("sglang:e2e_request_latency_seconds_count"),
)

SGLANG: Final = EngineMetrics(
    name="sglang",
    source="srt/metrics/collector.py, since 2026 srt/observability/metrics_collector.py (sglang#32734)",
    versions=("0.4.0", "0.4.9", "0.5.6", "0.5.9"),
    ranks=("dp_rank",),
    copies=("tp_rank", "pp_rank", "moe_ep_rank"),
    presence=Metric("sglang:num_running_reqs"),
    gauges={
        Signal.RUNNING: (Gauge(Metric("sglang:num_running_reqs", _TOTAL)),),
        Signal.WAITING: (Gauge(Metric("sglang:num_queue_reqs", _TOTAL)),),
        Signal.KV_USAGE: (Gauge(Metric("sglang:token_usage"), Across.MEAN),),
        Signal.KV_CAPACITY_TOKENS: (Gauge(Metric("sglang:max_total_num_tokens", since="0.5.6")),),
    },
    rates={
        Signal.DECODING_SEQUENCES: tuple(part_of(family, "_sum") for family in _BETWEEN_TOKENS),
        Signal.PROMPT_TOKENS_PER_SECOND: _PROMPTS,
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: _CACHED,
        Signal.GENERATION_TOKENS_PER_SECOND: _GENERATED,
        Signal.FINISHED_PER_SECOND: _FINISHED,
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: _PROMPTS,
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: _GENERATED,
        Signal.PREEMPTIONS_PER_SECOND: (Metric("sglang:num_retracted_requests_total", since="0.5.6"),),
    },
    means={
        Signal.STEP_SECONDS: tuple(mean_of(family) for family in _BETWEEN_TOKENS),
        Signal.TTFT_MEAN_SECONDS: (mean_of(_FIRST_TOKEN),),
    },
    totals={
        Counter.FINISHED_REQUESTS: _FINISHED,
        Counter.FINISHED_INPUT_TOKENS: _PROMPTS,
        Counter.FINISHED_OUTPUT_TOKENS: _GENERATED,
        Counter.CACHED_INPUT_TOKENS: _CACHED,
    },
    histograms={
        LatencyKind.TTFT: (_FIRST_TOKEN,),
        LatencyKind.TIME_PER_OUTPUT_TOKEN: (Metric("sglang:request_time_per_output_token_seconds", since="0.5.9"),),
        LatencyKind.INTER_TOKEN: _BETWEEN_TOKENS,
    },
    sometimes=frozenset({LatencyKind.TIME_PER_OUTPUT_TOKEN}),  # not made by every 0.5
    rare=frozenset({Signal.CACHED_PROMPT_TOKENS_PER_SECOND, Signal.PREEMPTIONS_PER_SECOND}),
    begins_with_traffic=True,
)
