"""The page's pictures: SVG, the same results give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.figure import Figure

from pertoken_bench.report.html_report import pareto

OWN, KNOWING, PEER = "tab:red", "tab:green", "tab:blue"
FORESEEING = ("clairvoyant", "static-peak", "static-best")
TOP = 108.0  # upper end of the attainment axis, %
FRAME, LETTER, LINE = (620.0, 375.0), 4.2, 9.0  # points: the axes, the width of a letter, the height of a line of names
SHIFTS = (4, -10, 14, -20, 24, -30, 34, -40, 44, -50, 54)


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
    front, points = pareto(rows), {}
    for row in rows:
        usd, share, name = row["usd"], row["slo_attainment"], row["policy"]
        if usd["mean"] is None or share["mean"] is None:
            continue
        colour = OWN if name.startswith("pertoken") else KNOWING if name in FORESEEING else PEER
        points[name] = (usd["mean"], share["mean"] * 100.0)
        half = 0.0 if share["interval"] is None else (share["interval"][1] - share["interval"][0]) * 50.0
        low, high = min(half, points[name][1]), min(half, 100.0 - points[name][1])
        axes.errorbar(*points[name], yerr=[[low], [high]], fmt="o", color=colour, elinewidth=0.7, markersize=5)
    for name, (x, y), shift in _labelled(points):
        axes.annotate(name, (x, y), xytext=(6, shift), textcoords="offset points", fontsize=7.5)
    line = [points[name] for name in front if name in points]
    axes.plot([x for x, _ in line], [y for _, y in line], color="0.6", linewidth=1, zorder=0)
    axes.axhline(required * 100.0, color="0.3", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if value in {2, 3, 4, 5, 7, 15, 20, 30} else "")
    axes.set_ylim(0, TOP)
    axes.set_xlim(right=max(x for x, _ in points.values()) * 1.35)  # room for the last label
    axes.set_xlabel("USD in the scored time")
    axes.set_ylabel("requests within the objectives, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    return figure


def _labelled(points: Mapping[str, tuple[float, float]]) -> list[tuple[str, tuple[float, float], int]]:
    """Names with the height (points) above their dot at which they overlap no name placed before them."""
    least, most = min(x for x, _ in points.values()), max(x for x, _ in points.values())
    placed: list[tuple[str, tuple[float, float], int]] = []
    taken: list[tuple[float, float, float]] = []
    for name, (x, y) in sorted(points.items(), key=lambda item: (item[1][0], item[1][1])):
        left = FRAME[0] * log(x / least) / log(1.35 * most / least)
        right, height = left + LETTER * len(name), FRAME[1] * y / TOP

        def free(shift: int, left: float = left, right: float = right, height: float = height) -> bool:
            return all(
                abs(height + shift - other) >= LINE or left >= end or begin >= right for begin, end, other in taken
            )

        shift = next(filter(free, SHIFTS), SHIFTS[0])
        placed.append((name, (x, y), shift))
        taken.append((left, right, height + shift))
    return placed


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
