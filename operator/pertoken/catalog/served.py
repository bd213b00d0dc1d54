"""How serving differs from kernels: engines schedule, launch and copy between steps, and their kernels differ.

Fitted by `pertoken_bench.accuracy.model` on 2026-11-25 to 2,147 closed-loop measurements (`silicon_sample.csv` of
aiconfigurator-core 0.12.0, Apache-2.0: NVIDIA's own runs and dumps of SemiAnalysis InferenceX), after the filters that
`docs/model.md` states. Factors are on top of the kernel model; a deployment's own measurements correct them further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import find_precision


@dataclass(frozen=True, slots=True)
class ServingFactors:
    """Serving on top of kernels.

    Attributes:
        decode_gain: factor on a decode step.
        layer_seconds: further seconds per layer and step (scheduling, launches, copies).
        prefill_gain: factor on what a prompt adds to the steps it joins.
        prompt_layer_seconds: further seconds per layer and prompt: a step with a prompt runs without a CUDA graph.
        ttft_seconds: per request before its prompt is computed (tokenizing, HTTP, queue hand-over).
        ttft_prompts: factor on a prompt's own work in its time to first token.
        ttft_queue: prompts of others that are in front, as a share of those decoding.
        ttft_steps: decode steps that a request waits for besides.
    """

    decode_gain: float = 1.0
    layer_seconds: float = 0.0
    prefill_gain: float = 1.0
    prompt_layer_seconds: float = 0.0
    ttft_seconds: float = 0.0
    ttft_prompts: float = 1.0
    ttft_queue: float = 0.0
    ttft_steps: float = 1.0


@dataclass(frozen=True, slots=True)
class _Class:
    """Decode gain, layer seconds, prefill gain of one kind of weights."""

    decode: float
    layer: float
    prefill: float


@dataclass(frozen=True, slots=True)
class _EngineFactors:
    """An engine's factors on its class, and its way to the first token."""

    decode: float = 1.0
    layer: float = 1.0
    prefill: float = 1.0
    ttft_seconds: float = 2.4e-3
    ttft_prompts: float = 1.41
    ttft_queue: float = 0.061
    ttft_steps: float = 7.15


# Dense fp8 and nvfp4 have few or contradicting rows (one set of 21 is below half of all others): between the fit to
# them and 20 points of Llama-3.1-70B on four GPUs from the same source.
_DENSE: Final = {
    "bf16": _Class(0.993, 15e-6, 0.733),
    "fp8": _Class(0.98, 12e-6, 0.95),
    "nvfp4": _Class(0.92, 16e-6, 1.0),
}
_EXPERTS: Final = {
    "bf16": _Class(1.2, 14.4e-6, 0.9),
    "fp8": _Class(1.23, 13.6e-6, 1.02),
    "int4": _Class(1.24, 25e-6, 1.0),
    "mxfp4": _Class(0.875, 31.5e-6, 1.27),
    "mxfp4 native": _Class(0.65, 22e-6, 0.435),  # GPUs that multiply 4-bit numbers
    "nvfp4": _Class(1.03, 14e-6, 0.6),
}
PROMPT_LAYER_SECONDS: Final = 273e-6
SPARSE_LAYERS: Final = 7.75  # factor on layer seconds: the indexer of learned sparse attention
LINEAR_LAYERS: Final = 1.45  # the same for recurrent layers
SPREAD_EXPERTS: Final = 2.0  # factor on prefill where experts are spread (expert parallelism): uneven ranks, exchanges

# The row "" is the mean over engines, for when none is named.
ENGINES: Final = {
    "": _EngineFactors(),
    "vllm": _EngineFactors(1.01, 1.03, 0.66, 1.5e-3, 1.44, 0.042, 2.6),
    "sglang": _EngineFactors(1.045, 0.86, 1.30, 0.213, 0.60, 0.287, 2.6),
    "trtllm": _EngineFactors(0.945, 1.21, 1.015, 0.057, 1.14, 0.092, 2.6),
}


def served(model: Model, gpu: Gpu, precision: str, engine: str = "", *, spread: bool = False) -> ServingFactors:
    """What serving adds for this kind of model and engine.

    Args:
        model: catalog row.
        gpu: catalog row.
        precision: of the weights, as the engine runs them.
        engine: ``vllm``, ``sglang``, ``trtllm``; any other name counts as the mean engine.
        spread: experts are spread over GPUs (expert parallelism) rather than sliced.
    """
    known = find_precision(precision)
    name = "bf16" if known is None or known.name == "fp16" else known.name
    if name in {"int8", "w8a16"}:
        name = "fp8"
    if model.experts:
        name = "mxfp4 native" if name == "mxfp4" and gpu.flops_fp4 else name
        kind = _EXPERTS[name]
    else:
        kind = _DENSE.get(name, _DENSE["bf16"])
    own = ENGINES.get(engine.strip().lower(), ENGINES[""])
    recurrent = LINEAR_LAYERS ** (model.linear_layers / model.layers)
    return ServingFactors(
        decode_gain=kind.decode * own.decode,
        layer_seconds=kind.layer * own.layer * recurrent * (SPARSE_LAYERS if model.sparse_tokens else 1.0),
        prefill_gain=kind.prefill * own.prefill * (SPREAD_EXPERTS if spread and model.experts else 1.0),
        prompt_layer_seconds=PROMPT_LAYER_SECONDS * own.prefill,
        ttft_seconds=own.ttft_seconds,
        ttft_prompts=own.ttft_prompts,
        ttft_queue=own.ttft_queue,
        ttft_steps=own.ttft_steps,
    )
