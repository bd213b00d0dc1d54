"""The page's pictures: SVG, the same results give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.figure import Figure

from pertoken_bench.report.html_report import pareto
from pertoken_bench.report.labels import place

OWN, KNOWING, PEER = "tab:red", "tab:green", "tab:blue"
FORESEEING = ("clairvoyant", "static-peak", "static-best")
TOP = 108.0  # upper end of the attainment axis, %
FRAME = (620.0, 375.0)  # points: width and height of the axes
NUMBERED = frozenset({2, 3, 4, 5, 7, 15, 20, 30, 50, 70})  # minor ticks with a number
MARGIN = 1.16  # from the outermost points to the frame, as a factor


def save(figure: Figure, path: Path) -> None:
    """Write an SVG without a date, and with text as text."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "pertoken", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def scatter(rows: Sequence[Mapping[str, Any]], required: float, title: str) -> Figure:
    """Cost (logarithmic) against attainment; whiskers are 95 % intervals over seeds, clipped to the frame."""
    figure = Figure(figsize=(9.5, 6.0), layout="constrained")
    axes = figure.add_subplot()
    front, points, whiskers = pareto(rows), {}, []
    for row in rows:
        usd, share, name = row["usd"], row["slo_attainment"], row["policy"]
        if usd["mean"] is None or share["mean"] is None:
            continue
        colour = OWN if name.startswith("pertoken") else KNOWING if name in FORESEEING else PEER
        points[name] = (usd["mean"], share["mean"] * 100.0)
        half = 0.0 if share["interval"] is None else (share["interval"][1] - share["interval"][0]) * 50.0
        low, high = min(half, points[name][1]), min(half, 100.0 - points[name][1])
        whiskers.append([(usd["mean"], points[name][1] - low), (usd["mean"], points[name][1] + high)])
        axes.errorbar(*points[name], yerr=[[low], [high]], fmt="o", color=colour, elinewidth=0.7, markersize=5)
    line = [points[name] for name in front if name in points]
    axes.plot([x for x, _ in line], [y for _, y in line], color="0.6", linewidth=1, zorder=0)
    axes.axhline(required * 100.0, color="0.3", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if value in NUMBERED else "")
    axes.set_ylim(0, TOP)
    threshold = [(x, required * 100.0) for x in (_Frame(points).least, _Frame(points).most)]
    _name(axes, points, [line, threshold, *whiskers])
    axes.set_xlabel("USD in the scored time")
    axes.set_ylabel("requests within the objectives, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    return figure


class _Frame:
    """From figures of the axes to points within the frame, and back."""

    def __init__(self, points: Mapping[str, tuple[float, float]]) -> None:
        costs = [x for x, _ in points.values()]
        self.least, self.most = min(costs) / MARGIN, max(costs) * MARGIN**2  # room for the last name

    def point(self, x: float, y: float) -> tuple[float, float]:
        """USD and per cent as points (1/72 inch)."""
        return FRAME[0] * log(x / self.least) / log(self.most / self.least), FRAME[1] * y / TOP

    def figures(self, across: float, up: float) -> tuple[float, float]:
        """Points as USD and per cent."""
        return self.least * exp(across / FRAME[0] * log(self.most / self.least)), up / FRAME[1] * TOP


def _name(axes: Any, points: Mapping[str, tuple[float, float]], lines: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Write every point's name where it touches nothing."""
    frame = _Frame(points)
    dots = {name: frame.point(*point) for name, point in points.items()}
    drawn = [[frame.point(*corner) for corner in line] for line in lines]
    for label in place(dots, drawn, FRAME):
        dot, box = points[label.name], label.box
        corner = frame.figures(box.left, (box.bottom + box.top) / 2.0)
        axes.text(*corner, label.name, fontsize=7.5, verticalalignment="center")
        if label.far:
            nearest = min(max(dots[label.name][0], box.left), box.right)
            height = box.bottom if dots[label.name][1] < box.bottom else min(box.top, dots[label.name][1])
            end = frame.figures(nearest, height)
            axes.plot([dot[0], end[0]], [dot[1], end[1]], color="0.6", linewidth=0.5, zorder=0)
    axes.set_xlim(frame.least, frame.most)


def timelines(by_policy: Mapping[str, Any], policies: Sequence[str], title: str) -> Figure:
    """Demand above, Ready replicas of several policies below; seed 0."""
    figure = Figure(figsize=(9.5, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
    shown = [name for name in policies if name in by_policy]
    first = by_policy[shown[0]]
    above.plot([t / 60.0 for t in first["times"]], first["demand"], color="0.3", linewidth=0.8)
    above.set_ylabel("requests/s")
    above.set_title(title, fontsize=10)
    for name in shown:
        timeline = by_policy[name]
        total = [sum(counts) for counts in zip(*timeline["ready"].values(), strict=True)]
        width = 1.8 if name == "pertoken" else 1.0
        below.step([t / 60.0 for t in timeline["times"]], total, where="post", label=name, linewidth=width)
    below.set_ylabel("Ready replicas")
    below.set_xlabel("minutes")
    below.set_yscale("log", base=2)
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.grid(alpha=0.3)
    figure.legend(*below.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=len(shown))
    return figure
