"""Step-time tables of measured kernels: one model on one GPU type at one tensor-parallel size.

Both engines and the sandbox's fleet serve by them. They are of another class than the planner's model on purpose: it
has to discover them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from pertoken.catalog.lookup import SHIPPED, Unknown, model_key

GIB: Final = 1 << 30
BLOCK_TOKENS: Final = 16
LEAST_SHARE: Final = 0.9  # of a table's smallest value: no extrapolation goes below it


class TableMissingError(LookupError):
    """No step-time table exists for the asked model, GPU and tensor-parallel size."""


@dataclass(frozen=True, slots=True)
class Table:
    """Milliseconds over two axes, read by bilinear interpolation; outside the grid the nearest cell's slope goes on."""

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    ms: tuple[tuple[float, ...], ...]

    def at(self, row: float, column: float) -> float:
        """Milliseconds at `row` (batch or chunk) and `column` (context or past tokens)."""
        return max(self.plane(row, column), LEAST_SHARE * self.ms[0][0])

    def plane(self, row: float, column: float) -> float:
        """The same by the nearest cell's plane, however low."""
        rows, columns = self.rows, self.columns
        i = min(max(bisect_right(rows, row) - 1, 0), len(rows) - 2)
        j = min(max(bisect_right(columns, column) - 1, 0), len(columns) - 2)
        u = (row - rows[i]) / (rows[i + 1] - rows[i])
        v = (column - columns[j]) / (columns[j + 1] - columns[j])
        low, high = self.ms[i], self.ms[i + 1]
        return (1 - u) * ((1 - v) * low[j] + v * low[j + 1]) + u * ((1 - v) * high[j] + v * high[j + 1])


@dataclass(frozen=True, slots=True)
class StepTimes:
    """One model on one GPU type at one tensor-parallel size; memory figures are per GPU.

    Attributes:
        decode: rows batch, columns mean context in tokens.
        prefill: rows prompt tokens of the step, columns tokens before them.
    """

    model: str
    gpu: str
    tensor: int
    weights_gib: float
    reserve_gib: float
    kv_bytes_per_token: int
    decode: Table
    prefill: Table

    def kv_blocks(self, memory_gib: float, utilization: float) -> int:
        """KV blocks of 16 tokens that fit beside weights and reserve in `memory_gib` x `utilization`."""
        free = memory_gib * utilization - self.weights_gib - self.reserve_gib
        return max(0, int(free * GIB / self.kv_bytes_per_token) // BLOCK_TOKENS)


def _table(raw: dict[str, Any], rows: str, columns: str) -> Table:
    return Table(
        tuple(float(value) for value in raw[rows]),
        tuple(float(value) for value in raw[columns]),
        tuple(tuple(float(value) for value in row) for row in raw["ms"]),
    )


@cache
def all_step_times() -> tuple[StepTimes, ...]:
    """All tables shipped in ``step_times.yaml``."""
    text = resources.files(__package__).joinpath("step_times.yaml").read_text(encoding="utf-8")
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    return tuple(
        StepTimes(
            model=raw["model"],
            gpu=raw["gpu"],
            tensor=int(raw["tensor_parallel"]),
            weights_gib=float(raw["weights_gib"]),
            reserve_gib=float(raw["reserve_gib"]),
            kv_bytes_per_token=int(raw["kv_bytes_per_token"]),
            decode=_table(raw["decode"], "batch", "context"),
            prefill=_table(raw["prefill"], "chunk", "past"),
        )
        for raw in content["profiles"]
    )


def _architecture(model: str) -> str:
    """Model id without what leaves its step times alone: Llama 3.1 and 3.3 of one size are one network."""
    return re.sub(r"^llama-3\.[13]-", "llama-3.x-", model_key(model))


def step_times(model: str, gpu: str, tensor: int) -> StepTimes:
    """The table for a model id, a GPU (any of its names) and a tensor-parallel size.

    Raises:
        TableMissingError: nothing fits; the message lists what exists for the model.
    """
    row = SHIPPED.gpu(gpu)
    gpu_id = gpu if isinstance(row, Unknown) else row.id
    same = [table for table in all_step_times() if _architecture(table.model) == _architecture(model)]
    for table in same:
        if table.gpu == gpu_id and table.tensor == tensor:
            return table
    known = ", ".join(f"{table.gpu} tensor={table.tensor}" for table in same) or "nothing"
    raise TableMissingError(f"no step-time table for {model} on {gpu} with tensor={tensor} (known: {known})")
