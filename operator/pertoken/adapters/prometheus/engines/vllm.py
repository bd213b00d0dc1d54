"""The row of vLLM. Its names hold for engines that imitate it, too (llm-d-inference-sim, Triton's vLLM backend)."""

from __future__ import annotations

from typing import Final

from pertoken.adapters.prometheus.engines.model import (
    Across,
    EngineMetrics,
    Gauge,
    InfoLabel,
    Metric,
    mean_of,
    part_of,
)
from pertoken.domain.signal import Counter, LatencyKind, Signal

# Renamed in 0.11, hidden from 0.12 on (vllm#24110): one observation per token, so the same figure under two names.
_BETWEEN_TOKENS: Final = (
    Metric("vllm:inter_token_latency_seconds", since="0.11"),
    Metric("vllm:time_per_output_token_seconds", until="0.12"),
)
_FIRST_TOKEN: Final = Metric("vllm:time_to_first_token_seconds")
_PREFILL: Final = Metric("vllm:request_prefill_time_seconds")
# Hits are counted in tokens since 0.9 (vllm#18003), in blocks before: those say nothing without the block size.
_CACHED: Final = (
    Metric("vllm:prompt_tokens_cached_total", since="0.16"),
    Metric("vllm:prefix_cache_hits_total", since="0.9.2"),
    Metric("vllm:prefix_cache_hits", imitated=True),  # llm-d-inference-sim up to 0.10
)
_FINISHED: Final = (Metric("vllm:request_success_total"),)
_FINISHED_INPUT: Final = (Metric("vllm:request_prompt_tokens_sum"),)
_FINISHED_OUTPUT: Final = (Metric("vllm:request_generation_tokens_sum"),)

VLLM: Final = EngineMetrics(
    name="vllm",
    source="vllm/v1/metrics/loggers.py and vllm/engine/metrics.py; the page of 0.32.0, whose names hold for 0.33",
    versions=("0.6", "0.8", "0.9", "0.10", "0.11", "0.12", "0.16", "0.32"),
    ranks=("engine",),
    presence=Metric("vllm:num_requests_running"),
    gauges={
        Signal.RUNNING: (Gauge(Metric("vllm:num_requests_running")),),
        Signal.WAITING: (Gauge(Metric("vllm:num_requests_waiting")),),
        # Renamed by vllm#18354, hidden in 0.11, gone with #29330.
        Signal.KV_USAGE: (
            Gauge(Metric("vllm:kv_cache_usage_perc", since="0.9.2"), Across.MEAN),
            Gauge(Metric("vllm:gpu_cache_usage_perc", until="0.11"), Across.MEAN),
        ),
    },
    rates={
        Signal.DECODING_SEQUENCES: tuple(part_of(family, "_sum") for family in _BETWEEN_TOKENS),
        Signal.STEPS_PER_SECOND: (Metric("vllm:iteration_tokens_total_count"),),
        Signal.PROMPT_TOKENS_PER_SECOND: (Metric("vllm:prompt_tokens_total"),),
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: _CACHED,
        Signal.GENERATION_TOKENS_PER_SECOND: (Metric("vllm:generation_tokens_total"),),
        Signal.FINISHED_PER_SECOND: _FINISHED,
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: _FINISHED_INPUT,
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: _FINISHED_OUTPUT,
        Signal.PREEMPTIONS_PER_SECOND: (Metric("vllm:num_preemptions_total"),),
        Signal.REJECTIONS_PER_SECOND: (Metric("vllm:admission_rejections_total", since="0.32"),),
    },
    means={
        Signal.STEP_SECONDS: tuple(mean_of(family) for family in _BETWEEN_TOKENS),
        Signal.TTFT_MEAN_SECONDS: (mean_of(_FIRST_TOKEN),),
        Signal.PREFILL_MEAN_SECONDS: (mean_of(_PREFILL),),
    },
    totals={
        Counter.FINISHED_REQUESTS: _FINISHED,
        Counter.FINISHED_INPUT_TOKENS: _FINISHED_INPUT,
        Counter.FINISHED_OUTPUT_TOKENS: _FINISHED_OUTPUT,
        Counter.CACHED_INPUT_TOKENS: _CACHED,
    },
    histograms={
        LatencyKind.TTFT: (_FIRST_TOKEN,),
        LatencyKind.TIME_PER_OUTPUT_TOKEN: (Metric("vllm:request_time_per_output_token_seconds", since="0.11"),),
        LatencyKind.INTER_TOKEN: _BETWEEN_TOKENS,
    },
    capacity=InfoLabel("vllm:cache_config_info", "kv_cache_size_tokens", ("num_gpu_blocks", "block_size")),
    # What emulators of vLLM (llm-d-inference-sim 0.10) and the first V1 engine do not expose.
    sometimes=frozenset({Signal.STEPS_PER_SECOND, Signal.PREEMPTIONS_PER_SECOND}),
    bare_at_start=True,
)
