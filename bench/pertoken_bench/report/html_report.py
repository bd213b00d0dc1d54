"""The benchmark's page: one HTML file with plots inside, to be opened anywhere."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pertoken_bench.benchmark import BenchmarkResult
from pertoken_bench.score.outcome import RunScore

COLUMNS = (
    ("usd", "USD", ".2f"),
    ("slo_attainment", "attained", ".4f"),
    ("usd_per_million_tokens", "USD per 1M", ".4f"),
    ("usd_per_million_good_tokens", "USD per 1M good", ".4f"),
    ("bound_ratio", "x bound", ".2f"),
    ("gpu_hours", "GPU hours", ".1f"),
    ("scale_events", "scale events", ".0f"),
    ("batch_changes", "cap changes", ".0f"),
    ("unfinished", "unfinished", ".0f"),
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; } th:first-child,
td:first-child { text-align: left; } tr.front td { font-weight: 600; } tbody tr:nth-child(odd) { background: #f4f4f4; }
svg { max-width: 100%; height: auto; } small { color: #666; }
"""


def page(result: BenchmarkResult) -> str:
    """The whole page. The same result gives the same bytes."""
    scenario = result.scenario
    front = pareto(result.rows)
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(scenario.name)}</title>",
        f"<style>{STYLE}</style><h1>{html.escape(scenario.name)}</h1>",
        f"<p>{html.escape(scenario.description)}</p>",
        _table(result.rows, front),
        _note(result),
        "<h2>Cost against attainment</h2>",
        _svg(_scatter(result, front)),
    ]
    for policy, outcomes in result.outcomes.items():
        parts += [f"<h2>{html.escape(policy)}</h2>", _svg(_timeline(outcomes[0]))]
    return "\n".join(parts) + "\n</html>\n"


def _note(result: BenchmarkResult) -> str:
    seeds = len(result.rows[0]["seeds"])
    return (
        f"<p><small>Means over {seeds} seeds, ± half of the 95 % interval. Bold: no other policy costs less and "
        f"attains as much. The objective asks for {_required(result):.0%} of the requests.</small></p>"
    )


def pareto(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Policies that no other beats in both cost and attainment, cheapest first."""
    known = [row for row in rows if row["usd"]["mean"] is not None and row["slo_attainment"]["mean"] is not None]
    ordered = sorted(known, key=lambda row: (row["usd"]["mean"], -row["slo_attainment"]["mean"], row["policy"]))
    front: list[str] = []
    best = -math.inf
    for row in ordered:
        if row["slo_attainment"]["mean"] > best:
            best = row["slo_attainment"]["mean"]
            front.append(row["policy"])
    return tuple(front)


def _required(result: BenchmarkResult) -> float:
    return max(service.latency.percentile for service in result.scenario.services) / 100.0


def _table(rows: Sequence[Mapping[str, Any]], front: Sequence[str]) -> str:
    head = "".join(f"<th>{title}</th>" for _, title, _ in COLUMNS)
    body = []
    for row in rows:
        cells = "".join(f"<td>{_cell(row[name], digits)}</td>" for name, _, digits in COLUMNS)
        marked = " class='front'" if row["policy"] in front else ""
        body.append(f"<tr{marked}><td>{html.escape(row['policy'])}</td>{cells}</tr>")
    return f"<table><thead><tr><th>policy</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: Mapping[str, Any], digits: str) -> str:
    if value["mean"] is None:
        return "-"
    text = format(value["mean"], digits)
    if value["interval"] is None:
        return text
    low, high = value["interval"]
    return f"{text} ± {format((high - low) / 2.0, digits)}"


def _scatter(result: BenchmarkResult, front: Sequence[str]) -> Figure:
    """Every policy at its mean with its intervals; the Pareto front as a line."""
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    points = {}
    for row in result.rows:
        usd, share = row["usd"], row["slo_attainment"]
        if usd["mean"] is None or share["mean"] is None:
            continue
        points[row["policy"]] = usd["mean"], share["mean"] * 100.0
        axes.errorbar(
            usd["mean"],
            share["mean"] * 100.0,
            xerr=_half(usd),
            yerr=_half(share, 100.0),
            fmt="o",
            color="tab:red" if row["policy"] == "pertoken" else "tab:blue",
            capsize=2,
        )
        axes.annotate(row["policy"], points[row["policy"]], xytext=(5, 4), textcoords="offset points", fontsize=8)
    line = [points[name] for name in front]
    axes.plot([x for x, _ in line], [y for _, y in line], color="0.6", linewidth=1, zorder=0)
    axes.axhline(_required(result) * 100.0, color="tab:green", linestyle="--", linewidth=1)
    axes.set_xlabel("USD in the scored time")
    axes.set_ylabel("requests within the objectives, %")
    axes.grid(alpha=0.3)
    return figure


def _half(value: Mapping[str, Any], factor: float = 1.0) -> float:
    if value["interval"] is None:
        return 0.0
    return float((value["interval"][1] - value["interval"][0]) / 2.0 * factor)


def _timeline(outcome: RunScore) -> Figure:
    """Demand above, ordered and ready replicas below, over minutes."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    timeline = outcome.timeline
    minutes = [moment / 60.0 for moment in timeline.times]
    above.plot(minutes, timeline.demand, color="0.3", linewidth=0.8)
    above.set_ylabel("requests/s")
    for place, ordered in timeline.ordered.items():
        _steps(below, minutes, ordered, place, "--")
    for place, ready in timeline.ready.items():
        _steps(below, minutes, ready, f"{place} ready", "-")
    below.set_ylabel("replicas")
    below.set_xlabel("minutes")
    below.set_ylim(bottom=0)
    if len(timeline.ordered) <= 4:
        below.legend(fontsize=7, loc="upper right")
    above.set_title(f"seed {outcome.seed}", fontsize=9)
    return figure


def _steps(axes: Axes, minutes: Sequence[float], values: Sequence[int], label: str, style: str) -> None:
    axes.step(minutes, values, where="post", linewidth=1.0, linestyle=style, label=label)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "pertoken", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().split("?>", 1)[-1]
