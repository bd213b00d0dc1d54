"""One replica as coefficients of its step time: the catalog's rows of model, GPU and precision put together.

The constants of this page belong to the form in `perf` and were fitted with it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from pertoken.catalog.engines import DEFAULT_BATCHED_TOKENS
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import PRECISIONS, Precision, bytes_of, find_precision
from pertoken.domain.service import Parallelism
from pertoken.frozen import dataclass, derived, replace
from pertoken.performance.memory import (
    count,
    kv_bytes_per_token,
    mean_window,
    memory,
    precision_of,
    state_bytes,
    usual_cache,
    weight_bytes,
    window_bytes_per_token,
)

ELEMENTWISE_BYTES: Final = 26.0  # per token, layer and hidden unit
EXPERT_ROW_BYTES: Final = 5.6  # per token, chosen expert, layer and unit of (2 hidden + 3 expert width)
MOE_LAYER_SECONDS: Final = 22e-6  # routing and grouping per layer with experts
QUANTIZE_LAYER_SECONDS: Final = 7e-6  # kernels per layer that quantize activations
EAGER_LAYER_SECONDS: Final = 30e-6  # kernel launches per layer that no CUDA graph hides
NARROW_CACHE: Final = 0.7  # of the bandwidth that a bf16 KV cache is read at, where it has 8 bits
RING_EXPONENT: Final = 0.5  # all-reduce over switched links: between in-network (0) and ring (1) reduction
LATENCY_EXPONENT: Final = 0.33  # growth of an all-reduce's latency with the GPUs
HOST_LINK: Final = 0.49  # of PCIe's peak, shared by all GPUs, once more than two meet in host memory
HOST_LATENCY_SECONDS: Final = 1.6e-6  # of such an all-reduce, per GPU
LINKED_PAIR: Final = 2
BF16_BYTES: Final = 2.0


@dataclass(frozen=True)
class EngineModel:
    """Everything that the step time of one replica depends on, precomputed from the catalog.

    Attributes:
        body_bytes: dense weights read per step and GPU, without head and routed experts.
        head_bytes: output head per GPU.
        body_flops, head_flops: per token and GPU.
        expert_bytes: one routed expert of every layer, per GPU.
        expert_flops: per token and GPU for one of the chosen experts of every layer.
        experts, chosen: routed experts per layer, and how many a token takes.
        expert_ranks: data-parallel ranks whose tokens share the experts (expert parallelism), else 1.
        kv_bytes: cached per token and GPU.
        state_bytes: recurrent state per sequence and GPU.
        attention_flops: per token and token of context, per GPU.
        layer_overhead: seconds per step, all layers.
        eager_overhead: further seconds per step without a CUDA graph.
        elementwise: seconds per token, expert rows included.
        reduce_per_token: seconds of all-reduce per token (its latency is in the overhead).
        bandwidth, kv_bandwidth, expert_bandwidth: effective bytes/s of one GPU for dense weights, KV cache, experts.
        compute, attention_compute, expert_compute: effective FLOP/s of one GPU.
        weights_gib: per GPU.
        memory_gib: weights and what the engine keeps for itself, per GPU, KV cache left out.
        kv_capacity: tokens of KV cache of one replica (per data-parallel rank), 0 when the weights do not fit.
        window, windowed_share: sliding window in tokens and the share of attention layers that have it.
        sparse_tokens: context that a query reads at most, None for all.
        layers: transformer layers (a mixer and a feed-forward each).
        gpus: of one replica.
        batched_tokens: budget of tokens per step (`max_num_batched_tokens`).
        indexer_bytes: of `kv_bytes`, those that learned sparse attention reads of every token to choose.
        kv_reads: how often a step reads each cached byte (layers that share a cache read it again).
        measured: the GPU's efficiencies come from measurements on it.
    """

    body_bytes: float
    head_bytes: float
    body_flops: float
    head_flops: float
    expert_bytes: float
    expert_flops: float
    experts: int
    chosen: int
    expert_ranks: float
    kv_bytes: float
    state_bytes: float
    attention_flops: float
    layer_overhead: float
    eager_overhead: float
    elementwise: float
    reduce_per_token: float
    bandwidth: float
    kv_bandwidth: float
    expert_bandwidth: float
    compute: float
    attention_compute: float
    expert_compute: float
    weights_gib: float
    memory_gib: float
    kv_capacity: float
    window: int | None
    windowed_share: float
    sparse_tokens: int | None
    layers: float
    gpus: int
    batched_tokens: int = DEFAULT_BATCHED_TOKENS
    indexer_bytes: float = 0.0
    kv_reads: float = 1.0
    measured: bool = True

    @derived
    def _key(self) -> int:
        return hash(tuple(getattr(self, item.name) for item in fields(self)))

    def __hash__(self) -> int:
        """Worked out once: it is part of the key of whatever is kept of an engine."""
        return self._key

    def with_batched_tokens(self, tokens: int | None) -> EngineModel:
        """The same engine with another budget of tokens per step."""
        return self if tokens is None or tokens == self.batched_tokens else replace(self, batched_tokens=tokens)

    def sequence_tokens(self, context: float) -> float:
        """Tokens of KV capacity that a sequence takes beside its context: recurrent state, sliding windows."""
        per_token = self.kv_bytes * (1.0 - self.windowed_share)
        if per_token <= 0:
            return 0.0
        windows = self.windowed_share * self.kv_bytes * min(context, self.window or 0)
        return (self.state_bytes + windows) / per_token


def _peak_flops(gpu: Gpu, precision: Precision) -> float | None:
    by_kind = {"fp8": gpu.flops_fp8, "int8": gpu.flops_int8, "fp4": gpu.flops_fp4, "bf16": gpu.flops_bf16}
    return by_kind[precision.peak]


def _runs_as(gpu: Gpu, name: str) -> Precision:
    """How the GPU computes with such weights: widened to bf16 where it lacks the type."""
    precision = find_precision(name) or PRECISIONS["bf16"]
    if _peak_flops(gpu, precision) is not None:
        return precision
    return replace(PRECISIONS["int4" if precision.bits4 else "bf16"], name=precision.name, bytes=precision.bytes)


@dataclass(frozen=True, slots=True)
class _Collectives:
    """All-reduces of a step: seconds in all, and seconds per token."""

    latency: float
    per_token: float


def _collectives(model: Model, gpu: Gpu, tensor: int) -> _Collectives:
    """Two all-reduces of one hidden vector per token and layer (one per mixer, one per feed-forward)."""
    if tensor <= 1:
        return _Collectives(0.0, 0.0)
    efficiency = gpu.efficiency
    reduces = model.attending + model.linear_layers + model.with_ffn
    sent = 2.0 * model.hidden
    ring = 2.0 * (tensor - 1) / tensor
    if gpu.linked or tensor <= LINKED_PAIR:
        latency = efficiency.allreduce_seconds * (tensor / 2) ** LATENCY_EXPONENT
        seconds = sent * ring**RING_EXPONENT / (gpu.link_bandwidth * efficiency.link)
    else:
        latency = HOST_LATENCY_SECONDS * tensor
        seconds = sent * ring * tensor / (gpu.link_bandwidth * HOST_LINK)
    return _Collectives(reduces * latency, reduces * seconds)


def engine_model(
    model: Model, gpu: Gpu, parallelism: Parallelism, quantization: str = "bf16", kv_quantization: str = ""
) -> EngineModel:
    """Precompute the step-time coefficients of one replica.

    Pipeline stages are taken as one pass through all layers on `tensor` GPUs (latency adds up, memory is shared out);
    data-parallel ranks as independent engines that share their experts where these are spread wider than `tensor`: all
    figures are those of one rank.

    Args:
        model: catalog row.
        gpu: catalog row.
        parallelism: of one replica.
        quantization: of the weights; models published in another precision than bf16 keep that one.
        kv_quantization: of the KV cache, empty for what the checkpoint asks for where the GPU has the type, or bf16.
    """
    name = precision_of(model, quantization)
    precision, width = _runs_as(gpu, name), weight_bytes(model, name)
    counted = count(model)
    tensor = parallelism.tensor
    ways = max(tensor, parallelism.expert or 1)
    efficiency = gpu.efficiency
    collectives = _collectives(model, gpu, tensor)
    cached = bytes_of(kv_quantization or usual_cache(model, gpu))
    per_token = kv_bytes_per_token(model, tensor, cached)
    attentions = [(layer.count, layer.attention) for layer in model.parts if layer.attention]
    read_bytes = sum(times * attention.cache_bytes(tensor, cached) for times, attention in attentions)
    peak = _peak_flops(gpu, precision) or gpu.flops_bf16
    fits = memory(model, gpu, parallelism, name, cached)
    plain = width.dense > bytes_of(name)  # only the experts are quantized
    rows = model.experts_per_token * model.moe_layers * (2.0 * model.hidden + 3.0 * model.expert_ffn / tensor)
    blocks = (model.attending + model.linear_layers + model.with_ffn) / 2
    one_expert = counted.one_expert * model.moe_layers
    return EngineModel(
        body_bytes=counted.body * width.dense / tensor,
        head_bytes=counted.head * 2.0 / tensor,
        body_flops=2.0 * counted.body / tensor,
        head_flops=2.0 * counted.head / tensor,
        expert_bytes=one_expert * width.experts / ways,
        expert_flops=2.0 * one_expert / ways,
        experts=model.experts if model.moe_layers else 0,
        chosen=model.experts_per_token,
        expert_ranks=ways / tensor,
        kv_bytes=per_token,
        state_bytes=state_bytes(model, tensor),
        attention_flops=2.0
        * sum(times * attention.heads * attention.cached_width for times, attention in attentions)
        / tensor,
        layer_overhead=blocks * (efficiency.layer_seconds + (QUANTIZE_LAYER_SECONDS if precision.activations else 0.0))
        + model.moe_layers * MOE_LAYER_SECONDS
        + collectives.latency,
        eager_overhead=blocks * EAGER_LAYER_SECONDS,
        elementwise=(ELEMENTWISE_BYTES * model.hidden * blocks + EXPERT_ROW_BYTES * rows) / gpu.bandwidth,
        reduce_per_token=collectives.per_token,
        bandwidth=gpu.bandwidth * efficiency.bandwidth * (1.0 if plain else precision.bandwidth),
        kv_bandwidth=gpu.bandwidth * efficiency.kv_bandwidth * (NARROW_CACHE if cached < BF16_BYTES else 1.0),
        expert_bandwidth=gpu.bandwidth * efficiency.expert_bandwidth * precision.expert_bandwidth,
        compute=gpu.flops_bf16 * efficiency.compute if plain else peak * efficiency.compute * precision.compute,
        attention_compute=gpu.flops_bf16 * efficiency.attention,
        expert_compute=peak * efficiency.expert_compute * precision.expert_compute,
        weights_gib=fits.weights_gib,
        memory_gib=fits.weights_gib + fits.reserved_gib,
        kv_capacity=fits.kv_capacity,
        window=mean_window(model),
        windowed_share=window_bytes_per_token(model, tensor, cached) / per_token if per_token else 0.0,
        sparse_tokens=model.sparse_tokens,
        layers=blocks,
        gpus=parallelism.gpus,
        indexer_bytes=float(sum(times * attention.indexer_bytes for times, attention in attentions)),
        kv_reads=read_bytes / per_token if per_token else 1.0,
        measured=efficiency.measured,
    )
