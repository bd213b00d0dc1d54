"""Against an independent simulator of continuous batching: Poisson arrivals at rising rates (`vidur_reference.csv`).

Per setting (device, model, scheduler, shape) two gains are learnt from its lowest rate alone: decode from the time per
output token, prefill from the time to first token. All higher rates are judged. Absolute speeds do not matter then:
what is judged is how latency grows with load, which the planner's steady state has to know.
The reference has no output head where its row says so; then the model has none either. Rows that replay a trace of
mixed lengths are left out (a mean request does not describe them).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Final

from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import engine_model
from pertoken.performance.steady import Engine, Load, OperatingPoint, at_rate
from pertoken.performance.step_time import Gains
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, say, table, worst

BUSY: Final = (0.5, 0.8)  # prefill shares that part the table
HOPELESS: Final = 10.0  # times the time to first token at the lowest rate
SERVED: Final = 0.93  # of the offered tokens: below, the simulated replica falls behind
ROUNDS: Final = 30
BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One simulated run; seconds, tokens, requests per second; how many requests, from which seed."""

    setting: tuple[str, str]
    engine: Engine
    load: Load
    rate: float
    ttft: float
    inter_token: float
    tokens_per_second: float
    requests: int
    seed: int
    lowest_ttft: float = 0.0

    @property
    def name(self) -> str:
        """Short."""
        return f"{' '.join(self.setting)} at {self.rate:g}/s"

    @property
    def overloaded(self) -> bool:
        """The simulator's replica does not keep up: tokens are missing, or requests wait ten times as long as alone."""
        late = self.ttft > HOPELESS * self.lowest_ttft > 0.0
        return late or self.tokens_per_second < SERVED * self.rate * self.load.output_tokens


def read(path: Path) -> list[SimulatedRun]:
    """Rows of fixed lengths."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(raw) for raw in csv.DictReader(file) if not raw["trace"]]


def _row(raw: dict[str, str]) -> SimulatedRun:
    model, gpu = SHIPPED.model(raw["model"]), SHIPPED.gpu(raw["device"])
    if isinstance(model, Unknown) or isinstance(gpu, Unknown):
        raise TypeError(f"not in the catalog: {raw['model']} {raw['device']}")
    coefficients = engine_model(model, gpu, Parallelism(tensor=int(raw["tp"])))
    if raw["lm_head_modelled"] == "0":
        coefficients = replace(coefficients, head_bytes=0.0, head_flops=0.0)
    engine = Engine(
        coefficients.with_batched_tokens(int(raw["chunk_or_max_tokens"])),
        cap=int(raw["batch_cap"]),
        kv_capacity=float(raw["kv_blocks16"]) * BLOCK,
    )
    prompt, answer = float(raw["isl"]), float(raw["osl"])
    return SimulatedRun(
        setting=(raw["tag"], f"{raw['isl']}/{raw['osl']}"),
        engine=engine,
        load=Load(prompt, answer, context=prompt + answer / 2, prompt_spread=0.0),
        rate=float(raw["qps"]),
        ttft=float(raw["ttft_mean_ms"]) / 1e3,
        inter_token=float(raw["tpot_mean_ms"]) / 1e3,
        tokens_per_second=float(raw["out_tok_s"]),
        requests=int(raw["num_requests"]),
        seed=int(raw["seed"]),
    )


def learnt(row: SimulatedRun) -> Engine:
    """The replica with gains that meet both latencies of this run."""
    gains = Gains()
    for _ in range(ROUNDS):
        point = at_rate(replace(row.engine, gains=gains), row.load, row.rate)
        if point is None:
            break
        gains = Gains(
            gains.decode * (row.inter_token / point.inter_token) ** 0.7, gains.prefill * (row.ttft / point.ttft) ** 0.7
        )
    return replace(row.engine, gains=gains)


@dataclass(frozen=True, slots=True)
class ModelledRun:
    """A run and what the model says of it; None where it says overload."""

    row: SimulatedRun
    point: OperatingPoint | None


def judge(rows: Sequence[SimulatedRun]) -> list[ModelledRun]:
    """All but the lowest rate of each setting."""
    modelled = []
    for group in grouped(rows, lambda row: row.setting).values():
        ordered = sorted(group, key=lambda row: row.rate)
        engine = learnt(ordered[0])
        higher = [replace(row, lowest_ttft=ordered[0].ttft) for row in ordered[1:]]
        modelled += [ModelledRun(row, at_rate(engine, row.load, row.rate)) for row in higher]
    return modelled


def report(path: Path) -> None:
    """Errors by prefill share, and overloads."""
    judged = judge(read(path))
    say("\n## Dynamics: the steady state in closed form")
    lines = []
    steady = [(run.row, run.point) for run in judged if run.point is not None and not run.row.overloaded]
    for low, high in ((0.0, BUSY[0]), BUSY, (0.0, BUSY[1]), (BUSY[1], 1.0)):
        group = [(row, point) for row, point in steady if low <= point.prefill_share < high]
        steps = [Miss(log(point.inter_token / row.inter_token), row.name) for row, point in group]
        ttft = [Miss(log(point.ttft / row.ttft), row.name) for row, point in group]
        served = [
            Miss(log(point.rate * row.load.output_tokens / row.tokens_per_second), row.name) for row, point in group
        ]
        lines.append((f"{low:g} to {high:g}", str(len(group)), figures(steps), figures(ttft), figures(served)))
        say(f"\nWorst at {low:g} to {high:g}: {worst(steps, 3)}; TTFT {worst(ttft, 3)}")
    table(
        "By share of prefill, learnt at the lowest rate",
        ("prefill share", "runs", "time per token %", "TTFT %", "tokens/s %"),
        lines,
    )
    both = [run for run in judged if run.row.overloaded and run.point is None]
    missed = [run.row.name for run in judged if run.row.overloaded and run.point is not None]
    early = [run.row.name for run in judged if not run.row.overloaded and run.point is None]
    say(f"\nOverloads: {len(both)} recognised; missed: {', '.join(missed) or 'none'}; "
        f"seen too early: {', '.join(early) or 'none'}")  # fmt: skip
