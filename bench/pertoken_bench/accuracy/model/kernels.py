"""Against kernel tables: decode step, prefill, KV capacity and weights of `aic_reference` rows.

Rows kept: backend vLLM, and neither `oom` nor `kv_oom` (they fit in memory). bf16 rows are judged; fp8 rows are shown,
their block-quantized part is known to be wrong at small batches (an 8-bit model slower than the same in bf16).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pertoken.catalog.gpus import Efficiency, Gpu
from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.catalog.models import Model
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import EngineModel, engine_model
from pertoken.performance.step_time import decode_step, prefill_time
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, label, say, table, worst

_PRECISIONS: Final = {"bfloat16": "bf16", "fp8_block": "fp8", "fp8_static": "fp8"}
# Per-GPU parameters that are fitted, with the spread that GPUs have around their mean (of the natural logarithm).
FITTED: Final = {
    "bandwidth": 0.1,
    "kv_bandwidth": 0.15,
    "compute": 0.15,
    "attention": 0.3,
    "layer_seconds": 0.25,
    "allreduce_seconds": 0.4,
    "link": 0.3,
}
FITTED_EXPERTS: Final = {"expert_bandwidth": 0.15, "expert_compute": 0.3}
DECODE_NOISE: Final = 0.05
PREFILL_NOISE: Final = 0.08


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One row of the table; seconds, NaN-free: 0 where it has no figure."""

    model: Model
    gpu: Gpu
    tensor: int
    quantization: str
    table_precision: str
    batch: int
    input_tokens: int
    output_tokens: int
    decode: float
    prefill: float
    kv_capacity: float
    weights_gib: float
    backend: str = "vllm"
    spelled_model: str = ""
    spelled_gpu: str = ""

    @property
    def engine(self) -> EngineModel:
        """Modelled replica; the table's 8-bit models cache in 8 bits."""
        cache = "fp8" if self.quantization == "fp8" else ""
        return engine_model(self.model, self.gpu, Parallelism(tensor=self.tensor), self.quantization, cache)

    @property
    def name(self) -> str:
        """Short."""
        return (
            f"{self.model.id.split('/')[-1]} {self.gpu.id} tp{self.tensor} {self.quantization} "
            f"{self.input_tokens}/{self.output_tokens} b{self.batch}"
        )

    @property
    def context(self) -> float:
        """Tokens that each sequence holds in the middle of its answer."""
        return self.input_tokens + self.output_tokens / 2

    def decode_miss(self, engine: EngineModel) -> float:
        """ln(modelled / table)."""
        return log(decode_step(engine, self.batch, self.context) / self.decode)

    def prefill_miss(self, engine: EngineModel) -> float:
        """ln(modelled / table)."""
        return log(prefill_time(engine, self.input_tokens) / self.prefill)


def read(path: Path, backends: Sequence[str] = ("vllm",)) -> list[KernelRow]:
    """Rows that fit in memory, of these backends."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        kernel_rows = [_row(raw) for raw in csv.DictReader(file) if _kept(raw, backends)]
    return [row for row in kernel_rows if row is not None]


def _kept(raw: dict[str, str], backends: Sequence[str]) -> bool:
    return (
        raw["backend"] in backends
        and raw["oom"] == "0"
        and raw["kv_oom"] == "0"
        and _figure(raw, "decode_step_ms_mid") > 0
    )


def _row(raw: dict[str, str]) -> KernelRow | None:
    model, gpu = SHIPPED.model(raw["model"]), SHIPPED.gpu(raw["gpu"])
    if isinstance(model, Unknown) or isinstance(gpu, Unknown):
        say(f"not in the catalog: {raw['model']} {raw['gpu']}")
        return None
    return KernelRow(
        model=model,
        gpu=gpu,
        tensor=int(raw["tp"]),
        quantization=_PRECISIONS.get(raw["gemm_quant"], raw["gemm_quant"]),
        table_precision=raw["gemm_quant"],
        batch=int(raw["batch"]),
        input_tokens=int(raw["isl"]),
        output_tokens=int(raw["osl"]),
        decode=_figure(raw, "decode_step_ms_mid") / 1e3,
        prefill=_figure(raw, "prefill_ms_b1") / 1e3,
        kv_capacity=_figure(raw, "kv_capacity_tokens"),
        weights_gib=_figure(raw, "weights_gib"),
        backend=raw["backend"],
        spelled_model=raw["model"],
        spelled_gpu=raw["gpu"],
    )


def _figure(raw: dict[str, str], name: str) -> float:
    return float(raw.get(name) or 0.0)


@dataclass(frozen=True, slots=True)
class Misses:
    """Of one row or of many."""

    decode: list[Miss]
    prefill: list[Miss]
    capacity: list[Miss]
    weights: list[Miss]


def misses(rows: Sequence[KernelRow], engine_of: Callable[[KernelRow], EngineModel] = lambda row: row.engine) -> Misses:
    """Modelled against table."""
    missed = Misses([], [], [], [])
    for row in rows:
        engine = engine_of(row)
        missed.decode.append(Miss(row.decode_miss(engine), row.name))
        if row.prefill > 0:
            missed.prefill.append(Miss(row.prefill_miss(engine), row.name))
        if row.kv_capacity > 0 and engine.kv_capacity > 0:
            missed.capacity.append(Miss(log(engine.kv_capacity / row.kv_capacity), row.name))
        if row.weights_gib > 0:
            missed.weights.append(Miss(log(engine.weights_gib / row.weights_gib), row.name))
    return missed


def kind(row: KernelRow) -> str:
    """Dense or experts, and the precision of the table."""
    return f"{'experts' if row.model.experts else 'dense'} {row.table_precision}"


def report(rows: Sequence[KernelRow]) -> None:
    """Tables per kind, GPU and model."""
    header = ("rows", "decode step %", "prefill %", "KV capacity %", "weights %")
    say("Median / 90th percentile of the absolute relative error, bias in brackets, per cent.")
    table("All", ("kind", *header), [(str(key), *_cells(group)) for key, group in grouped(rows, kind).items()])
    judged = [row for row in rows if row.table_precision == "bfloat16"]
    for title, key in (
        ("bf16 by GPU", lambda row: (kind(row), row.gpu.id)),
        ("bf16 by model", lambda row: (kind(row), row.model.id)),
        ("bf16 by model, GPU and tensor parallelism", lambda row: (row.model.id, row.gpu.id, row.tensor)),
    ):
        cells = [(label(name), *_cells(group)) for name, group in grouped(judged, key).items()]
        table(title, ("group", *header), cells)
    missed = misses(judged)
    say(f"\nWorst decode steps: {worst(missed.decode, 8)}")
    say(f"\nWorst prefills: {worst(missed.prefill, 8)}")


def _cells(rows: Sequence[KernelRow]) -> tuple[str, ...]:
    missed = misses(rows)
    return (
        str(len(rows)),
        *(figures(part) for part in (missed.decode, missed.prefill, missed.capacity, missed.weights)),
    )


def fit_gpu(rows: Sequence[KernelRow], start: Efficiency) -> Efficiency:
    """Efficiencies of one GPU from its rows: most probable given Gaussian priors around `start`, outliers damped."""
    dense = [row for row in rows if not row.model.experts]
    expert = [row for row in rows if row.model.experts]
    efficiency = _fit(dense, start, FITTED) if dense else start
    return _fit(expert, efficiency, FITTED_EXPERTS) if expert else efficiency


def _fit(rows: Sequence[KernelRow], start: Efficiency, names: dict[str, float]) -> Efficiency:
    prompts = list({(row.model.id, row.tensor, row.input_tokens): row for row in rows if row.prefill > 0}.values())

    def made(x: np.ndarray) -> Efficiency:
        return replace(start, **{name: getattr(start, name) * exp(v) for name, v in zip(names, x, strict=True)})

    def residuals(x: np.ndarray) -> np.ndarray:
        gpu = replace(rows[0].gpu, efficiency=made(x))
        engines: dict[tuple[str, int, str], EngineModel] = {}

        def engine(row: KernelRow) -> EngineModel:
            key = (row.model.id, row.tensor, row.quantization)
            if key not in engines:
                engines[key] = engine_model(row.model, gpu, Parallelism(tensor=row.tensor), row.quantization)
            return engines[key]

        steps = np.array([row.decode_miss(engine(row)) for row in rows]) / DECODE_NOISE
        prefills = np.array([row.prefill_miss(engine(row)) for row in prompts]) * 1.7 / PREFILL_NOISE
        both = np.concatenate([steps, prefills])
        soft = np.sign(both) * np.sqrt(2 * (np.sqrt(1 + both * both) - 1))
        return np.concatenate([soft, 3 * x / np.array(list(names.values()))])

    solution = least_squares(residuals, np.zeros(len(names)), x_scale="jac", max_nfev=12, ftol=1e-3, xtol=1e-3)
    return made(solution.x)


def refit(rows: Sequence[KernelRow]) -> dict[str, Efficiency]:
    """Efficiencies of every GPU, from the mean of all GPUs (the catalog's default)."""
    judged = [row for row in rows if row.table_precision == "bfloat16"]
    return {str(gpu): fit_gpu(group, Efficiency()) for gpu, group in grouped(judged, lambda row: row.gpu.id).items()}


def leave_one_out(rows: Sequence[KernelRow]) -> None:
    """Refit every GPU without one model, and judge that model."""
    judged = [row for row in rows if row.table_precision == "bfloat16"]
    lines, everything = [], {"dense": Misses([], [], [], []), "experts": Misses([], [], [], [])}
    for model, held in grouped(judged, lambda row: row.model.id).items():
        refitted = refit([row for row in judged if row.model.id != model])
        gpus = {row.gpu.id: replace(row.gpu, efficiency=refitted.get(row.gpu.id, Efficiency())) for row in held}
        result = misses(
            held,
            lambda row, gpus=gpus: engine_model(  # type: ignore[misc]
                row.model, gpus[row.gpu.id], Parallelism(tensor=row.tensor), row.quantization
            ),
        )
        pooled = everything["experts" if held[0].model.experts else "dense"]
        pooled.decode.extend(result.decode)
        pooled.prefill.extend(result.prefill)
        lines.append((str(model), str(len(held)), figures(result.decode), figures(result.prefill)))
    for name, result in everything.items():
        lines.append((f"all {name}", str(len(result.decode)), figures(result.decode), figures(result.prefill)))
    table("Leave one model out: refitted per GPU without it", ("model", "rows", "decode step %", "prefill %"), lines)
