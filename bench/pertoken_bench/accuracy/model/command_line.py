"""The same comparisons through `pertoken estimate --from-csv` and `pertoken calibrate`, as another program would make.

Rows go in with exactly the columns that the command documents: no engine, no expert or data parallelism. So runs over
several data-parallel ranks, which these columns cannot say, are left out here, and spread experts count as sliced.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from pertoken_bench.accuracy.model import kernels, serving
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, label, say, table

COLUMNS: Final = ("model", "gpu", "tp", "quantization", "batch", "input_tokens", "output_tokens")
MANY: Final = 1000
DRAWS: Final = 3
_MILLI: Final = 1e3
_RATIO_ROWS: Final = 7  # a deployment is judged by calibration from this many rows on


@dataclass(frozen=True, slots=True)
class ServedPoint:
    """One served measurement and the row that asks for it."""

    asked: tuple[str, ...]
    measured: serving.MeasuredRun


def pertoken(*arguments: str) -> str:
    """Standard output of the command.

    Raises:
        RuntimeError: it did not exit with 0.
    """
    command = (str(Path(sys.executable).with_name("pertoken")), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the product's own command
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def estimates(folder: Path, rows: Iterable[Sequence[str]], calibration: Path | None = None) -> list[dict[str, str]]:
    """The command's answers to these rows."""
    asked = folder / "asked.csv"
    _write(asked, COLUMNS, rows)
    further = () if calibration is None else ("--calibration", str(calibration))
    return list(csv.DictReader(io.StringIO(pertoken("estimate", "--from-csv", str(asked), "-o", "csv", *further))))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def report_kernels(path: Path) -> None:
    """Decode step, prefill and KV capacity, and how long a thousand rows take."""
    rows = kernels.read(path, backends=("vllm", "sglang", "trtllm"))
    with TemporaryDirectory() as name:
        folder = Path(name)
        answers = estimates(folder, (_asked(row) for row in rows))
        _report_time(folder, [_asked(row) for row in rows])
    both = list(zip(rows, answers, strict=True))
    lines = []
    for key, group in grouped(both, lambda pair: (kernels.kind(pair[0]), pair[0].backend)).items():
        decode = [_miss(answer, "decode_step_ms", row.decode * _MILLI, row.name) for row, answer in group]
        prefill = [_miss(answer, "prefill_ms", row.prefill * _MILLI, row.name) for row, answer in group if row.prefill]
        cache = [
            _miss(answer, "kv_capacity_tokens", row.kv_capacity, row.name)
            for row, answer in group
            if row.kv_capacity > 0 and float(answer["kv_capacity_tokens"]) > 0
        ]
        lines.append((label(key), str(len(group)), figures(decode), figures(prefill), figures(cache)))
    table("Kernels, through the command", ("kind", "rows", "decode step %", "prefill %", "KV capacity %"), lines)
    wrong = sorted({answer["error"] for answer in answers if answer["error"]})
    say(f"\nAnswers with an error: {'; '.join(wrong) or 'none'}")


def _asked(row: kernels.KernelRow) -> tuple[str, ...]:
    quantization = "" if row.quantization == "bf16" else row.quantization
    shape = (row.batch, row.input_tokens, row.output_tokens)
    return (row.spelled_model, row.spelled_gpu, str(row.tensor), quantization, *map(str, shape))


def _report_time(folder: Path, rows: Sequence[tuple[str, ...]]) -> None:
    repeated = [rows[i % len(rows)] for i in range(MANY)]
    began = time.perf_counter()
    estimates(folder, repeated)
    say(f"\n{MANY} rows, start of the process included: {time.perf_counter() - began:.2f} s")


def _miss(answer: dict[str, str], column: str, truth: float, name: str) -> Miss:
    return Miss(log(float(answer[column]) / truth), name)


def report_served(path: Path) -> None:
    """Closed-loop latencies before and after calibration."""
    points = [ServedPoint(_asked_of(row), row) for row in serving.read(path) if row.deployment.parallelism.data == 1]
    with TemporaryDirectory() as name:
        folder = Path(name)
        lines = [("prior", str(len(points)), *_judged(points, estimates(folder, (point.asked for point in points))))]
        for size in serving.CALIBRATED_WITH:
            steps, ttft = _calibrated(folder, points, size)
            lines.append((f"{size} points", str(len(steps)), figures(steps), figures(ttft)))
    table("Served, through the commands", ("calibrated with", "judged", "inter-token latency %", "TTFT %"), lines)


def _asked_of(row: serving.MeasuredRun) -> tuple[str, ...]:
    model, precision, gpu, *_ = row.group
    clients = (row.clients.concurrency, row.clients.input_tokens, row.clients.output_tokens)
    quantization = serving.PRECISIONS.get(precision, "")
    return (model, gpu, str(row.deployment.parallelism.tensor), quantization, *(f"{value:g}" for value in clients))


def _judged(points: Sequence[ServedPoint], answers: Sequence[dict[str, str]]) -> tuple[str, str]:
    steps, ttft = _misses(points, answers)
    return figures(steps), figures(ttft)


def _misses(points: Sequence[ServedPoint], answers: Sequence[dict[str, str]]) -> tuple[list[Miss], list[Miss]]:
    both = [(point.measured, answer) for point, answer in zip(points, answers, strict=True) if answer["itl_ms"]]
    steps = [_miss(answer, "itl_ms", row.inter_token * _MILLI, row.name) for row, answer in both]
    ttft = [_miss(answer, "ttft_ms", row.ttft * _MILLI, row.name) for row, answer in both if row.ttft > 0]
    return steps, ttft


def _calibrated(folder: Path, points: Sequence[ServedPoint], size: int) -> tuple[list[Miss], list[Miss]]:
    """Gains from `size` random points of each deployment, judged on its others.

    Deployments that the columns cannot tell apart (engines, versions) are calibrated one after the other.
    """
    rng = np.random.default_rng(size)
    steps: list[Miss] = []
    ttft: list[Miss] = []
    deployments = [
        group for group in grouped(points, lambda point: point.measured.group).values() if len(group) >= _RATIO_ROWS
    ]
    for _ in range(DRAWS):
        for together in _rounds(deployments):
            seen: list[ServedPoint] = []
            others: list[ServedPoint] = []
            for group in together:
                order = rng.permutation(len(group))
                seen += [group[i] for i in order[:size]]
                others += [group[i] for i in order[size:]]
            more = _misses(others, estimates(folder, (point.asked for point in others), _learn(folder, seen)))
            steps += more[0]
            ttft += more[1]
    return steps, ttft


def _rounds(deployments: Sequence[list[ServedPoint]]) -> list[list[list[ServedPoint]]]:
    """Deployments in as few rounds as keep those with the same columns apart."""
    rounds: list[list[list[ServedPoint]]] = []
    for same in grouped(deployments, lambda group: group[0].measured.deployment.key).values():
        for number, group in enumerate(same):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(group)
    return rounds


def _learn(folder: Path, points: Sequence[ServedPoint]) -> Path:
    observed, learnt = folder / "observed.csv", folder / "calibration.json"
    rows = [
        (
            *point.asked,
            f"{point.measured.inter_token * _MILLI:.6g}",
            f"{point.measured.ttft * _MILLI:.6g}" if point.measured.ttft > 0 else "",
        )
        for point in points
    ]
    _write(observed, (*COLUMNS, "itl_ms", "ttft_ms"), rows)
    learnt.write_text(pertoken("calibrate", str(observed), "-o", "json"), encoding="utf-8")
    return learnt
