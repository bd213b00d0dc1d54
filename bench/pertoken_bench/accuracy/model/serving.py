"""Against served measurements: closed-loop runs of `silicon_sample.csv`.

Rows kept: a closed loop with its concurrency and mean time per output token, a model and GPU of the catalog. Left out
as implausible, by rules that do not use the model:

- `gpus`: tensor x data parallelism is not a power of two up to 8, or not the number of GPUs that the row names (rows in
  which a product of parallelisms was recorded as one of them);
- `waits`: the mean time to first token exceeds the time that the answer takes: clients wait for admission, so the
  concurrency is not the batch;
- `floor`: the time per token is below what the data sheet allows (weights and half of the KV cache at peak bandwidth,
  or the arithmetic of prompts and answers at peak FLOP/s of the row's precision);
- `order`: another run of the same deployment and shape with more clients had a time per token at least 10 % lower;
- `twice`: the same deployment, shape and concurrency was measured twice, more than 15 % apart: a setting differed that
  the table does not tell (speculative decoding, for one).
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Final

import numpy as np

from pertoken.calculators.closed_fit import Point, fit_best
from pertoken.calculators.closed_loop import AS_SERVED, Clients, ClosedGains, ClosedLoop, closed_loop
from pertoken.calculators.estimate import Deployment
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import SHIPPED, Unknown, quantization_of
from pertoken.catalog.models import Model
from pertoken.domain.service import Parallelism
from pertoken.performance.memory import precision_of
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, label, say, table, worst

PRECISIONS: Final = {"fp8": "fp8", "fp4": "nvfp4", "int4": "int4", "bf16": ""}
CALIBRATED_WITH: Final = (3, 4, 5, 6)
DRAWS: Final = 3
SMALL, LARGE = 16, 64


@dataclass(frozen=True, slots=True)
class ServedGains:
    """Gains of a deployment, and the engine that they are relative to."""

    gains: ClosedGains = AS_SERVED
    engine: str | None = None


PRIOR: Final = ServedGains()


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One measured run; seconds. `group` is what counts as one deployment."""

    deployment: Deployment
    clients: Clients
    inter_token: float
    ttft: float
    group: tuple[str, ...]
    backend: str
    why_not: str = ""

    @property
    def name(self) -> str:
        """Short."""
        model, gpu, tensor, precision = self.deployment.key
        return (
            f"{model.split('/')[-1]} {precision} {gpu} tp{tensor} {self.backend} "
            f"{self.clients.input_tokens:g}/{self.clients.output_tokens:g} c{self.clients.concurrency:g}"
        )

    @property
    def point(self) -> Point:
        """For a calibration."""
        return Point(self.deployment.share(self.clients), self.inter_token, self.ttft or None)

    def step_miss(self, learnt: ServedGains = PRIOR) -> Miss:
        """Of the inter-token latency."""
        return Miss(log(self._loop(learnt).inter_token / self.inter_token), self.name)

    def ttft_miss(self, learnt: ServedGains = PRIOR) -> Miss:
        """Of the time to first token."""
        return Miss(log(self._loop(learnt).ttft / self.ttft), self.name)

    def _loop(self, learnt: ServedGains) -> ClosedLoop:
        own = self.deployment if learnt.engine is None else replace(self.deployment, engine=learnt.engine)
        return closed_loop(own.coefficients, own.serving, own.share(self.clients), learnt.gains)


def read(path: Path, *, named_engine: bool = False) -> list[MeasuredRun]:
    """Plausible rows; says how many were left out and why.

    Args:
        path: the table.
        named_engine: use each engine's own parameters rather than the mean over engines.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        rows = [row for raw in csv.DictReader(file) if (row := _row(raw, named_engine)) is not None]
    reasons = {id(row): _implausible(row, gpus) for row, gpus in rows}
    kept = [row for row, _ in rows if not reasons[id(row)]]
    counts = Counter(reason for reason in reasons.values() if reason)
    for name, rule in (("order", _slower_with_fewer), ("twice", _disagreeing)):
        wrong = _inconsistent(kept, rule)
        counts[name] = len(wrong)
        kept = [row for row in kept if id(row) not in wrong]
    say(f"{len(rows)} closed-loop rows; left out: {', '.join(f'{name} {n}' for name, n in sorted(counts.items()))}")
    return kept


def _row(raw: dict[str, str], named_engine: bool) -> tuple[MeasuredRun, int] | None:
    if raw["scenario"] != "closed-loop" or not raw["tpot_mean_ms"] or not raw["concurrency"]:
        return None
    model, gpu = SHIPPED.model(raw["model"]), SHIPPED.gpu(raw["gpu"])
    if isinstance(model, Unknown) or isinstance(gpu, Unknown):
        say(f"not in the catalog: {raw['model']} {raw['gpu']}")
        return None
    tensor, data, expert = (int(float(raw[name] or 1)) for name in ("tp", "dp", "ep"))
    quantization = PRECISIONS.get(raw["precision"], "") or quantization_of(raw["model"])
    deployment = Deployment(
        model,
        gpu,
        Parallelism(tensor=tensor, data=data, expert=expert),
        quantization,
        kv_quantization=_recorded_cache(model, gpu, quantization),
        engine=raw["backend"] if named_engine else "",
    )
    group = tuple(raw[name] for name in ("model", "precision", "gpu", "backend", "backend_version", "tp", "ep", "dp"))
    clients = Clients(float(raw["concurrency"]), float(raw["isl"]), float(raw["osl"]))
    ttft = float(raw["ttft_mean_ms"] or 0.0) / 1e3
    row = MeasuredRun(deployment, clients, float(raw["tpot_mean_ms"]) / 1e3, ttft, group, raw["backend"])
    return row, int(float(raw["n_gpus"] or 0))


def _recorded_cache(model: Model, gpu: Gpu, quantization: str) -> str:
    """The recorded runs with fp8 and nvfp4 weights set the KV cache to 8 bits where the GPU has the type."""
    return "fp8" if precision_of(model, quantization) in {"fp8", "nvfp4"} and gpu.flops_fp8 is not None else "bf16"


def _implausible(row: MeasuredRun, gpus: int) -> str:
    parallelism = row.deployment.parallelism
    size = parallelism.tensor * parallelism.data
    if size not in {1, 2, 4, 8} or (gpus and gpus != size):
        return "gpus"
    if row.ttft > row.clients.output_tokens * row.inter_token:
        return "waits"
    return "floor" if row.inter_token < _floor(row) else ""


def _floor(row: MeasuredRun) -> float:
    """Seconds per token that the data sheet allows at best."""
    engine, gpu, clients = row.deployment.coefficients, row.deployment.gpu, row.deployment.share(row.clients)
    peaks = {"fp8": gpu.flops_fp8, "int8": gpu.flops_int8, "nvfp4": gpu.flops_fp4, "mxfp4": gpu.flops_fp4}
    peak = peaks.get(row.deployment.precision) or gpu.flops_bf16
    tokens = clients.concurrency * (1.0 + clients.input_tokens / max(clients.output_tokens, 1.0))
    flops = tokens * (engine.body_flops + engine.expert_flops * engine.chosen)
    cached = (
        0.0 if engine.sparse_tokens or engine.window else 0.5 * clients.concurrency * clients.context * engine.kv_bytes
    )
    return max(flops / peak, (engine.body_bytes + engine.head_bytes + cached) / gpu.bandwidth)


def _inconsistent(rows: Sequence[MeasuredRun], rule: Callable[[MeasuredRun, MeasuredRun], bool]) -> set[int]:
    """Rows that the rule finds at odds with another one of the same deployment and shape."""
    shapes = grouped(rows, lambda row: (row.group, row.clients.input_tokens, row.clients.output_tokens))
    return {id(row) for group in shapes.values() for row in group if any(rule(row, other) for other in group)}


def _slower_with_fewer(row: MeasuredRun, other: MeasuredRun) -> bool:
    return other.clients.concurrency > row.clients.concurrency and other.inter_token * 1.1 < row.inter_token


def _disagreeing(row: MeasuredRun, other: MeasuredRun) -> bool:
    pair = sorted((row.inter_token, other.inter_token))
    return other.clients.concurrency == row.clients.concurrency and pair[1] > 1.15 * pair[0]


def kind(row: MeasuredRun) -> str:
    """Dense or experts."""
    return "experts" if row.deployment.model.experts else "dense"


def report(rows: Sequence[MeasuredRun]) -> None:
    """From the prior, and calibrated."""
    say("Median / 90th percentile of the absolute relative error, bias in brackets, per cent.")
    lines = [(name, *_prior(group)) for name, group in (("all", rows), *grouped(rows, kind).items())]
    table("Prior", ("kind", "rows", "inter-token latency %", "TTFT %"), [tuple(map(str, line)) for line in lines])
    by_engine = grouped(rows, lambda row: (kind(row), row.backend, row.deployment.precision))
    table(
        "Prior by engine and precision",
        ("kind", "rows", "inter-token latency %", "TTFT %"),
        [(label(key), *_prior(group)) for key, group in by_engine.items()],
    )
    by_model = grouped(rows, lambda row: (row.deployment.model.id, row.deployment.gpu.id))
    table(
        "Prior by model and GPU",
        ("model", "rows", "inter-token latency %", "TTFT %"),
        [(label(key), *_prior(group)) for key, group in by_model.items()],
    )
    say(f"\nWorst: {worst([row.step_miss() for row in rows], 8)}")
    _calibrated(rows)
    _extrapolated(rows)


def _prior(rows: Sequence[MeasuredRun]) -> tuple[str, str, str]:
    timed = [row.ttft_miss() for row in rows if row.ttft > 0]
    return str(len(rows)), figures([row.step_miss() for row in rows]), figures(timed)


def calibrate(rows: Sequence[MeasuredRun]) -> ServedGains:
    """One deployment's gains from its rows, and the engine that it serves like."""
    deployment = rows[0].deployment
    best = fit_best(deployment.coefficients, deployment.profiles, [row.point for row in rows])
    return ServedGains(best.gains, best.profile)


def _calibrated(rows: Sequence[MeasuredRun]) -> None:
    """Gains from k points of a deployment, judged on its other points."""
    rng = np.random.default_rng(0)
    deployments = [group for group in grouped(rows, lambda row: row.group).values() if len(group) >= 7]
    lines = []
    pooled_steps: list[Miss] = []
    pooled_ttft: list[Miss] = []
    for size in CALIBRATED_WITH:
        steps: list[Miss] = []
        ttft: list[Miss] = []
        for group in deployments:
            for _ in range(DRAWS):
                order = rng.permutation(len(group))
                gains = calibrate([group[i] for i in order[:size]])
                others = [group[i] for i in order[size:]]
                steps += [row.step_miss(gains) for row in others]
                ttft += [row.ttft_miss(gains) for row in others if row.ttft > 0]
        lines.append((str(size), str(len(steps)), figures(steps), figures(ttft)))
        pooled_steps += steps
        pooled_ttft += ttft
    lines.append(("3 to 6", str(len(pooled_steps)), figures(pooled_steps), figures(pooled_ttft)))
    table(
        f"Calibrated with k random points, on the other points ({len(deployments)} deployments, {DRAWS} draws each)",
        ("points", "judged", "inter-token latency %", "TTFT %"),
        lines,
    )


def _extrapolated(rows: Sequence[MeasuredRun]) -> None:
    """Calibrated at small concurrency, judged at large."""
    misses: dict[str, list[Miss]] = {"dense": [], "experts": []}
    for group in grouped(rows, lambda row: row.group).values():
        small = [row for row in group if row.clients.concurrency <= SMALL]
        large = [row for row in group if row.clients.concurrency >= LARGE]
        if len(small) >= CALIBRATED_WITH[0] and large:
            gains = calibrate(small)
            misses[kind(group[0])] += [row.step_miss(gains) for row in large]
    table(
        f"Calibrated at up to {SMALL} clients, judged at {LARGE} and more",
        ("kind", "judged", "inter-token latency %"),
        [(name, str(len(part)), figures(part)) for name, part in misses.items()],
    )
