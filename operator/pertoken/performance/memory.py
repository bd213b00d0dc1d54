"""Weights and KV cache of one replica in bytes, from the catalog alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from pertoken.catalog.engines import COLLECTIVES_GIB, MEMORY_UTILIZATION, RESERVE_GIB
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import PRECISIONS, bytes_of, find_precision
from pertoken.domain.service import Parallelism
from pertoken.units import GIB

ACTIVATION_GIB: Final = 0.7  # at 8,192 tokens per step and a width of 4,096
EIGHT_BIT_CACHED: Final = ("fp8", "nvfp4")
STATE_BYTES: Final = 4.0  # recurrent states are kept in 32 bits


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts of the whole model; `one_expert` is of one layer."""

    attention: float
    linear: float
    dense: float
    one_expert: float
    experts: float
    router: float
    head: float
    embedding: float

    @property
    def body(self) -> float:
        """Read in every step by every token: all but routed experts, head and embedding."""
        return self.attention + self.linear + self.dense + self.router

    @property
    def total(self) -> float:
        """All of them."""
        return self.body + self.experts + self.head + self.embedding


def count(model: Model) -> Parameters:
    """Parameters by use; biases and norms are left out."""
    per_layer = model.attention_parameters or (
        2 * model.hidden * model.heads * model.head_dim + 2 * model.hidden * model.kv_heads * model.head_dim
    )
    matrices = 3.0 if model.gated else 2.0
    dense_layers = model.dense_layers if model.experts else model.with_ffn
    one_expert = matrices * model.hidden * model.expert_ffn
    head = float(model.vocab * model.hidden)
    return Parameters(
        attention=float(per_layer * model.attending),
        linear=float(model.linear_parameters * model.linear_layers),
        dense=matrices * model.hidden * (model.ffn * dense_layers + model.shared_ffn * model.moe_layers),
        one_expert=one_expert,
        experts=one_expert * model.experts * model.moe_layers,
        router=float(model.hidden * model.experts * model.moe_layers),
        head=head,
        embedding=0.0 if model.tied else head,
    )


def precision_of(model: Model, quantization: str) -> str:
    """Precision of the weights: models published in another one than bf16 keep that when none is asked for."""
    precision = find_precision(quantization)
    asked = quantization if precision is None else precision.name
    own = model.native_quantization
    # There is one 4-bit float format of such a model, whatever a table calls it.
    return own if own and (asked == "bf16" or (own == "mxfp4" and asked == "nvfp4")) else asked


def usual_cache(precision: str, gpu: Gpu) -> str:
    """Precision of the KV cache where none is said.

    Public runs with fp8 and nvfp4 weights cache in 8 bits (TensorRT-LLM and checkpoints that carry scales do so by
    themselves, recipes for vLLM and SGLang set it); vLLM's own default for other checkpoints is bf16.
    """
    return "fp8" if precision in EIGHT_BIT_CACHED and gpu.flops_fp8 is not None else "bf16"


@dataclass(frozen=True, slots=True)
class BytesPerParameter:
    """Bytes per parameter of the dense part and of the routed experts."""

    dense: float
    experts: float


def weight_bytes(model: Model, precision: str) -> BytesPerParameter:
    """How wide the weights are. Head and embedding always stay at two bytes."""
    width = bytes_of(precision)
    # Published 4-bit mixtures keep all but the experts in bf16 (mxfp4: gpt-oss; int4: Kimi K2.5).
    own = model.experts and precision == model.native_quantization
    return BytesPerParameter(2.0 if own and PRECISIONS[precision].bits4 else width, width)


def kv_bytes_per_token(model: Model, tensor: int = 1, kv_bytes: float = 2.0) -> float:
    """Bytes of KV cache per token and GPU; heads are replicated when there are fewer than GPUs.

    Multi-head latent attention keeps the whole latent on every GPU; recurrent layers cache nothing per token.
    """
    if model.kv_latent is not None:
        return model.attending * model.kv_latent * kv_bytes
    return 2.0 * model.attending * max(1, ceil(model.kv_heads / tensor)) * model.head_dim * kv_bytes


def state_bytes(model: Model, tensor: int = 1) -> float:
    """Bytes of recurrent state per sequence and GPU."""
    return model.linear_layers * model.linear_state * STATE_BYTES / tensor


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Of one GPU.

    Attributes:
        weights_gib: of the model.
        reserved_gib: context, graphs, workspace, collectives, activations.
        kv_capacity: tokens of KV cache of one replica (per data-parallel rank), 0 when the weights do not fit.
        usable_gib: what the engine may use at all.
    """

    weights_gib: float
    reserved_gib: float
    kv_capacity: float
    usable_gib: float


def memory(model: Model, gpu: Gpu, parallelism: Parallelism, precision: str, kv_bytes: float = 2.0) -> GpuMemory:
    """What fits into the GPUs of one replica.

    Sliding-window layers store their window only and are left out of the capacity per token.
    """
    counted, width = count(model), weight_bytes(model, precision)
    tensor, stages = parallelism.tensor, parallelism.pipeline
    ways = max(tensor, parallelism.expert or 1)
    weights = (counted.body * width.dense + 2.0 * (counted.head + counted.embedding)) / (tensor * stages)
    weights += counted.experts * width.experts / (ways * stages)
    reserved = RESERVE_GIB + ACTIVATION_GIB * max(1.0, model.hidden / 4096) + (COLLECTIVES_GIB if tensor > 1 else 0.0)
    usable = gpu.memory_gib * MEMORY_UTILIZATION
    free = usable - weights / GIB - reserved
    windowed = model.windowed_layers / max(model.attending, 1)
    stored = kv_bytes_per_token(model, tensor, kv_bytes) * max(1.0 - windowed, 1.0 / max(model.attending, 1)) / stages
    return GpuMemory(weights / GIB, reserved, max(0.0, free * GIB / stored) if stored else 0.0, usable)
