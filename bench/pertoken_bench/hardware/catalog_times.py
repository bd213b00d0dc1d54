"""Step-time tables out of the catalog's performance model, for models and GPUs without tables of measured kernels.

The planner knows this model, so the tables are bent away from it: a factor and a tilt for decode and for prefill, fixed
for each model, GPU and parallelism, of the order of the model's larger errors on measured kernels (`docs/model.md`).
Even so they are no measurements: the shipped scenarios do without, and whoever runs on them is told.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Final

from pertoken.catalog.architecture import from_config
from pertoken.catalog.lookup import SHIPPED, Unknown, quantization_of
from pertoken.domain.service import ModelSpec, VariantSpec
from pertoken.performance.step_time import EngineModel, engine_model, iteration_time, prefill_time
from pertoken_bench.hardware.step_times import StepTimes, Table, TableMissingError, step_times

BATCHES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
CONTEXTS: Final = (64.0, 512.0, 2048.0, 8192.0, 32768.0, 131072.0)
CHUNKS: Final = (1.0, 64.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)
PASTS: Final = (0.0, 2048.0, 8192.0, 32768.0, 131072.0)


DECODE_FACTORS: Final = (0.92, 1.22)
PREFILL_FACTORS: Final = (0.9, 1.25)
TILT: Final = 0.12  # from the smallest to the largest batch or chunk, half of it each way


def times_of(spec: ModelSpec, variant: VariantSpec, accelerator: str) -> tuple[StepTimes, bool]:
    """Step times of the variant's replica, and whether they come from measured kernels.

    Raises:
        TableMissingError: there is no table, and the catalog does not know the model or the GPU.
    """
    native = quantization_of(spec.id)
    try:
        if spec.architecture is None and not native and variant.quantization in {"", "bf16"}:
            return step_times(spec.id, accelerator, variant.parallelism.tensor), True
    except TableMissingError:
        pass
    return bent(catalog_times(spec, variant, accelerator)), False


def bent(times: StepTimes) -> StepTimes:
    """The same with errors that the planner's model does not know."""
    draws = [zlib.crc32(f"{times.model}/{times.gpu}/{times.tensor}/{n}".encode()) / 2**32 for n in range(4)]
    decode, prefill = (
        low + (high - low) * draw for (low, high), draw in zip((DECODE_FACTORS, PREFILL_FACTORS), draws, strict=False)
    )
    return replace(
        times,
        decode=_tilted(times.decode, decode, TILT * (draws[2] - 0.5)),
        prefill=_tilted(times.prefill, prefill, TILT * (draws[3] - 0.5)),
    )


def _tilted(table: Table, factor: float, tilt: float) -> Table:
    middle = (len(table.rows) - 1) / 2.0
    factors = [factor * (1.0 + tilt * (index - middle) / middle) for index in range(len(table.rows))]
    rows = (tuple(value * factor for value in row) for row, factor in zip(table.ms, factors, strict=True))
    return replace(table, ms=tuple(rows))


def catalog_times(spec: ModelSpec, variant: VariantSpec, accelerator: str) -> StepTimes:
    """The variant's replica in the planner's own model.

    Raises:
        TableMissingError: the catalog does not know the model or the GPU, or the weights do not fit.
    """
    gpu = SHIPPED.gpu(accelerator)
    model = from_config(spec.id, spec.architecture) if spec.architecture else SHIPPED.model(spec.id)
    if isinstance(gpu, Unknown) or isinstance(model, Unknown):
        raise TableMissingError(str(gpu if isinstance(gpu, Unknown) else model))
    quantization = variant.quantization
    if quantization in {"", "bf16"}:
        quantization = quantization_of(spec.id) or quantization
    engine = engine_model(model, gpu, variant.parallelism, quantization)
    if engine.kv_capacity <= 0 or engine.kv_bytes <= 0:
        raise TableMissingError(
            f"{spec.id} does not fit on {variant.parallelism.gpus} x {accelerator}, or keeps no KV cache"
        )
    return tabulated(engine, spec.id, gpu.id, variant.parallelism.tensor)


def tabulated(engine: EngineModel, model: str, gpu: str, tensor: int) -> StepTimes:
    """A replica's coefficients as tables."""
    decode = tuple(
        tuple(1e3 * iteration_time(engine, 0.0, 0.0, batch, batch * context) for context in CONTEXTS)
        for batch in BATCHES
    )
    prefill = tuple(tuple(1e3 * prefill_time(engine, chunk, past) for past in PASTS) for chunk in CHUNKS)
    return StepTimes(
        model=model,
        gpu=gpu,
        tensor=tensor,
        weights_gib=engine.weights_gib,
        reserve_gib=max(0.0, engine.memory_gib - engine.weights_gib),
        kv_bytes_per_token=round(engine.kv_bytes),
        decode=Table(BATCHES, CONTEXTS, decode),
        prefill=Table(CHUNKS, PASTS, prefill),
    )
