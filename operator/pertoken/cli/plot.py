"""The picture of `pertoken curve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pertoken.calculators.curve import Curve
from pertoken.cli.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COST: Final = "#1f5fa8"
LATENCY: Final = "#c2571a"
LIMIT: Final = "#666666"


class PlotError(Exception):
    """The picture cannot be drawn; the message says why."""


def plot_curve(cost_curve: Curve, subject: Subject, path: Path) -> None:
    """Cost and inter-token latency over the batch, with every limit that binds.

    Raises:
        PlotError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        raise PlotError("matplotlib is not installed; expected the extra: pip install 'pertoken[plot]'") from None
    figure = Figure(figsize=(9, 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    cost = figure.add_subplot()
    latency = cost.twinx()
    batches = [point.point.batch for point in cost_curve.points]
    cost.plot(
        batches, [p.usd_per_million for p in cost_curve.points], color=COST, marker="o", markersize=3.5, linewidth=2
    )
    latency.plot(
        batches,
        [p.point.inter_token_tail * 1000 for p in cost_curve.points],
        color=LATENCY,
        marker="s",
        markersize=3,
        linewidth=1.6,
    )
    cost.set_xscale("log", base=2)
    cost.set_yscale("log")
    latency.set_yscale("log")
    cost.set_xlabel("sequences decoding at once (batch)")
    cost.set_ylabel("USD per 1M tokens, input and output alike", color=COST)
    latency.set_ylabel(f"inter-token latency p{subject.targets.percentile}, ms", color=LATENCY)
    for axis in (cost.xaxis, cost.yaxis, latency.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    cost.xaxis.set_minor_formatter(lambda *_: "")
    cost.grid(visible=True, which="major", alpha=0.25)
    _limits(cost, latency, cost_curve, subject)
    cost.set_title(_title(subject), fontsize=9.5, loc="left")
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise PlotError(f"cannot be written: {error.strerror or error}") from None


def _limits(cost: Axes, latency: Axes, cost_curve: Curve, subject: Subject) -> None:
    for name, batch in cost_curve.limits.items():
        cost.axvline(batch, color=LIMIT, linestyle=":", linewidth=1.2)
        latency.annotate(
            f"{name} {batch:.0f}",
            (batch, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(-2, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=8.5,
            color=LIMIT,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        )
    objective = subject.targets.inter_token
    if objective is not None:
        latency.axhline(objective * 1000, color=LATENCY, linestyle="--", linewidth=1)
        latency.annotate(
            f"objective {objective * 1000:g} ms",
            (0.01, objective * 1000),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8.5,
            color=LATENCY,
        )
    if cost_curve.best is not None:
        best = cost_curve.best
        cost.plot([best.point.batch], [best.usd_per_million], color=COST, marker="o", markersize=9)
        cost.annotate(
            f"{best.usd_per_million:.3f} USD at batch {best.point.batch:.0f}",
            (best.point.batch, best.usd_per_million),
            xytext=(-10, -16),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=COST,
        )


def _title(subject: Subject) -> str:
    words = subject.title
    return words.replace("; ", "\n", 1)
