"""The run in one picture: demand, replicas, batch, cost, latency over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from pertoken_sandbox.demo.record import LiveSample, Record

INK = "#1f2933"
MUTED = "#7b8794"
BLUE = "#2563eb"
ORANGE = "#d97706"
GREEN = "#059669"
RED = "#dc2626"
GRID = "#e4e7eb"


@dataclass(frozen=True, slots=True)
class ReferenceLines:
    """Reference values drawn as dashed lines."""

    static_replicas: int
    static_usd_per_million: float
    target_usd_per_million: float
    ttft_objective: float
    inter_token_objective: float


def draw(record: Record, lines: ReferenceLines, title: str, path: Path) -> None:
    """Write the picture as PNG."""
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK})
    figure, panels = plt.subplots(5, 1, figsize=(11, 12.5), sharex=True, constrained_layout=True)
    _demand(panels[0], record)
    _replicas(panels[1], record, lines)
    _batch(panels[2], record)
    _cost(panels[3], record, lines)
    _latency(panels[4], record, lines)
    for axes in panels:
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    panels[-1].set_xlabel("seconds of the demo")
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(record: Record, value: Callable[[LiveSample], float | None]) -> tuple[list[float], list[float]]:
    points = [(sample.seconds, shown) for sample in record.samples if (shown := value(sample)) is not None]
    return [x for x, _ in points], [y for _, y in points]


def _legend(axes: Axes, columns: int = 4) -> None:
    axes.legend(loc="upper left", ncols=columns, frameon=False, fontsize=9, bbox_to_anchor=(0.0, 1.16))


def _demand(axes: Axes, record: Record) -> None:
    axes.plot(*_curve(record, lambda s: _thousand(s.input_tokens_per_second)), color=BLUE, label="input (prefill)")
    axes.plot(*_curve(record, lambda s: _thousand(s.output_tokens_per_second)), color=ORANGE, label="output (decode)")
    axes.set_ylabel("demand\nthousand tokens/s")
    _legend(axes)


def _replicas(axes: Axes, record: Record, lines: ReferenceLines) -> None:
    axes.step(*_curve(record, lambda s: s.desired), where="post", color=MUTED, linestyle=":", label="desired")
    axes.step(*_curve(record, lambda s: s.bound), where="post", color=ORANGE, linewidth=1.2, label="billed")
    axes.step(*_curve(record, lambda s: s.ready), where="post", color=BLUE, linewidth=2, label="ready")
    axes.axhline(lines.static_replicas, color=RED, linestyle="--", linewidth=1, label="static peak")
    axes.set_ylabel("replicas")
    _legend(axes)


def _batch(axes: Axes, record: Record) -> None:
    axes.step(*_curve(record, lambda s: s.cap), where="post", color=RED, label="cap (max_num_seqs)")
    axes.plot(*_curve(record, lambda s: s.batch), color=BLUE, label="operating batch per replica")
    completed = _times(record, "cap-complete")
    for index, seconds in enumerate(completed):
        axes.axvline(seconds, color=GREEN, linewidth=1, label="change completed" if index == 0 else None)
    axes.set_ylabel("sequences")
    _legend(axes)


def _cost(axes: Axes, record: Record, lines: ReferenceLines) -> None:
    axes.plot(*_curve(record, lambda s: s.usd_per_million), color=BLUE, linewidth=2, label="pertoken, since the start")
    axes.axhline(lines.static_usd_per_million, color=RED, linestyle="--", linewidth=1, label="static peak")
    axes.axhline(lines.target_usd_per_million, color=GREEN, linestyle="--", linewidth=1, label="target")
    highest = 2.5 * lines.static_usd_per_million
    axes.set_ylabel("USD per\nmillion tokens")
    _legend(axes)
    axes.set_ylim(0, highest)


def _latency(axes: Axes, record: Record, lines: ReferenceLines) -> None:
    share = "p95 as share of the objective"
    axes.plot(
        *_curve(record, lambda s: _ratio(s.ttft_p95, lines.ttft_objective)),
        color=BLUE,
        label=f"TTFT ({lines.ttft_objective * 1000:.0f} ms)",
    )
    axes.plot(
        *_curve(record, lambda s: _ratio(s.inter_token_p95, lines.inter_token_objective)),
        color=ORANGE,
        label=f"time per output token ({lines.inter_token_objective * 1000:.0f} ms)",
    )
    axes.axhline(1.0, color=RED, linestyle="--", linewidth=1, label="objective")
    axes.set_ylabel(share.replace(" as ", "\nas "))
    _legend(axes)


def _times(record: Record, kind: str) -> Sequence[float]:
    return [happening.seconds for happening in record.happenings if happening.kind == kind]


def _thousand(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _ratio(value: float | None, objective: float) -> float | None:
    return None if value is None else value / objective
