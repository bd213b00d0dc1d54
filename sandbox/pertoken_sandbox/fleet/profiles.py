"""Step-time tables per (model, GPU, tensor-parallel size) and their interpolation."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

GIB = 1 << 30
BLOCK_TOKENS = 16


class ProfileMissingError(LookupError):
    """No step-time table exists for the asked model, GPU and tensor-parallel size."""


@dataclass(frozen=True)
class Table:
    """A grid of times in ms over two axes, read by bilinear interpolation.

    Outside the grid the nearest cell's slope goes on, but never below the grid's smallest value.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    ms: tuple[tuple[float, ...], ...]

    def at(self, row: float, column: float) -> float:
        """Time in ms at ``row`` (batch or chunk) and ``column`` (context or past tokens)."""
        rows, columns = self.rows, self.columns
        i = min(max(bisect_right(rows, row) - 1, 0), len(rows) - 2)
        j = min(max(bisect_right(columns, column) - 1, 0), len(columns) - 2)
        u = (row - rows[i]) / (rows[i + 1] - rows[i])
        v = (column - columns[j]) / (columns[j + 1] - columns[j])
        low, high = self.ms[i], self.ms[i + 1]
        value = (1 - u) * ((1 - v) * low[j] + v * low[j + 1]) + u * ((1 - v) * high[j] + v * high[j + 1])
        return max(value, self.ms[0][0] * 0.9)


@dataclass(frozen=True)
class Gpu:
    """What the emulation needs to know of a GPU type: its names, peak rates and power."""

    name: str
    products: tuple[str, ...]
    bf16_tflops: float
    memory_tbps: float
    idle_watts: float
    max_watts: float


@dataclass(frozen=True)
class Profile:
    """One model on one GPU type at one tensor-parallel size; memory figures are per GPU."""

    model: str
    gpu: Gpu
    tensor_parallel: int
    parameters_billion: float
    weights_gib: float
    reserve_gib: float
    kv_bytes_per_token: int
    decode: Table
    prefill: Table

    def kv_blocks(self, memory_gib: float, utilization: float) -> int:
        """KV-cache blocks of 16 tokens that fit beside weights and reserve in ``memory_gib`` x ``utilization``."""
        free = memory_gib * utilization - self.weights_gib - self.reserve_gib
        return max(0, int(free * GIB / self.kv_bytes_per_token) // BLOCK_TOKENS)


def model_key(model: str) -> str:
    """Reduce a model id to what identifies it: no organisation, no ``Meta-``, no ``-Instruct``, lower case."""
    return model.rsplit("/", 1)[-1].removeprefix("Meta-").removesuffix("-Instruct").lower()


def _table(raw: dict[str, Any], rows: str, columns: str) -> Table:
    return Table(tuple(raw[rows]), tuple(raw[columns]), tuple(tuple(row) for row in raw["ms"]))


@cache
def load_profiles() -> tuple[Profile, ...]:
    """All tables shipped in ``profiles.yaml``."""
    text = resources.files(__package__).joinpath("profiles.yaml").read_text(encoding="utf-8")
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe loader
    gpus = {name: Gpu(name, tuple(spec.pop("products")), **spec) for name, spec in content["gpus"].items()}
    return tuple(
        Profile(
            **{
                **raw,
                "gpu": gpus[raw["gpu"]],
                "decode": _table(raw["decode"], "batch", "context"),
                "prefill": _table(raw["prefill"], "chunk", "past"),
            },
        )
        for raw in content["profiles"]
    )


def find_profile(model: str, gpu: str, tensor_parallel: int) -> Profile:
    """The table for a model id, a GPU (our id or the node label ``nvidia.com/gpu.product``) and a TP size.

    Raises:
        ProfileMissingError: nothing fits; the message lists what exists for the model.
    """
    wanted = model_key(model)
    same_model = [p for p in load_profiles() if model_key(p.model) == wanted]
    for profile in same_model:
        if gpu in (profile.gpu.name, *profile.gpu.products) and profile.tensor_parallel == tensor_parallel:
            return profile
    known = ", ".join(f"{p.gpu.name} tp={p.tensor_parallel}" for p in same_model) or "nothing"
    raise ProfileMissingError(f"no step-time table for {model} on {gpu} tp={tensor_parallel} (known: {known})")
