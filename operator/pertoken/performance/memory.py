"""Weights and KV cache of one replica in bytes, from the catalog alone."""

from __future__ import annotations

from typing import Final

from pertoken.catalog.engines import COLLECTIVES_GIB, MEMORY_UTILIZATION, RESERVE_GIB
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import PRECISIONS, bytes_of, find_precision
from pertoken.domain.service import Parallelism
from pertoken.frozen import dataclass
from pertoken.units import GIB

ACTIVATION_GIB: Final = 0.7  # at 8,192 tokens per step and a width of 4,096
STATE_BYTES: Final = 4.0  # recurrent states are kept in 32 bits


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts of the whole model; `one_expert` is of one layer, `shared` is a part of `dense`."""

    attention: float
    linear: float
    dense: float
    one_expert: float
    experts: float
    router: float
    head: float
    embedding: float
    tables: float = 0.0
    shared: float = 0.0

    @property
    def body(self) -> float:
        """Read in every step by every token: all but routed experts, head and embedding."""
        return self.attention + self.linear + self.dense + self.router

    @property
    def total(self) -> float:
        """All of them."""
        return self.body + self.experts + self.head + self.embedding + self.tables


def count(model: Model) -> Parameters:
    """Parameters by use; biases and norms are left out."""
    parts = model.parts
    routed = [(layer.count, layer.experts) for layer in parts if layer.experts]
    experts = sum(times * experts.parameters * experts.count for times, experts in routed)
    head = float(model.vocab * model.hidden)
    return Parameters(
        attention=float(sum(layer.count * layer.attention.parameters for layer in parts if layer.attention)),
        linear=float(sum(layer.count * layer.recurrent.parameters for layer in parts if layer.recurrent)),
        dense=float(sum(layer.count * layer.dense for layer in parts)),
        one_expert=sum(times * experts.parameters for times, experts in routed)
        / max(1, sum(times for times, _ in routed)),
        experts=float(experts),
        router=float(sum(times * experts.router for times, experts in routed)),
        head=head,
        embedding=0.0 if model.tied else head,
        tables=float(model.lookup_parameters),
        shared=float(sum(layer.count * layer.shared for layer in parts)),
    )


def active_parameters(model: Model) -> float:
    """Parameters that one token passes: all but the experts not chosen, the embedding and other tables."""
    counted = count(model)
    chosen = sum(
        layer.count * layer.experts.parameters * layer.experts.chosen for layer in model.parts if layer.experts
    )
    return counted.body + chosen + counted.head


def precision_of(model: Model, quantization: str) -> str:
    """Precision of the weights: models published in another one than bf16 keep that when none is asked for."""
    precision = find_precision(quantization)
    asked = quantization if precision is None else precision.name
    own = model.native_quantization
    # There is one 4-bit float format of such a model, whatever a table calls it.
    return own if own and (asked == "bf16" or (own == "mxfp4" and asked == "nvfp4")) else asked


def usual_cache(model: Model, gpu: Gpu) -> str:
    """Precision of the KV cache where none is said: the checkpoint's own scheme where the GPU has the type, else bf16.

    Weights of 8 or 4 bits do not narrow the cache: engines keep it at 16 bits unless the checkpoint carries a scheme
    for it or a flag says so. GPUs without the type can store it too (vLLM#24577, on A100), but only some attention
    kernels do: there it takes a flag.
    """
    narrow = model.kv_quantization
    return narrow if narrow and gpu.flops_fp8 is not None else "bf16"


@dataclass(frozen=True, slots=True)
class BytesPerParameter:
    """Bytes per parameter of the dense part and of the routed experts."""

    dense: float
    experts: float


def weight_bytes(model: Model, precision: str) -> BytesPerParameter:
    """How wide the weights are. Head and embedding always stay at two bytes."""
    width = bytes_of(precision)
    if model.part_precisions and precision == model.native_quantization:
        return _by_parts(model)
    # Published 4-bit mixtures keep all but the experts in bf16 (mxfp4: gpt-oss; int4: Kimi K2.5).
    own = model.experts and precision == model.native_quantization
    return BytesPerParameter(2.0 if own and PRECISIONS[precision].bits4 else width, width)


def _by_parts(model: Model) -> BytesPerParameter:
    """A checkpoint that says the precision of each part: the mean of what is read by every token, and the experts'."""
    width = {part: bytes_of(name) for part, name in model.part_precisions}
    counted = count(model)
    body = (
        (counted.attention, width["attention"]),
        (counted.linear, width["recurrent"]),
        (counted.dense - counted.shared, width["dense"]),
        (counted.shared, width["shared"]),
        (counted.router, 2.0),
    )
    return BytesPerParameter(sum(numbers * each for numbers, each in body) / max(1.0, counted.body), width["experts"])


def kv_bytes_per_token(model: Model, tensor: int = 1, kv_bytes: float = 2.0) -> float:
    """Bytes of KV cache per token and GPU; heads are replicated when there are fewer than GPUs.

    Multi-head latent attention keeps the whole latent on every GPU; recurrent layers cache nothing per token, and
    layers that read another's cache nothing of their own. A window's layers count as long as the context is within it.
    """
    return sum(
        layer.count * layer.attention.cache_bytes(tensor, kv_bytes)
        for layer in model.parts
        if layer.attention and layer.attention.owns_cache
    )


def context_bytes_per_token(model: Model, tensor: int = 1, kv_bytes: float = 2.0) -> float:
    """The same of layers that see the whole context: what a token of a long context takes."""
    return kv_bytes_per_token(model, tensor, kv_bytes) - window_bytes_per_token(model, tensor, kv_bytes)


def window_bytes_per_token(model: Model, tensor: int = 1, kv_bytes: float = 2.0) -> float:
    """The same of layers with a window."""
    return sum(
        layer.count * layer.attention.cache_bytes(tensor, kv_bytes)
        for layer in model.parts
        if layer.attention and layer.attention.owns_cache and layer.attention.window
    )


def mean_window(model: Model) -> int | None:
    """Window in tokens, the mean over layers that have one by what they cache; None where none has."""
    sizes = [
        (layer.count * layer.attention.cache_bytes(1, 2.0), layer.attention.window)
        for layer in model.parts
        if layer.attention and layer.attention.window
    ]
    weight = sum(cached for cached, _ in sizes)
    return round(sum(cached * window for cached, window in sizes) / weight) if weight else None


def state_bytes(model: Model, tensor: int = 1) -> float:
    """Bytes of recurrent state per sequence and GPU."""
    numbers = sum(layer.count * layer.recurrent.state for layer in model.parts if layer.recurrent)
    return numbers * STATE_BYTES / tensor


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
    tables = counted.head + counted.embedding + counted.tables
    weights = (counted.body * width.dense + 2.0 * tables) / (tensor * stages)
    weights += counted.experts * width.experts / (ways * stages)
    reserved = RESERVE_GIB + ACTIVATION_GIB * max(1.0, model.hidden / 4096) + (COLLECTIVES_GIB if tensor > 1 else 0.0)
    usable = gpu.memory_gib * MEMORY_UTILIZATION
    free = usable - weights / GIB - reserved
    cached = kv_bytes_per_token(model, tensor, kv_bytes)
    windowed = window_bytes_per_token(model, tensor, kv_bytes) / cached if cached else 0.0
    stored = cached * max(1.0 - windowed, 1.0 / max(model.attending, 1)) / stages
    return GpuMemory(weights / GIB, reserved, max(0.0, free * GIB / stored) if stored else 0.0, usable)
