"""GPUs without kernel tables: what else was measured on them moves the figures that they take over from a relative.

- Served runs (B300): two factors, on what memory bounds and on what arithmetic bounds, fitted to closed-loop runs.
- MLPerf offline throughput: one factor on both. Submissions are tuned beyond what engines do by default, so a GPU's
  throughput over the model's is divided by the same of the GPUs with kernel tables, workload by workload, and drawn
  towards 1 by a prior.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pertoken.calculators.closed_loop import Clients, closed_loop
from pertoken.calculators.estimate import Deployment
from pertoken.catalog.gpus import Basis, Efficiency, Gpu
from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.domain.service import Parallelism
from pertoken.performance.memory import memory
from pertoken_bench.accuracy.model.error_tables import figures, say
from pertoken_bench.accuracy.model.serving import MeasuredRun

PRIOR: Final = 0.2  # sigma of a factor's logarithm
NOISE: Final = 0.15  # of one workload's ratio of throughputs
MOST: Final = 0.98  # of a data sheet
LEAST_RUNS: Final = 50
BY_MEMORY: Final = ("bandwidth", "kv_bandwidth", "expert_bandwidth")
BY_COMPUTE: Final = ("compute", "attention", "expert_compute")
MOST_CLIENTS: Final = 2048
MOST_TENSOR: Final = 8


@dataclass(frozen=True, slots=True)
class MlperfTask:
    """An MLPerf task: the model, mean tokens in and out of its data set (mlcommons/inference)."""

    model: str
    inputs: float
    outputs: float


WORKLOADS: Final = {
    "llama2-70b-99": MlperfTask("meta-llama/Llama-2-70b", 294, 294),
    "mixtral-8x7b": MlperfTask("mistralai/Mixtral-8x7B-v0.1", 190, 145),
    "llama3.1-8b": MlperfTask("meta-llama/Llama-3.1-8B", 870, 128),
}


def scaled(gpu: Gpu, memory_factor: float, compute_factor: float) -> Gpu:
    """The GPU with efficiencies moved."""
    own = gpu.efficiency
    moved = {name: getattr(own, name) * memory_factor for name in BY_MEMORY}
    moved |= {name: getattr(own, name) * compute_factor for name in BY_COMPUTE}
    return replace(gpu, efficiency=replace(own, **moved))


def fit_served(rows: Sequence[MeasuredRun]) -> dict[str, tuple[int, float, float]]:
    """Runs and both factors of each GPU that has served runs and no kernel table, relative to its shipped figures."""
    by_gpu: dict[str, list[MeasuredRun]] = defaultdict(list)
    for row in rows:
        if row.deployment.gpu.efficiency.basis is not Basis.KERNELS:
            by_gpu[row.deployment.gpu.id].append(row)
    return {name: (len(own), *_factors(own)) for name, own in by_gpu.items() if len(own) >= LEAST_RUNS}


def _factors(rows: Sequence[MeasuredRun]) -> tuple[float, float]:
    def misses(x: np.ndarray) -> np.ndarray:
        gpu = scaled(rows[0].deployment.gpu, exp(x[0]), exp(x[1]))
        moved = (replace(row, deployment=replace(row.deployment, gpu=gpu)) for row in rows)
        return np.concatenate([[row.step_miss().log_ratio / NOISE for row in moved], x / PRIOR])

    own = rows[0].deployment.gpu.efficiency
    most = np.array([log(MOST / max(getattr(own, name) for name in names)) for names in (BY_MEMORY, BY_COMPUTE)])
    start = np.minimum(0.0, most - 0.01)
    solution = least_squares(misses, start, loss="soft_l1", max_nfev=20, bounds=(-2.0, most)).x
    return float(np.exp(solution[0])), float(np.exp(solution[1]))


def fit_throughput(path: Path) -> dict[str, tuple[int, float]]:
    """Workloads and the factor of each GPU that MLPerf has and no kernel table, relative to its shipped figures."""
    ratios: dict[str, dict[str, float]] = defaultdict(dict)
    offline = {place: throughputs for place, throughputs in _offline(path).items() if place[1] in WORKLOADS}
    for (spelled, name), measured in offline.items():
        gpu = SHIPPED.gpu(spelled)
        modelled = None if isinstance(gpu, Unknown) else _throughput(gpu, WORKLOADS[name])
        if modelled and not isinstance(gpu, Unknown):
            ratios[gpu.id][name] = log(median(measured) / modelled)
    usual: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for gpu_id, own in ratios.items():
        for name, ratio in own.items():
            if _gpu(gpu_id).efficiency.basis is Basis.KERNELS:
                usual[name, _narrow(_gpu(gpu_id), name)].append(ratio)
    return dict(_relative(ratios, usual))


def _relative(
    ratios: dict[str, dict[str, float]], usual: dict[tuple[str, bool], list[float]]
) -> Iterable[tuple[str, tuple[int, float]]]:
    for gpu_id, own in ratios.items():
        gpu = _gpu(gpu_id)
        if gpu.efficiency.basis is Basis.KERNELS:
            continue
        apart = [
            ratio - median(usual[name, _narrow(gpu, name)])
            for name, ratio in own.items()
            if (name, _narrow(gpu, name)) in usual
        ]
        if apart:
            weight = len(apart) / NOISE**2
            yield gpu_id, (len(apart), exp(sum(apart) / NOISE**2 / (weight + 1 / PRIOR**2)))


def _gpu(gpu_id: str) -> Gpu:
    gpu = SHIPPED.known_gpu(gpu_id)
    if gpu is None:
        raise LookupError(gpu_id)
    return gpu


def _narrow(gpu: Gpu, name: str) -> bool:
    """Whether submissions ran 4-bit floats."""
    return gpu.flops_fp4 is not None and name != "mixtral-8x7b"


def _offline(path: Path) -> dict[tuple[str, str], list[float]]:
    measured_at: dict[tuple[str, str], list[float]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            measured = float(row["out_tok_s_per_gpu"] or 0)
            if measured and row["source"].startswith("MLPerf") and row["scenario"] == "Offline":
                measured_at[row["gpu"], row["model"]].append(measured)
    return measured_at


def _throughput(gpu: Gpu, workload: MlperfTask) -> float | None:
    """Generated tokens per second and GPU at the best tensor parallelism, as many clients as fit."""
    model = SHIPPED.known_model(workload.model)
    if model is None:
        return None
    weights = "nvfp4" if gpu.flops_fp4 and not model.experts else "fp8"
    narrow = gpu.flops_fp8 is not None
    best = 0.0
    tensor = 1
    while tensor <= MOST_TENSOR:
        parallelism = Parallelism(tensor=tensor)
        room = memory(model, gpu, parallelism, weights, 1.0 if narrow else 2.0).kv_capacity
        clients = min(room / (workload.inputs + workload.outputs / 2), MOST_CLIENTS)
        if clients >= 4:
            deployment = Deployment(model, gpu, parallelism, weights, "fp8" if narrow else "")
            load = deployment.share(Clients(clients, workload.inputs, workload.outputs))
            best = max(
                best, clients / closed_loop(deployment.coefficients, deployment.serving, load).inter_token / tensor
            )
        tensor *= 2
    return best or None


def print_fit(rows: Sequence[MeasuredRun], path: Path) -> None:
    """Factors, and the efficiencies that follow."""
    for gpu_id, (runs, by_memory, by_compute) in fit_served(rows).items():
        own = [row for row in rows if row.deployment.gpu.id == gpu_id]
        moved = scaled(_gpu(gpu_id), by_memory, by_compute)
        after = [replace(row, deployment=replace(row.deployment, gpu=moved)).step_miss() for row in own]
        before = figures([row.step_miss() for row in own])
        say(f"{gpu_id}: {runs} served runs, memory x {by_memory:.3f}, compute x {by_compute:.3f}")
        say(f"  {_words(moved.efficiency)}; inter-token latency %: {before} -> {figures(after)}")
    for gpu_id, (workloads, factor) in fit_throughput(path).items():
        moved = scaled(_gpu(gpu_id), factor, factor)
        say(f"{gpu_id}: {workloads} MLPerf workloads, x {factor:.3f}; {_words(moved.efficiency)}")


def _words(efficiency: Efficiency) -> str:
    names = ("bandwidth", "kv_bandwidth", "compute", "attention", "expert_bandwidth", "expert_compute")
    return ", ".join(f"{name} {getattr(efficiency, name):.3f}" for name in names)
