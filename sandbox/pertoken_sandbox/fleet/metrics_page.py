"""A pod's ``/metrics`` page: names, types, help and labels as vLLM 0.32.0 writes them.

Left out of the real page: ``python_*``, ``process_*``, ``http_*`` (of the API server, not the engine) and
``vllm:estimated_*`` (filled only with ``--enable-mfu-metrics``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pertoken_bench.hardware.step_times import BLOCK_TOKENS
from pertoken_bench.reference_engine.request import EngineConfig
from pertoken_sandbox.fleet.stats import EngineStats, PageHistogram

CONTENT_TYPE = "text/plain; version=0.0.4"

Value = Callable[[EngineStats], float]
Samples = tuple[tuple[dict[str, str], Value], ...]


def _zero(_: EngineStats) -> float:
    return 0.0


def _one(value: Value) -> Samples:
    return (({}, value),)


def _by(label: str, values: dict[str, Value]) -> Samples:
    return tuple(({label: name}, value) for name, value in values.items())


_GAUGES: tuple[tuple[str, str, Samples], ...] = (
    ("num_requests_running", "Number of requests in model execution batches.", _one(lambda s: s.running)),
    ("num_requests_waiting", "Number of requests waiting to be processed.", _one(lambda s: s.waiting)),
    (
        "num_requests_waiting_by_reason",
        (
            "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity;"
            " 'deferred' ="
            " deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals"
            " vllm:num_requests_waiting."
        ),
        _by("reason", {"capacity": lambda s: s.waiting, "deferred": _zero}),
    ),
    (
        "engine_sleep_state",
        (
            "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake;"
            " weights_offloaded = 1"
            " means sleep level 1; discard_all = 1 means sleep level 2."
        ),
        _by("sleep_state", {"awake": lambda _: 1.0, "weights_offloaded": _zero, "discard_all": _zero}),
    ),
    ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", _one(lambda s: s.kv_usage)),
)

_COUNTERS: tuple[tuple[str, str, Samples], ...] = (
    (
        "prefix_cache_queries",
        "Prefix cache queries, in terms of number of queried tokens.",
        _one(lambda s: s.prefix_queries),
    ),
    ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", _one(lambda s: s.prefix_hits)),
    (
        "external_prefix_cache_queries",
        (
            "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number"
            " of queried"
            " tokens."
        ),
        _one(_zero),
    ),
    (
        "external_prefix_cache_hits",
        (
            "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached"
            " tokens."
        ),
        _one(_zero),
    ),
    ("mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", _one(_zero)),
    ("mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", _one(_zero)),
    ("num_preemptions", "Cumulative number of preemption from the engine.", _one(lambda s: s.preemptions)),
    ("prompt_tokens", "Number of prefill tokens processed.", _one(lambda s: s.prompt_tokens)),
    (
        "prompt_tokens_by_source",
        "Number of prompt tokens by source.",
        _by(
            "source",
            {
                "local_compute": lambda s: s.prompt_tokens - s.cached_tokens,
                "local_cache_hit": lambda s: s.cached_tokens,
                "external_kv_transfer": _zero,
            },
        ),
    ),
    ("prompt_tokens_cached", "Number of cached prompt tokens (local + external).", _one(lambda s: s.cached_tokens)),
    (
        "prompt_tokens_cached_by_source",
        (
            "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded"
            " to DRAM),"
            " disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to"
            " vllm:prefix_cache_hits + vllm:external_prefix_cache_hits."
        ),
        _by(
            "source",
            {
                "device": lambda s: s.prefix_hits,
                "host": _zero,
                "p2p": _zero,
                "disk": _zero,
                "external_unspecified": _zero,
            },
        ),
    ),
    ("generation_tokens", "Number of generation tokens processed.", _one(lambda s: s.generation_tokens)),
    (
        "request_success",
        "Count of successfully processed requests.",
        _by(
            "finished_reason",
            {"stop": _zero, "length": lambda s: s.finished, "abort": _zero, "error": _zero, "repetition": _zero},
        ),
    ),
    (
        "admission_rejections",
        "Number of admission attempts rejected by a queue limit, by reason.",
        _by("reason", {"max_num_queued_reqs": _zero, "max_num_queued_tokens": _zero}),
    ),
)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[EngineStats], PageHistogram]], ...] = (
    ("request_prompt_tokens", "Number of prefill tokens processed.", lambda s: s.prompt_length),
    ("request_generation_tokens", "Number of generation tokens processed.", lambda s: s.generation_length),
    ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", lambda s: s.iteration_tokens),
    (
        "request_max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        lambda s: s.max_generation_length,
    ),
    ("request_params_n", "Histogram of the n request parameter.", lambda s: s.params_n),
    ("request_params_max_tokens", "Histogram of the max_tokens request parameter.", lambda s: s.params_max_tokens),
    ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", lambda s: s.ttft),
    ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", lambda s: s.itl),
    (
        "request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        lambda s: s.tpot,
    ),
    ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", lambda s: s.e2e),
    ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", lambda s: s.queue),
    ("request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", lambda s: s.inference),
    ("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", lambda s: s.prefill),
    ("request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", lambda s: s.decode),
    (
        "request_num_preemptions",
        "Histogram of the number of times a request was preempted.",
        lambda s: s.request_preemptions,
    ),
    (
        "request_prefill_kv_computed_tokens",
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        lambda s: s.kv_computed,
    ),
)

_WITHOUT_ENGINE = frozenset({"admission_rejections"})


def escape(value: str) -> str:
    """Escape a label value for the text format."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def labels_text(labels: Mapping[str, str]) -> str:
    """``{a="1",b="2"}`` in alphabetical order."""
    inner = ",".join(f'{name}="{escape(value)}"' for name, value in sorted(labels.items()))
    return "{" + inner + "}"


def cache_config_labels(config: EngineConfig, utilization: float, kv_bytes_per_token: int) -> dict[str, str]:
    """Labels of ``vllm:cache_config_info``; values are what vLLM prints of its ``CacheConfig``."""
    tokens = config.kv_blocks * BLOCK_TOKENS
    return {
        "_block_size_resolved": "True",
        "block_size": str(BLOCK_TOKENS),
        "cache_dtype": "auto",
        "cache_hit_alignment_tokens": "None",
        "effective_attention_block_size": str(BLOCK_TOKENS),
        "enable_mamba_shared_prefix_checkpoint": "False",
        "enable_prefix_caching": str(config.prefix_caching),
        "engine": "0",
        "gpu_memory_utilization": str(utilization),
        "hash_block_size": "None",
        "is_attention_free": "False",
        "kv_cache_dtype_skip_layers": "[]",
        "kv_cache_layout": "None",
        "kv_cache_max_concurrency": str(tokens / config.max_model_len),
        "kv_cache_memory_bytes": str(tokens * kv_bytes_per_token),
        "kv_cache_size_tokens": str(tokens),
        "kv_offloading_backend": "native",
        "kv_offloading_size": "None",
        "kv_sharing_fast_prefill": "False",
        "mamba_block_size": "None",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": "None",
        "mamba_ssm_cache_dtype": "float32",
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(config.kv_blocks),
        "num_gpu_blocks_override": "None",
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "sha256",
        "prefix_match_unit": "None",
        "replayssm_buffer_len": "16",
        "skip_page_size_padded": "None",
        "sliding_window": "None",
        "swa_bounded_replay": "True",
        "use_kda_recoverssm": "False",
        "use_replayssm": "False",
        "user_specified_block_size": "False",
    }


@dataclass(frozen=True)
class _HistogramLines:
    head: str
    buckets: tuple[str, ...]
    count: str
    total: str
    tail: str
    of: Callable[[EngineStats], PageHistogram]


@dataclass(frozen=True)
class _HistogramSource:
    """Where a histogram's numbers come from, and the text of its time of creation."""

    of: Callable[[EngineStats], PageHistogram]
    created: str


class MetricsPage:
    """Renders one engine's page; everything but the numbers is prepared once."""

    def __init__(self, stats: EngineStats, model_name: str, cache_config: Mapping[str, str]) -> None:
        self._stats = stats
        common = {"engine": "0", "model_name": model_name}
        created = f"{stats.created!r}\n"
        self._scalars: list[tuple[str, Value]] = []
        self._tails: dict[int, str] = {}
        for name, help_text, samples in _GAUGES:
            self._scalar(f"vllm:{name}", "gauge", help_text, [({**common, **own}, value) for own, value in samples])
        for name, help_text, samples in _COUNTERS:
            base = {"model_name": model_name} if name in _WITHOUT_ENGINE else common
            labelled = [({**base, **own}, value) for own, value in samples]
            self._scalar(f"vllm:{name}_total", "counter", help_text, labelled)
            head = f"# HELP vllm:{name}_created {help_text}\n# TYPE vllm:{name}_created gauge\n"
            rows = "".join(f"vllm:{name}_created{labels_text(labels)} {created}" for labels, _ in labelled)
            self._tails[len(self._scalars) - 1] = head + rows
        self._histograms = [
            self._histogram(f"vllm:{name}", help_text, common, _HistogramSource(of, created))
            for name, help_text, of in _HISTOGRAMS
        ]
        self._footer = (
            "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n"
            "# TYPE vllm:cache_config_info gauge\n"
            f"vllm:cache_config_info{labels_text(cache_config)} 1.0\n"
        )

    def _scalar(self, name: str, kind: str, help_text: str, samples: list[tuple[dict[str, str], Value]]) -> None:
        prefix = f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
        for labels, value in samples:
            self._scalars.append((f"{prefix}{name}{labels_text(labels)} ", value))
            prefix = ""

    def _histogram(
        self,
        name: str,
        help_text: str,
        labels: dict[str, str],
        source: _HistogramSource,
    ) -> _HistogramLines:
        plain = labels_text(labels)
        edges = [*(repr(e) for e in source.of(self._stats).edges), "+Inf"]
        return _HistogramLines(
            head=f"# HELP {name} {help_text}\n# TYPE {name} histogram\n",
            buckets=tuple(f"{name}_bucket{labels_text({**labels, 'le': edge})} " for edge in edges),
            count=f"{name}_count{plain} ",
            total=f"{name}_sum{plain} ",
            tail=(
                f"# HELP {name}_created {help_text}\n# TYPE {name}_created gauge\n"
                f"{name}_created{plain} {source.created}"
            ),
            of=source.of,
        )

    def render(self) -> str:
        """The page's text now."""
        stats = self._stats
        out: list[str] = []
        for index, (prefix, value) in enumerate(self._scalars):
            out.append(f"{prefix}{float(value(stats))!r}\n")
            if index in self._tails:
                out.append(self._tails[index])
        for lines in self._histograms:
            histogram = lines.of(stats)
            out.append(lines.head)
            seen = 0
            for prefix, count in zip(lines.buckets, histogram.counts, strict=True):
                seen += count
                out.append(f"{prefix}{seen}.0\n")
            out.append(f"{lines.count}{seen}.0\n{lines.total}{float(histogram.total)!r}\n{lines.tail}")
        out.append(self._footer)
        return "".join(out)
