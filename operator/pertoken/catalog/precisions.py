"""Number formats of weights and KV caches, and what kernels make of them.

Compute and bandwidth factors are relative to bf16 kernels on the same GPU: fp8 and 4-bit experts from the kernel tables
of aiconfigurator-core 0.12.0 (Apache-2.0), fitted 2026-11-25; nvfp4 from served measurements (same source,
`silicon_sample.csv`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Peak = Literal["bf16", "fp8", "int8", "fp4"]


@dataclass(frozen=True, slots=True)
class Precision:
    """One number format of weights.

    Attributes:
        name: as in manifests.
        bytes: per parameter, scales included.
        peak: whose peak FLOP/s matrix products run at, where the GPU has it; else bf16's.
        compute: share of the bf16 kernels' efficiency.
        bandwidth: the same for reading dense weights.
        expert_bandwidth, expert_compute: the same for the grouped products of routed experts.
        activations: activations are quantized too, which costs small kernels per layer.
        bits4: four bits per weight.
    """

    name: str
    bytes: float
    peak: Peak = "bf16"
    compute: float = 1.0
    bandwidth: float = 1.0
    expert_bandwidth: float = 1.0
    expert_compute: float = 1.0
    activations: bool = False
    bits4: bool = False


PRECISIONS: Final[dict[str, Precision]] = {
    row.name: row
    for row in (
        Precision("bf16", 2.0),
        Precision("fp16", 2.0),
        Precision("fp8", 1.0, "fp8", compute=0.8, bandwidth=0.95, expert_compute=0.8, activations=True),
        Precision("int8", 1.0, "int8", compute=0.8, bandwidth=0.95, expert_compute=0.8, activations=True),
        Precision("w8a16", 1.0, bandwidth=0.95),
        Precision("int4", 0.53125, bandwidth=0.85, expert_bandwidth=0.56, expert_compute=0.76, bits4=True),
        Precision("mxfp4", 0.53125, bandwidth=0.85, expert_bandwidth=0.56, expert_compute=0.76, bits4=True),
        Precision(
            "nvfp4",
            0.5625,
            "fp4",
            compute=0.6,
            bandwidth=0.85,
            expert_bandwidth=0.75,
            expert_compute=0.6,
            activations=True,
            bits4=True,
        ),
    )
}
SPELLINGS: Final[dict[str, str]] = {
    "": "bf16",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "fp8_block": "fp8",
    "fp8_static": "fp8",
    "w8a8_fp8": "fp8",
    "float8": "fp8",
    "fp4": "nvfp4",
    "w8a8": "int8",
    "int8_weight_only": "w8a16",
    "awq": "int4",
    "gptq": "int4",
    "w4a16": "int4",
    "w4a16_mxfp4": "mxfp4",
}


def find_precision(name: str) -> Precision | None:
    """The format of this name or spelling; None when unknown."""
    key = name.strip().lower()
    return PRECISIONS.get(SPELLINGS.get(key, key))


def bytes_of(name: str) -> float:
    """Bytes per parameter; two where the format is unknown."""
    precision = find_precision(name)
    return 2.0 if precision is None else precision.bytes


NARROWER: Final = ("fp8", "int8", "int4")  # weights that make an engine cheaper, the least change first
