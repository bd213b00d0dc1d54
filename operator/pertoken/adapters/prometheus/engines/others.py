"""Rows of engines that are scaled by saturation and queue (``engine: generic``); what they lack stays missing."""

from __future__ import annotations

from typing import Final

from pertoken.adapters.prometheus.engines.model import Across, EngineMetrics, Gauge, Mean, Metric, mean_of
from pertoken.domain.signal import Counter, LatencyKind, Signal

# TGI knows no first-token time and no KV figures in tokens; per-request lengths are histograms of finished requests.
_TGI_PER_TOKEN: Final = Metric("tgi_request_mean_time_per_token_duration")
_TGI_INPUT: Final = (Metric("tgi_request_input_length_sum"),)
_TGI_OUTPUT: Final = (Metric("tgi_request_generated_tokens_sum"),)
_TGI_FINISHED: Final = (Metric("tgi_request_success"),)
TGI: Final = EngineMetrics(
    name="tgi",
    source="text-generation-inference, router metrics; the project is in maintenance",
    versions=("2.0", "3.3"),
    presence=Metric("tgi_batch_current_size"),
    gauges={
        Signal.RUNNING: (Gauge(Metric("tgi_batch_current_size")),),
        Signal.WAITING: (Gauge(Metric("tgi_queue_size")),),
    },
    rates={
        Signal.FINISHED_PER_SECOND: _TGI_FINISHED,
        Signal.PROMPT_TOKENS_PER_SECOND: _TGI_INPUT,
        Signal.GENERATION_TOKENS_PER_SECOND: _TGI_OUTPUT,
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: _TGI_INPUT,
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: _TGI_OUTPUT,
        Signal.REJECTIONS_PER_SECOND: (Metric("tgi_request_failure", matchers=(("err", "=", "overloaded"),)),),
    },
    means={Signal.STEP_SECONDS: (mean_of(_TGI_PER_TOKEN),)},
    totals={
        Counter.FINISHED_REQUESTS: _TGI_FINISHED,
        Counter.FINISHED_INPUT_TOKENS: _TGI_INPUT,
        Counter.FINISHED_OUTPUT_TOKENS: _TGI_OUTPUT,
    },
    histograms={LatencyKind.TIME_PER_OUTPUT_TOKEN: (_TGI_PER_TOKEN,)},
    rare=frozenset({Signal.REJECTIONS_PER_SECOND}),
)

_TRITON_REQUESTS: Final = "nv_trt_llm_request_metrics"
_TRITON_BLOCKS: Final = "nv_trt_llm_kv_cache_block_metrics"
_TRITON_FINISHED: Final = (Metric("nv_inference_request_success"),)
TRITON: Final = EngineMetrics(
    name="triton",
    source="Triton with the TensorRT-LLM backend, port 8002; latency histograms need --metrics-config",
    versions=("24.02", "24.12"),
    presence=Metric(_TRITON_REQUESTS, matchers=(("request_type", "=", "scheduled"),)),
    gauges={
        Signal.RUNNING: (Gauge(Metric(_TRITON_REQUESTS, (("request_type", "=", "scheduled"),))),),
        Signal.WAITING: (Gauge(Metric(_TRITON_REQUESTS, (("request_type", "=", "waiting"),), since="24.12")),),
        Signal.KV_USAGE: (
            Gauge(Metric(_TRITON_BLOCKS, (("kv_cache_block_type", "=", "fraction"),), since="24.12"), Across.MEAN),
        ),
        Signal.KV_CAPACITY_TOKENS: (
            Gauge(
                Metric(_TRITON_BLOCKS, (("kv_cache_block_type", "=", "max"),)),
                times=Metric(_TRITON_BLOCKS, (("kv_cache_block_type", "=", "tokens_per"),)),
            ),
        ),
    },
    rates={
        Signal.FINISHED_PER_SECOND: _TRITON_FINISHED,
        Signal.STEPS_PER_SECOND: (Metric("nv_inference_exec_count"),),
    },
    totals={Counter.FINISHED_REQUESTS: _TRITON_FINISHED},
    histograms={LatencyKind.TTFT: (Metric("nv_inference_first_response_histogram_ms", scale=1e-3, since="24.12"),)},
    sometimes=frozenset({LatencyKind.TTFT}),
)

# trtllm-serve, /prometheus/metrics. Before 1.3 its names had no prefix: the label tells them from other software's.
_BARE: Final = (("engine_type", "!=", ""),)


def _trtllm(name: str, since: str = "") -> tuple[Metric, ...]:
    """A metric under its prefix; without it before 1.3 unless it is newer than that."""
    prefixed = Metric(f"trtllm_{name}", since=since or "1.3")
    return (prefixed,) if since else (prefixed, Metric(name, _BARE, until="1.3"))


_TRTLLM_FIRST_TOKEN: Final = _trtllm("time_to_first_token_seconds")
_TRTLLM_PER_TOKEN: Final = _trtllm("time_per_output_token_seconds")
_TRTLLM_FINISHED: Final = _trtllm("request_success_total")
_TRTLLM_PROMPTS: Final = _trtllm("prompt_tokens_total", "1.3")
_TRTLLM_GENERATED: Final = _trtllm("generation_tokens_total", "1.3")
_TRTLLM_CACHED: Final = _trtllm("prompt_cached_tokens_total", "1.3")
TRTLLM: Final = EngineMetrics(
    name="trtllm",
    source="tensorrt_llm/metrics/collector.py (TensorRT-LLM#5785, #12545); needs return_perf_metrics",
    versions=("1.0", "1.2", "1.3"),
    presence=Metric("trtllm_num_requests_running", since="1.3"),
    gauges={
        Signal.RUNNING: tuple(Gauge(metric) for metric in _trtllm("num_requests_running", "1.3")),
        Signal.WAITING: tuple(Gauge(metric) for metric in _trtllm("num_requests_waiting", "1.3")),
        Signal.KV_USAGE: (
            Gauge(Metric("trtllm_kv_cache_utilization", since="1.3"), Across.MEAN),
            Gauge(Metric("kv_cache_utilization", _BARE, since="1.2", until="1.3"), Across.MEAN),
        ),
        Signal.KV_CAPACITY_TOKENS: (
            Gauge(
                Metric("trtllm_kv_cache_max_blocks", since="1.3"),
                times=Metric("trtllm_kv_cache_tokens_per_block", since="1.3"),
            ),
        ),
    },
    rates={
        Signal.PROMPT_TOKENS_PER_SECOND: _TRTLLM_PROMPTS,
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: _TRTLLM_CACHED,
        Signal.GENERATION_TOKENS_PER_SECOND: _TRTLLM_GENERATED,
        Signal.FINISHED_PER_SECOND: _TRTLLM_FINISHED,
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: _TRTLLM_PROMPTS,
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: _TRTLLM_GENERATED,
    },
    means={Signal.TTFT_MEAN_SECONDS: tuple(mean_of(family) for family in _TRTLLM_FIRST_TOKEN)},
    totals={
        Counter.FINISHED_REQUESTS: _TRTLLM_FINISHED,
        Counter.FINISHED_INPUT_TOKENS: _TRTLLM_PROMPTS,
        Counter.FINISHED_OUTPUT_TOKENS: _TRTLLM_GENERATED,
        Counter.CACHED_INPUT_TOKENS: _TRTLLM_CACHED,
    },
    histograms={LatencyKind.TTFT: _TRTLLM_FIRST_TOKEN, LatencyKind.TIME_PER_OUTPUT_TOKEN: _TRTLLM_PER_TOKEN},
    begins_with_traffic=True,
)

LLAMA_CPP: Final = EngineMetrics(
    name="llama.cpp",
    source="llama-server with --metrics; its prompt tokens are the computed ones, cached excluded",
    versions=("b4000", "b6000"),
    presence=Metric("llamacpp:requests_processing"),
    gauges={
        Signal.RUNNING: (Gauge(Metric("llamacpp:requests_processing")),),
        Signal.WAITING: (Gauge(Metric("llamacpp:requests_deferred")),),
        Signal.KV_USAGE: (Gauge(Metric("llamacpp:kv_cache_usage_ratio", until="b5450"), Across.MEAN),),
    },
    rates={
        Signal.DECODING_SEQUENCES: (Metric("llamacpp:tokens_predicted_seconds_total"),),
        Signal.STEPS_PER_SECOND: (Metric("llamacpp:n_decode_total"),),
        Signal.GENERATION_TOKENS_PER_SECOND: (Metric("llamacpp:tokens_predicted_total"),),
    },
    means={
        Signal.STEP_SECONDS: (
            Mean(Metric("llamacpp:tokens_predicted_seconds_total"), Metric("llamacpp:tokens_predicted_total")),
        ),
    },
)

GENERIC: Final = EngineMetrics(name="generic", source="no engine metrics: GPU utilization and power alone")
