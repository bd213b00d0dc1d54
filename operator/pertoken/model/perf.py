"""How long an engine's step takes: a smooth roofline over catalog data.

Formulas: weights, expert, KV and compute terms of a transformer step joined by a 4-norm, plus per-layer overhead and
ring all-reduce. Their fitted efficiencies stand in `catalog.gpus`. Checked against kernel tables of aiconfigurator-core
0.12.0 (Apache-2.0): median error of a dense bf16 decode step 2-4 % per GPU. All times are seconds, sizes bytes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.units import GIB

WEIGHT_BYTES: Final = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53, "mxfp4": 0.53, "nvfp4": 0.56}
ACTIVATION_BYTES: Final = 2.0
EXPERT_LAYER_SECONDS: Final = 20e-6  # routing and dispatch per layer of experts
ALLREDUCE_EFFICIENCY: Final = 0.6
ATTENTION_OF_COMPUTE: Final = 0.7  # attention kernels reach less of the peak than plain products
ELEMENTWISE_PASSES: Final = 20  # reads and writes of the activations per layer
MEMORY_UTILIZATION: Final = 0.92  # vLLM's default
RESERVED_GIB: Final = 3.5  # activations, graphs, libraries
CAPTURED: Final[tuple[int, ...]] = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))  # vLLM's CUDA-graph sizes


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model on GPUs: what determines the speed of one replica."""

    model: Model
    gpu: Gpu
    tensor: int = 1
    quantization: str = "bf16"


@dataclass(frozen=True, slots=True)
class Gains:
    """Corrections learnt from live metrics; 1.2 says that it takes 20 % longer than modelled."""

    decode: float = 1.0
    prefill: float = 1.0


def captured_at_least(batch: float) -> int:
    """The smallest captured batch size that holds `batch`; the largest one beyond that."""
    return CAPTURED[min(bisect_left(CAPTURED, math.ceil(batch)), len(CAPTURED) - 1)]


def captured_at_most(batch: float) -> int:
    """The largest captured batch size within `batch`, at least 1."""
    return CAPTURED[max(bisect_right(CAPTURED, math.floor(batch)) - 1, 0)]


def kv_bytes_per_token(deployment: Deployment) -> float:
    """KV cache bytes per token on each GPU; KV heads are replicated when there are fewer than GPUs."""
    model = deployment.model
    if model.kv_latent is not None:
        return model.layers * model.kv_latent * ACTIVATION_BYTES
    heads = max(1, math.ceil(model.kv_heads / deployment.tensor))
    return 2.0 * model.layers * heads * model.head_dim * ACTIVATION_BYTES


def weight_bytes(deployment: Deployment) -> float:
    """Bytes of weights on each GPU; embedding and head stay in 16 bits."""
    model = deployment.model
    body = _dense_parameters(model) + _expert_parameters(model) * model.experts
    tables = model.vocab * model.hidden * ACTIVATION_BYTES * (1 if model.tied else 2)
    return (body * _bytes(deployment) + tables) / deployment.tensor


def kv_capacity_tokens(deployment: Deployment) -> float:
    """Tokens whose KV fits beside the weights, 0 when the weights alone do not fit."""
    room = MEMORY_UTILIZATION * deployment.gpu.memory_gib * GIB - weight_bytes(deployment) - RESERVED_GIB * GIB
    return max(0.0, room / kv_bytes_per_token(deployment))


def decode_step(deployment: Deployment, batch: float, context: float, gains: Gains | None = None) -> float:
    """One step of `batch` sequences with a mean of `context` resident tokens each."""
    gain = 1.0 if gains is None else gains.decode
    padded = captured_at_least(batch) if batch <= CAPTURED[-1] else batch
    kv = batch * context * _window_share(deployment.model, context) * kv_bytes_per_token(deployment)
    reading = kv / (deployment.gpu.bandwidth * deployment.gpu.efficiency.bandwidth)
    return gain * (_products(deployment, padded) + reading + _overhead(deployment, padded))


def prefill_work(deployment: Deployment, tokens: float, past: float = 0.0, gains: Gains | None = None) -> float:
    """GPU time that `tokens` prompt tokens add to steps that run anyway (compute of products and attention)."""
    gain = 1.0 if gains is None else gains.prefill
    model, gpu = deployment.model, deployment.gpu
    rate = deployment.tensor * _flops(deployment) * gpu.efficiency.compute
    active = _dense_parameters(model) + _expert_parameters(model) * model.experts_per_token
    attention = 4.0 * tokens * (past + tokens / 2) * model.heads * model.head_dim * model.layers
    attention_rate = deployment.tensor * gpu.flops_bf16 * gpu.efficiency.compute * ATTENTION_OF_COMPUTE
    return gain * (2.0 * active * tokens / rate + attention / attention_rate + _allreduce(deployment, tokens))


def prefill_time(deployment: Deployment, tokens: float, gains: Gains | None = None) -> float:
    """One prompt alone on an idle engine."""
    gain = 1.0 if gains is None else gains.prefill
    floor = weight_bytes(deployment) / (deployment.gpu.bandwidth * deployment.gpu.efficiency.bandwidth)
    return _smooth(floor * gain, prefill_work(deployment, tokens, 0.0, gains)) + gain * _overhead(deployment, 1)


def iteration_time(deployment: Deployment, prefill_tokens: float, past: float, batch: float, resident: float) -> float:
    """A mixed step: `batch` decoding sequences with `resident` KV tokens in all, and a chunk of prompt tokens."""
    decode = decode_step(deployment, batch, resident / batch) if batch > 0 else 0.0
    if prefill_tokens <= 0:
        return decode
    if batch <= 0:
        return prefill_time(deployment, prefill_tokens)
    return decode + prefill_work(deployment, prefill_tokens, past)


def _bytes(deployment: Deployment) -> float:
    return WEIGHT_BYTES.get(deployment.quantization, 2.0)


def _flops(deployment: Deployment) -> float:
    gpu = deployment.gpu
    by_type = {
        "fp8": gpu.flops_fp8,
        "int8": gpu.flops_int8,
        "nvfp4": gpu.flops_fp4,
        "mxfp4": gpu.flops_fp4,
    }
    return by_type.get(deployment.quantization) or gpu.flops_bf16


def _dense_parameters(model: Model) -> float:
    """Parameters that every token passes, without embedding; the head is read too but is 16 bits, see `_products`."""
    attention = model.attention_parameters
    if attention is None:
        attention = 2 * model.hidden * model.heads * model.head_dim + 2 * model.hidden * model.kv_heads * model.head_dim
    dense_layers = model.dense_layers if model.experts else model.layers
    shared = 3 * model.hidden * model.shared_ffn * model.moe_layers
    router = model.hidden * model.experts * model.moe_layers
    return float(attention * model.layers + 3 * model.hidden * model.ffn * dense_layers + shared + router)


def _expert_parameters(model: Model) -> float:
    """Parameters of one routed expert over all layers."""
    return float(3 * model.hidden * model.expert_ffn * model.moe_layers)


def _products(deployment: Deployment, batch: float) -> float:
    model, gpu = deployment.model, deployment.gpu
    bandwidth = gpu.bandwidth * gpu.efficiency.bandwidth
    rate = deployment.tensor * _flops(deployment) * gpu.efficiency.compute
    head = model.vocab * model.hidden
    dense = _dense_parameters(model)
    read = (dense * _bytes(deployment) + head * ACTIVATION_BYTES) / deployment.tensor / bandwidth
    time = _smooth(read, 2.0 * (dense + head) * batch / rate)
    if not model.experts:
        return time
    expert = _expert_parameters(model)
    touched = model.experts * (1.0 - (1.0 - model.experts_per_token / model.experts) ** batch)
    read = touched * expert * _bytes(deployment) / deployment.tensor / bandwidth
    compute = 2.0 * model.experts_per_token * expert * batch / rate
    return time + _smooth(read, compute) + model.moe_layers * EXPERT_LAYER_SECONDS


def _overhead(deployment: Deployment, batch: float) -> float:
    model, gpu = deployment.model, deployment.gpu
    elementwise = ELEMENTWISE_PASSES * batch * model.hidden * model.layers / gpu.bandwidth
    return model.layers * gpu.efficiency.layer_seconds + elementwise + _allreduce(deployment, batch)


def _allreduce(deployment: Deployment, tokens: float) -> float:
    if deployment.tensor == 1:
        return 0.0
    model, gpu = deployment.model, deployment.gpu
    share = 2.0 * (deployment.tensor - 1) / deployment.tensor
    volume = share * ACTIVATION_BYTES * model.hidden * tokens / (gpu.link_bandwidth * ALLREDUCE_EFFICIENCY)
    return 2.0 * model.layers * (gpu.efficiency.allreduce_seconds + volume)


def _window_share(model: Model, context: float) -> float:
    """Share of the context that is really read: windowed layers see no more than their window."""
    if not model.window or context <= model.window:
        return 1.0
    windowed = model.windowed_layers / model.layers
    return 1.0 - windowed * (1.0 - model.window / context)


def _smooth(first: float, second: float) -> float:
    """Smooth maximum: (a^4 + b^4)^(1/4)."""
    return float((first**4 + second**4) ** 0.25)
