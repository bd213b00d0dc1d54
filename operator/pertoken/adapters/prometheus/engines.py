"""Metric names of the serving engines, as data: one row per engine, with the version that was read and where.

Names and labels differ between engines and change between their versions; everything else in this package is
independent of them. A row says nothing about labels of the scrape (namespace, pod): those belong to the profile.

Series of one metrics page are parts of a whole, whatever their labels say (rank, finish reason, ``is_streaming``,
priority, model, adapter): they add up, so that a label of tomorrow's version loses no traffic. Exceptions are data of
the row: labels that only tell repeated figures apart (`EngineMetrics.copies`), and a total beside its parts (matchers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pertoken.domain.metrics import Offer
from pertoken.domain.signal import Counter, LatencyKind, Signal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of an engine.

    Attributes:
        name: metric name; of a histogram the base name, without ``_bucket``.
        matchers: label, operator (``=``, ``!=``, ``=~``, ``!~``) and value that select the wanted series.
        scale: factor to the unit of the signal (1e-3 for milliseconds, 0.01 for percent).
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    scale: float = 1.0


class Across(StrEnum):
    """How the series of one pod combine to the pod's figure."""

    SUM = "sum"
    MEAN = "avg"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge: the metric and how its series of one pod combine."""

    metric: Metric
    across: Across = Across.SUM


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of events over the window: growth of one counter divided by growth of another."""

    total: Metric
    count: Metric


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
class EngineMetrics:
    """What one engine exposes.

    Attributes:
        name: name of the row in profiles.
        source: version and place where the names were read.
        ranks: labels that tell the engine processes of one pod apart (data-parallel ranks), for `capacity`.
        copies: labels whose values repeat the same figures (tensor-parallel ranks): the highest of them counts, once.
        presence: a gauge that a live engine always exposes; it dates the pod's samples. None: no engine metrics.
        rates: counters read as growth per second.
        histograms: base names of latency histograms (classic buckets).
        capacity: KV-cache tokens per rank in labels; engines with a gauge for it list it in `gauges`.
        sometimes: signals that not every version of the engine has, or that begin with a rare event.
        begins_with_traffic: counters and histograms appear with the first request.
    """

    name: str
    source: str
    ranks: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    presence: Metric | None = None
    gauges: Mapping[Signal, Gauge] = field(default_factory=dict)
    rates: Mapping[Signal, Metric] = field(default_factory=dict)
    means: Mapping[Signal, Mean] = field(default_factory=dict)
    totals: Mapping[Counter, Metric] = field(default_factory=dict)
    histograms: Mapping[LatencyKind, Metric] = field(default_factory=dict)
    capacity: InfoLabel | None = None
    sometimes: frozenset[Signal | LatencyKind] = frozenset()
    begins_with_traffic: bool = False

    @property
    def offer(self) -> Offer:
        """What a pod of this engine shows, always and ever. A mean is none always: without an event there is none."""
        signals = {*self.gauges, *self.rates}
        if self.capacity:
            signals.add(Signal.KV_CAPACITY_TOKENS)
        return Offer(
            frozenset(signals - self.sometimes),
            frozenset(self.histograms.keys() - self.sometimes),
            frozenset({*signals, *self.means}),
            frozenset(self.histograms),
            self.begins_with_traffic,
        )


VLLM = EngineMetrics(
    name="vllm",
    source="metrics page of vLLM 0.32.0, V1 engine; the names hold for 0.33",
    ranks=("engine",),
    presence=Metric("vllm:num_requests_running"),
    gauges={
        Signal.RUNNING: Gauge(Metric("vllm:num_requests_running")),
        Signal.WAITING: Gauge(Metric("vllm:num_requests_waiting")),
        Signal.KV_USAGE: Gauge(Metric("vllm:kv_cache_usage_perc"), Across.MEAN),
    },
    rates={
        Signal.DECODING_SEQUENCES: Metric("vllm:inter_token_latency_seconds_sum"),
        Signal.STEPS_PER_SECOND: Metric("vllm:iteration_tokens_total_count"),
        Signal.PROMPT_TOKENS_PER_SECOND: Metric("vllm:prompt_tokens_total"),
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: Metric("vllm:prompt_tokens_cached_total"),
        Signal.GENERATION_TOKENS_PER_SECOND: Metric("vllm:generation_tokens_total"),
        Signal.FINISHED_PER_SECOND: Metric("vllm:request_success_total"),
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: Metric("vllm:request_prompt_tokens_sum"),
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: Metric("vllm:request_generation_tokens_sum"),
        Signal.PREEMPTIONS_PER_SECOND: Metric("vllm:num_preemptions_total"),
        Signal.REJECTIONS_PER_SECOND: Metric("vllm:admission_rejections_total"),
    },
    means={
        Signal.STEP_SECONDS: Mean(
            Metric("vllm:inter_token_latency_seconds_sum"), Metric("vllm:inter_token_latency_seconds_count")
        ),
        Signal.TTFT_MEAN_SECONDS: Mean(
            Metric("vllm:time_to_first_token_seconds_sum"), Metric("vllm:time_to_first_token_seconds_count")
        ),
        Signal.PREFILL_MEAN_SECONDS: Mean(
            Metric("vllm:request_prefill_time_seconds_sum"), Metric("vllm:request_prefill_time_seconds_count")
        ),
    },
    totals={
        Counter.FINISHED_REQUESTS: Metric("vllm:request_success_total"),
        Counter.FINISHED_INPUT_TOKENS: Metric("vllm:request_prompt_tokens_sum"),
        Counter.FINISHED_OUTPUT_TOKENS: Metric("vllm:request_generation_tokens_sum"),
        Counter.CACHED_INPUT_TOKENS: Metric("vllm:prompt_tokens_cached_total"),
    },
    histograms={
        LatencyKind.TTFT: Metric("vllm:time_to_first_token_seconds"),
        LatencyKind.TIME_PER_OUTPUT_TOKEN: Metric("vllm:request_time_per_output_token_seconds"),
        LatencyKind.INTER_TOKEN: Metric("vllm:inter_token_latency_seconds"),
    },
    capacity=InfoLabel("vllm:cache_config_info", "kv_cache_size_tokens", ("num_gpu_blocks", "block_size")),
    # What older versions and emulators of vLLM (llm-d-inference-sim 0.10) do not expose.
    sometimes=frozenset(
        {
            Signal.STEPS_PER_SECOND,
            Signal.CACHED_PROMPT_TOKENS_PER_SECOND,
            Signal.PREEMPTIONS_PER_SECOND,
            Signal.REJECTIONS_PER_SECOND,
            LatencyKind.TIME_PER_OUTPUT_TOKEN,
        }
    ),
)

# Every tensor-parallel rank may expose the scheduler's gauges (--enable-metrics-for-all-schedulers), and so does every
# pipeline stage: they are copies. With priorities, a gauge's total stands under the empty priority beside its parts.
# Token counters grow when a request ends, so they serve as finished tokens too; is_streaming (earlier: stream),
# priority and custom labels split them.
_TOTAL = (("priority", "=", ""),)
SGLANG = EngineMetrics(
    name="sglang",
    source="SGLang 0.5, srt/observability/metrics_collector.py as of 2026 (sglang#32734); needs --enable-metrics",
    ranks=("dp_rank",),
    copies=("tp_rank", "pp_rank", "moe_ep_rank"),
    presence=Metric("sglang:num_running_reqs"),
    gauges={
        Signal.RUNNING: Gauge(Metric("sglang:num_running_reqs", _TOTAL)),
        Signal.WAITING: Gauge(Metric("sglang:num_queue_reqs", _TOTAL)),
        Signal.KV_USAGE: Gauge(Metric("sglang:token_usage"), Across.MEAN),
        Signal.KV_CAPACITY_TOKENS: Gauge(Metric("sglang:max_total_num_tokens")),
    },
    rates={
        Signal.DECODING_SEQUENCES: Metric("sglang:inter_token_latency_seconds_sum"),
        Signal.PROMPT_TOKENS_PER_SECOND: Metric("sglang:prompt_tokens_total"),
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: Metric("sglang:cached_tokens_total"),
        Signal.GENERATION_TOKENS_PER_SECOND: Metric("sglang:generation_tokens_total"),
        Signal.FINISHED_PER_SECOND: Metric("sglang:num_requests_total"),
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: Metric("sglang:prompt_tokens_total"),
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: Metric("sglang:generation_tokens_total"),
        Signal.PREEMPTIONS_PER_SECOND: Metric("sglang:num_retracted_requests_total"),
    },
    means={
        Signal.STEP_SECONDS: Mean(
            Metric("sglang:inter_token_latency_seconds_sum"), Metric("sglang:inter_token_latency_seconds_count")
        ),
        Signal.TTFT_MEAN_SECONDS: Mean(
            Metric("sglang:time_to_first_token_seconds_sum"), Metric("sglang:time_to_first_token_seconds_count")
        ),
    },
    totals={
        Counter.FINISHED_REQUESTS: Metric("sglang:num_requests_total"),
        Counter.FINISHED_INPUT_TOKENS: Metric("sglang:prompt_tokens_total"),
        Counter.FINISHED_OUTPUT_TOKENS: Metric("sglang:generation_tokens_total"),
        Counter.CACHED_INPUT_TOKENS: Metric("sglang:cached_tokens_total"),
    },
    histograms={
        LatencyKind.TTFT: Metric("sglang:time_to_first_token_seconds"),
        LatencyKind.TIME_PER_OUTPUT_TOKEN: Metric("sglang:request_time_per_output_token_seconds"),
        LatencyKind.INTER_TOKEN: Metric("sglang:inter_token_latency_seconds"),
    },
    # The first two begin with the first cached token and the first retraction; the last is no longer made.
    sometimes=frozenset(
        {
            Signal.CACHED_PROMPT_TOKENS_PER_SECOND,
            Signal.PREEMPTIONS_PER_SECOND,
            LatencyKind.TIME_PER_OUTPUT_TOKEN,
        }
    ),
    begins_with_traffic=True,
)

# TGI knows no first-token time and no KV figures in tokens; per-request lengths are histograms of finished requests.
TGI = EngineMetrics(
    name="tgi",
    source="text-generation-inference 3, router metrics; the project is in maintenance",
    presence=Metric("tgi_batch_current_size"),
    gauges={
        Signal.RUNNING: Gauge(Metric("tgi_batch_current_size")),
        Signal.WAITING: Gauge(Metric("tgi_queue_size")),
    },
    rates={
        Signal.FINISHED_PER_SECOND: Metric("tgi_request_success"),
        Signal.PROMPT_TOKENS_PER_SECOND: Metric("tgi_request_input_length_sum"),
        Signal.GENERATION_TOKENS_PER_SECOND: Metric("tgi_request_generated_tokens_sum"),
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: Metric("tgi_request_input_length_sum"),
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: Metric("tgi_request_generated_tokens_sum"),
        Signal.REJECTIONS_PER_SECOND: Metric("tgi_request_failure", matchers=(("err", "=", "overloaded"),)),
    },
    means={
        Signal.STEP_SECONDS: Mean(
            Metric("tgi_request_mean_time_per_token_duration_sum"),
            Metric("tgi_request_mean_time_per_token_duration_count"),
        ),
    },
    totals={
        Counter.FINISHED_REQUESTS: Metric("tgi_request_success"),
        Counter.FINISHED_INPUT_TOKENS: Metric("tgi_request_input_length_sum"),
        Counter.FINISHED_OUTPUT_TOKENS: Metric("tgi_request_generated_tokens_sum"),
    },
    histograms={LatencyKind.TIME_PER_OUTPUT_TOKEN: Metric("tgi_request_mean_time_per_token_duration")},
    sometimes=frozenset({Signal.REJECTIONS_PER_SECOND}),
)

_TRT_REQUESTS = "nv_trt_llm_request_metrics"
TRITON = EngineMetrics(
    name="triton",
    source="Triton 26 with the TensorRT-LLM backend, port 8002",
    presence=Metric(_TRT_REQUESTS, matchers=(("request_type", "=", "scheduled"),)),
    gauges={
        Signal.RUNNING: Gauge(Metric(_TRT_REQUESTS, (("request_type", "=", "scheduled"),))),
        Signal.WAITING: Gauge(Metric(_TRT_REQUESTS, (("request_type", "=", "waiting"),))),
        Signal.KV_USAGE: Gauge(
            Metric(
                "nv_trt_llm_kv_cache_block_metrics",
                (("kv_cache_block_type", "=", "fraction"),),
            ),
            Across.MEAN,
        ),
    },
    rates={
        Signal.FINISHED_PER_SECOND: Metric("nv_inference_request_success"),
        Signal.STEPS_PER_SECOND: Metric("nv_inference_exec_count"),
    },
    totals={Counter.FINISHED_REQUESTS: Metric("nv_inference_request_success")},
    histograms={LatencyKind.TTFT: Metric("nv_inference_first_response_histogram_ms", scale=1e-3)},
)

LLAMA_CPP = EngineMetrics(
    name="llama.cpp",
    source="llama-server with --metrics, 2026; its prompt tokens are the computed ones, cached excluded",
    presence=Metric("llamacpp:requests_processing"),
    gauges={
        Signal.RUNNING: Gauge(Metric("llamacpp:requests_processing")),
        Signal.WAITING: Gauge(Metric("llamacpp:requests_deferred")),
    },
    rates={
        Signal.DECODING_SEQUENCES: Metric("llamacpp:tokens_predicted_seconds_total"),
        Signal.STEPS_PER_SECOND: Metric("llamacpp:n_decode_total"),
        Signal.GENERATION_TOKENS_PER_SECOND: Metric("llamacpp:tokens_predicted_total"),
    },
    means={
        Signal.STEP_SECONDS: Mean(
            Metric("llamacpp:tokens_predicted_seconds_total"), Metric("llamacpp:tokens_predicted_total")
        ),
    },
)

GENERIC = EngineMetrics(name="generic", source="no engine metrics: GPU utilization and power alone")

ENGINES: Mapping[str, EngineMetrics] = {row.name: row for row in (VLLM, SGLANG, TGI, TRITON, LLAMA_CPP, GENERIC)}

# DCGM exporter. On MIG instances GPU_UTIL is 0 or absent (dcgm-exporter#216); the graphics engine's active share is
# right on them and on whole GPUs, where the exporter collects it.
GPU = "UUID"
GPU_INSTANCE = "GPU_I_ID"
GPU_UTILIZATION = Metric("DCGM_FI_DEV_GPU_UTIL", scale=0.01)
GPU_ACTIVE = Metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE")
GPU_POWER = Metric("DCGM_FI_DEV_POWER_USAGE")

# Endpoint picker of the inference gateway with flow control; it exports the newer prefix beside the older one.
GATEWAY_LABELS = ("inference_pool", "model_name", "fairness_id", "priority")
GATEWAY_QUEUE = ("llm_d_epp_flow_control_queue_size", "inference_extension_flow_control_queue_size")
GATEWAY_REFUSALS = (
    "llm_d_epp_flow_control_request_queue_duration_seconds_count",
    "inference_extension_flow_control_request_queue_duration_seconds_count",
)
GATEWAY_REFUSED = ("outcome", "=~", "Rejected.*|Evicted.*")
