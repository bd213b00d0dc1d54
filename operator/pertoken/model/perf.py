"""Iteration time and memory of one replica: a smooth roofline over catalog data.

Source of the form: the roofline of matrix products against weight streaming, KV reads and all-reduce, as fitted against
aiconfigurator-core 0.12.0 kernel tables (TPOT median error 2-4 %, p90 5-9 % for dense bf16 models with the four
efficiencies of the catalog). All times in seconds, sizes in bytes, tokens as counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Final

from pertoken.catalog.engines import (
    COLLECTIVES_GIB,
    DEFAULT_BATCHED_TOKENS,
    LARGEST_GRAPH,
    MEMORY_UTILIZATION,
    RESERVE_GIB,
    graph_ceiling,
)
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.domain.service import Parallelism
from pertoken.units import GIB

ATTENTION_EFFICIENCY: Final = 0.7  # of the matrix products' efficiency
ALLREDUCE_EFFICIENCY: Final = 0.6  # of the link's peak
ELEMENTWISE_BYTES: Final = 20.0  # per token, layer and hidden unit
EXPERT_EFFICIENCY: Final = 0.5  # small, uneven products: of the dense products' efficiency (same tables)
MOE_LAYER_SECONDS: Final = 20e-6  # routing and grouping per layer with experts
EAGER_LAYER_SECONDS: Final = 30e-6  # kernel launches per layer that no CUDA graph hides
BYTES: Final = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53125, "mxfp4": 0.53125, "nvfp4": 0.5625}


def smooth_max(a: float, b: float) -> float:
    """Soft maximum of two bottlenecks: ``(a^4 + b^4)^(1/4)``."""
    a, b = a * a, b * b
    return float((a * a + b * b) ** 0.25)


@dataclass(frozen=True, slots=True)
class EngineModel:
    """Everything that the step time of one replica depends on, precomputed from the catalog.

    Attributes:
        body_bytes: dense weights read per step and GPU, without head and routed experts.
        head_bytes: output head per GPU.
        body_flops, head_flops: per token and GPU.
        expert_bytes: one routed expert of every layer, per GPU.
        expert_flops: per token and GPU for all chosen experts.
        experts, chosen: routed experts per layer, and how many a token takes.
        kv_bytes: cached per token and GPU.
        attention_flops: per token and token of context, per GPU.
        layer_overhead: seconds per step, all layers.
        eager_overhead: further seconds per step without a CUDA graph.
        elementwise: seconds per token.
        reduce_per_token: seconds of all-reduce per token (its latency is in the overhead).
        bandwidth, compute: effective bytes/s and FLOP/s of one GPU.
        weights_gib: per GPU.
        kv_capacity: tokens of KV cache of one replica (per data-parallel rank), 0 when the weights do not fit.
        window, windowed_share: sliding window in tokens and the share of layers that have it.
        gpus: of one replica.
        batched_tokens: budget of tokens per step (`max_num_batched_tokens`).
    """

    body_bytes: float
    head_bytes: float
    body_flops: float
    head_flops: float
    expert_bytes: float
    expert_flops: float
    experts: int
    chosen: int
    kv_bytes: float
    attention_flops: float
    layer_overhead: float
    eager_overhead: float
    elementwise: float
    reduce_per_token: float
    bandwidth: float
    compute: float
    weights_gib: float
    kv_capacity: float
    window: int | None
    windowed_share: float
    gpus: int
    batched_tokens: int = DEFAULT_BATCHED_TOKENS

    def with_batched_tokens(self, tokens: int | None) -> EngineModel:
        """The same engine with another budget of tokens per step."""
        return self if tokens is None else replace(self, batched_tokens=tokens)


@dataclass(frozen=True, slots=True)
class Gains:
    """Learnt corrections: factors on decode and prefill time, seconds added to the time to first token."""

    decode: float = 1.0
    prefill: float = 1.0
    ttft_offset: float = 0.0


NO_GAINS: Final = Gains()


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Parameter counts of the whole model."""

    attention: float
    dense: float
    one_expert: float  # of one layer
    router: float
    head: float
    embedding: float


def _count(model: Model) -> _Parameters:
    attention = model.attention_parameters or (
        2 * model.hidden * model.heads * model.head_dim + 2 * model.hidden * model.kv_heads * model.head_dim
    )
    dense_layers = model.dense_layers if model.experts else model.layers
    dense = 3.0 * model.hidden * model.ffn * dense_layers + 3.0 * model.hidden * model.shared_ffn * model.moe_layers
    head = float(model.vocab * model.hidden)
    return _Parameters(
        attention=float(attention * model.layers),
        dense=dense,
        one_expert=3.0 * model.hidden * model.expert_ffn,
        router=float(model.hidden * model.experts * model.moe_layers),
        head=head,
        embedding=0.0 if model.tied else head,
    )


def kv_bytes_per_token(model: Model, tensor: int = 1, kv_bytes: float = 2.0) -> float:
    """Bytes of KV cache per token and GPU; heads are replicated when there are fewer than GPUs.

    Multi-head latent attention keeps the whole latent on every GPU.
    """
    if model.kv_latent is not None:
        return model.layers * model.kv_latent * kv_bytes
    return 2.0 * model.layers * max(1, ceil(model.kv_heads / tensor)) * model.head_dim * kv_bytes


def _peak_flops(gpu: Gpu, quantization: str) -> float:
    by_kind = {"fp8": gpu.flops_fp8, "int8": gpu.flops_int8, "nvfp4": gpu.flops_fp4}
    return by_kind.get(quantization) or gpu.flops_bf16


@lru_cache(maxsize=1024)
def engine_model(model: Model, gpu: Gpu, parallelism: Parallelism, quantization: str = "bf16") -> EngineModel:
    """Precompute the step-time coefficients of one replica.

    Pipeline stages are taken as one pass through all layers on `tensor` GPUs (latency adds up, memory is shared out);
    data-parallel ranks as independent engines: all figures are those of one rank.

    Args:
        model: catalog row.
        gpu: catalog row.
        parallelism: of one replica.
        quantization: of the weights; models published in another precision than bf16 keep that one.
    """
    kind = model.native_quantization if quantization in ("", "bf16") and model.native_quantization else quantization
    weight_bytes = BYTES.get(kind, 2.0)
    count = _count(model)
    tensor, stages = parallelism.tensor, parallelism.pipeline
    # Published 4-bit mixture models quantise the experts alone.
    dense_bytes = 2.0 if kind == "mxfp4" and model.experts else weight_bytes
    body = count.attention + count.dense + count.router
    expert_layers = count.one_expert * model.moe_layers
    weights = (
        body * dense_bytes + expert_layers * model.experts * weight_bytes + 2.0 * (count.head + count.embedding)
    ) / (tensor * stages)
    efficiency = gpu.efficiency
    reduces = 2 * model.layers if tensor > 1 else 0
    kv_bytes = kv_bytes_per_token(model, tensor)
    memory = gpu.memory_gib * MEMORY_UTILIZATION - weights / GIB - _reserve_gib(model, tensor)
    windowed = model.windowed_layers / model.layers
    stored = kv_bytes * (1.0 - windowed) / stages
    return EngineModel(
        body_bytes=body * dense_bytes / tensor,
        head_bytes=count.head * 2.0 / tensor,
        body_flops=2.0 * body / tensor,
        head_flops=2.0 * count.head / tensor,
        expert_bytes=expert_layers * weight_bytes / tensor,
        expert_flops=2.0 * expert_layers * model.experts_per_token / tensor,
        experts=model.experts,
        chosen=model.experts_per_token,
        kv_bytes=kv_bytes,
        attention_flops=4.0 * model.heads * model.head_dim * model.layers / tensor,
        layer_overhead=model.layers * efficiency.layer_seconds
        + model.moe_layers * MOE_LAYER_SECONDS
        + reduces * efficiency.allreduce_seconds,
        eager_overhead=model.layers * EAGER_LAYER_SECONDS,
        elementwise=ELEMENTWISE_BYTES * model.hidden * model.layers / gpu.bandwidth,
        reduce_per_token=reduces
        * (2.0 * (tensor - 1) / tensor)
        * 2.0
        * model.hidden
        / (gpu.link_bandwidth * ALLREDUCE_EFFICIENCY),
        bandwidth=gpu.bandwidth * efficiency.bandwidth,
        compute=_peak_flops(gpu, kind) * efficiency.compute,
        weights_gib=weights / GIB,
        kv_capacity=max(0.0, memory * GIB / stored),
        window=model.window,
        windowed_share=windowed,
        gpus=parallelism.gpus,
    )


def _reserve_gib(model: Model, tensor: int) -> float:
    activations = 0.7 * max(1.0, model.hidden / 4096)
    return RESERVE_GIB + activations + (COLLECTIVES_GIB if tensor > 1 else 0.0)


def _attended(engine: EngineModel, tokens: float, sequences: float) -> float:
    """Tokens whose KV is read, sliding windows counted at their window."""
    if engine.window is None or sequences <= 0:
        return tokens
    windowed = min(tokens, engine.window * sequences)
    return tokens * (1 - engine.windowed_share) + windowed * engine.windowed_share


def _matrix_seconds(engine: EngineModel, tokens: float, heads: float) -> float:
    """Matrix products of a step of `tokens` tokens, `heads` of which need logits."""
    dense = smooth_max(
        (engine.body_bytes + engine.head_bytes) / engine.bandwidth,
        (engine.body_flops * tokens + engine.head_flops * heads) / engine.compute,
    )
    if not engine.experts:
        return dense
    touched = engine.experts * (1.0 - (1.0 - engine.chosen / engine.experts) ** tokens)
    return dense + smooth_max(
        touched * engine.expert_bytes / engine.bandwidth,
        engine.expert_flops * tokens / (engine.compute * EXPERT_EFFICIENCY),
    )


def iteration_time(
    engine: EngineModel, prefill_tokens: float, past: float, batch: float, resident: float, cap: int = LARGEST_GRAPH
) -> float:
    """Seconds of one engine step.

    Args:
        engine: the replica's coefficients.
        prefill_tokens: prompt tokens computed in this step (a chunk).
        past: tokens already cached before the chunk.
        batch: decoding sequences; a pure decode step is padded to the next CUDA-graph size.
        resident: tokens of context of all decoding sequences together (K).
        cap: the engine's `max_num_seqs`, which bounds the captured sizes.

    Returns:
        0 for an empty step.
    """
    if prefill_tokens <= 0 and batch <= 0:
        return 0.0
    seconds = engine.layer_overhead
    padded = batch
    if prefill_tokens <= 0:
        if batch <= min(2 * cap, LARGEST_GRAPH):
            padded = float(graph_ceiling(batch))
        else:
            seconds += engine.eager_overhead
    tokens = prefill_tokens + padded
    heads = padded + (1.0 if prefill_tokens > 0 else 0.0)
    seconds += _matrix_seconds(engine, tokens, heads)
    seconds += _attended(engine, resident, batch) * engine.kv_bytes / engine.bandwidth
    seconds += tokens * (engine.elementwise + engine.reduce_per_token)
    if prefill_tokens > 0:
        full = _attended(engine, past + prefill_tokens / 2, 1.0)
        seconds += engine.attention_flops * prefill_tokens * full / (engine.compute * ATTENTION_EFFICIENCY)
    return seconds


def decode_step(engine: EngineModel, batch: float, context: float, cap: int = LARGEST_GRAPH) -> float:
    """Seconds of one decode step of `batch` sequences holding `context` tokens each."""
    return iteration_time(engine, 0.0, 0.0, batch, batch * context, cap)


def mean_decode_step(engine: EngineModel, batch: float, context: float) -> float:
    """Seconds of a decode step at a fluctuating batch with this mean: padding costs half a gap on average.

    Continuous and increasing in `batch`, so that fixed points over it exist.
    """
    padded = batch + min(4.0, batch / 8.0)
    seconds = engine.layer_overhead + _matrix_seconds(engine, padded, padded)
    seconds += _attended(engine, batch * context, batch) * engine.kv_bytes / engine.bandwidth
    return seconds + padded * (engine.elementwise + engine.reduce_per_token)


def prefill_time(engine: EngineModel, tokens: float, past: float = 0.0) -> float:
    """Seconds to compute `tokens` prompt tokens alone, in chunks of the engine's token budget."""
    left, done, seconds = tokens, past, 0.0
    while left > 0:
        chunk = min(left, float(engine.batched_tokens))
        seconds += iteration_time(engine, chunk, done, 0.0, 0.0)
        done += chunk
        left -= chunk
    return seconds


def marginal_prefill_time(engine: EngineModel, tokens: float, batch: float, past: float = 0.0) -> float:
    """Seconds that the prompts add per `tokens` of prompt to the steps of an engine that decodes `batch` sequences.

    The weights are read anyway for the decoding sequences: only what exceeds that read counts, so prompts that share a
    step with decodes cost their arithmetic. An engine that decodes nothing pays the whole prefill.
    """
    if tokens <= 0:
        return 0.0
    if batch <= 0:
        return prefill_time(engine, tokens, past)
    # Below one sequence the engine stands still part of the time and a prompt starts a step of its own.
    alone = max(0.0, 1.0 - batch)
    room = max(256.0, engine.batched_tokens - batch)
    base = engine.layer_overhead + _matrix_seconds(engine, batch, batch)
    base += batch * (engine.elementwise + engine.reduce_per_token)
    left, done, seconds = tokens, past, 0.0
    while left > 0:
        chunk = min(left, room)
        step = iteration_time(engine, chunk, done, batch, 0.0)
        seconds += max(0.0, step - (1.0 - alone) * base)
        done += chunk
        left -= chunk
    return seconds


def kv_sequences(capacity: float, context: float, spread: float, z: float) -> float:
    """Sequences whose contexts fit the KV cache except with the probability that belongs to `z`.

    Solves ``b * mu + z * sigma * sqrt(b) <= capacity`` for b, mu the mean resident tokens of a sequence and sigma
    their standard deviation (chance constraint as in arXiv 2503.05248).

    Args:
        capacity: tokens.
        context: mu, tokens.
        spread: sigma / mu.
        z: standard normal quantile, e.g. 2.33 for 1 %.
    """
    if context <= 0:
        return float("inf")
    reach = z * spread * context
    root = (-reach + (reach * reach + 4.0 * context * capacity) ** 0.5) / (2.0 * context)
    return float(root * root)
