"""The benchmark's engine simulator against an independent one on the same arrivals (`vidur_reference.csv`).

Per device, model and scheduler four numbers are learnt from the lowest rate of each of its shapes, and from nothing
else: seconds added to every step, factors on decode, on prefill, and on reading the KV cache. All higher rates are
judged.

The arrivals are those of the reference (microsoft/vidur, MIT): exponential gaps from Python's generator at the row's
seed, none longer than three mean gaps. As there, the first and the last tenth of the requests are left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pertoken_bench.accuracy.model.dynamics import SimulatedRun, read
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, say, table, worst
from pertoken_bench.compiled_engine.fleet import Edges, Fleet, LatencyLimits, SimulationConfig, VariantEngine
from pertoken_bench.hardware.catalog_times import tabulated
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.traces.trace import Trace

LONGEST_GAP: Final = 3.0  # mean gaps
DROPPED: Final = 0.1  # of the requests at either end
BLOCK: Final = 16
GROWTHS: Final = ((1.0, 1.5), (1.5, 2.5), (2.5, inf), (1.0, inf))  # of the time per token
# What the fit takes as one standard deviation: of log ratios, of log gains (as the operator's calibration), of seconds.
TTFT_SPREAD, STEP_SPREAD, GAIN_SPREAD, OVERHEAD_SPREAD = 0.1, 0.01, 0.25, 0.02


@dataclass(frozen=True, slots=True)
class StepFactors:
    """Seconds per step, and factors."""

    overhead: float = 0.0
    decode: float = 1.0
    prefill: float = 1.0
    cache: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplayedMeans:
    """Means over the requests that count: seconds, tokens per second."""

    ttft: float
    inter_token: float
    tokens_per_second: float


def arrivals(row: SimulatedRun) -> np.ndarray:
    """Seconds."""
    drawn = random.Random(row.seed)  # noqa: S311 - the reference's own generator
    gaps = [min(-log(1.0 - drawn.random()), LONGEST_GAP) / row.rate for _ in range(row.requests)]
    return np.cumsum(gaps)


def replay(row: SimulatedRun, learnt: StepFactors) -> ReplayedMeans:
    """Serve the row's requests."""
    count, prompt, answer = row.requests, round(row.load.input_tokens), round(row.load.output_tokens)
    sent = arrivals(row)
    none = np.zeros(0, np.int32)
    trace = Trace(
        sent,
        np.full(count, prompt, np.int32),
        np.full(count, answer, np.int32),
        np.zeros(count, np.int32),
        none,
        np.zeros(count + 1, np.int64),
    )
    model, cap = row.engine.model, row.engine.cap or 1
    corrected = replace(
        model,
        layer_overhead=model.layer_overhead + learnt.overhead,
        kv_bandwidth=model.kv_bandwidth / learnt.cache,
    )
    fleet = Fleet(
        trace,
        SimulationConfig(
            kinds=[
                VariantEngine(
                    tabulated(corrected, *row.setting, 1), round(row.engine.kv_tokens / BLOCK), model.batched_tokens
                )
            ],
            objectives=[LatencyLimits()],
            edges=[Edges((1.0,), (1.0,), (1.0,))],
            truth=Truth(learnt.decode, learnt.prefill, spread=0.0, noise=0.0, slow_start=0.0),
            slots=1,
            max_cap=cap,
            record=True,
        ),
    )
    fleet.start(0, 0, 0, cap, 0.0)
    fleet.advance(inf)
    first, last = fleet.state.record[:, 0], fleet.state.record[:, 1]
    head, tail = int(DROPPED * count), int((1 - DROPPED) * count)
    ended = np.sort(last)
    return ReplayedMeans(
        float((first - sent)[head:tail].mean()),
        float((last - first)[head:tail].mean()) / (answer - 1),
        (tail - head) * answer / float(ended[tail - 1] - ended[head]),
    )


def learn(rows: Sequence[SimulatedRun]) -> StepFactors:
    """The corrections that meet these runs best; near none where they do not say."""

    def misses(values: np.ndarray) -> list[float]:
        corrected = _learnt(values)
        residuals = list((values - 1.0) * np.array([0.01 / OVERHEAD_SPREAD, *[1.0 / GAIN_SPREAD] * 3]))
        for row in rows:
            served = replay(row, corrected)
            residuals += [
                log(served.ttft / row.ttft) / TTFT_SPREAD,
                log(served.inter_token / row.inter_token) / STEP_SPREAD,
            ]
        return residuals

    return _learnt(least_squares(misses, np.ones(4), diff_step=0.02).x)


def _learnt(values: np.ndarray) -> StepFactors:
    """Of the optimizer's numbers: hundredths of a second and logarithms, plus 1: its steps are relative."""
    return StepFactors(0.01 * (float(values[0]) - 1.0), *(exp(float(value) - 1.0) for value in values[1:]))


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A run, what the simulator makes of it, and its time per token over that at the lowest rate."""

    row: SimulatedRun
    served: ReplayedMeans
    growth: float

    @property
    def overloaded(self) -> bool:
        """The simulator's replica does not keep up, by the rule that the reference is judged by."""
        own = replace(
            self.row,
            ttft=self.served.ttft,
            inter_token=self.served.inter_token,
            tokens_per_second=self.served.tokens_per_second,
        )
        return own.overloaded


def judge(rows: Sequence[SimulatedRun]) -> tuple[list[ReplayedRun], dict[str, StepFactors]]:
    """All but the lowest rates, and what was learnt from those."""
    replayed: list[ReplayedRun] = []
    corrections: dict[str, StepFactors] = {}
    for deployment in grouped(rows, lambda row: row.setting[0]).values():
        shapes = [
            sorted(group, key=lambda row: row.rate)
            for group in grouped(deployment, lambda row: row.setting[1]).values()
        ]
        learnt = learn([shape[0] for shape in shapes])
        corrections[deployment[0].setting[0]] = learnt
        for lowest, *higher in shapes:
            for row in higher:
                known = replace(row, lowest_ttft=lowest.ttft)
                replayed.append(ReplayedRun(known, replay(row, learnt), row.inter_token / lowest.inter_token))
    return replayed, corrections


def report(path: Path) -> None:
    """Errors by load, and overloads."""
    judged, corrections = judge(read(path))
    say("\n## Dynamics: the engine simulator on the same arrivals\n")
    for name, learnt in corrections.items():
        say(
            f"- {name}: {learnt.overhead * 1e3:+.1f} ms a step, decode {learnt.decode:.2f}, "
            f"prefill {learnt.prefill:.2f}, KV cache {learnt.cache:.2f}"
        )
    steady = [run for run in judged if not run.row.overloaded and not run.overloaded]
    lines = []
    for low, high in GROWTHS:
        group = [run for run in steady if low <= run.growth < high]
        steps = [Miss(log(run.served.inter_token / run.row.inter_token), run.row.name) for run in group]
        ttft = [Miss(log(run.served.ttft / run.row.ttft), run.row.name) for run in group]
        tokens = [Miss(log(run.served.tokens_per_second / run.row.tokens_per_second), run.row.name) for run in group]
        name = f"{low:g} to {high:g}" if high < inf else f"from {low:g}"
        lines.append((name, str(len(group)), figures(steps), figures(ttft), figures(tokens)))
        say(f"\nWorst {name}: {worst(steps, 3)}; TTFT {worst(ttft, 3)}; tokens/s {worst(tokens, 2)}")
    table(
        "By time per token over that at the lowest rate",
        ("growth", "runs", "time per token %", "TTFT %", "tokens/s %"),
        lines,
    )
    both = [run for run in judged if run.row.overloaded and run.overloaded]
    missed = [run.row.name for run in judged if run.row.overloaded and not run.overloaded]
    early = [run.row.name for run in judged if run.overloaded and not run.row.overloaded]
    say(f"\nOverloads: {len(both)} recognised; missed: {', '.join(missed) or 'none'}; "
        f"seen too early: {', '.join(early) or 'none'}")  # fmt: skip
