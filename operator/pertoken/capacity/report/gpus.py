"""GPUs by pool and hour against what exists."""

from __future__ import annotations

import numpy as np

from pertoken.capacity.report.chart import Area, Chart, Line, chart_figure
from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.tags import Markup, element, facts, section, together
from pertoken.units import SECONDS_PER_HOUR


def gpu_section(figures: Figures) -> Markup:
    """A chart of each pool."""
    pools = range(len(figures.document["pools"]))
    return section("GPUs by pool", "gpus", *(_pool(figures, index) for index in pools))


def _pool(figures: Figures, index: int) -> Markup:
    pool, at = figures.document["pools"][index], f"pools.{index}"
    confidence = f"P{figures.document['confidence_percent']:g}"
    exists = pool["existing_gpus"] is not None
    return element(
        "article",
        element("h3", pool["name"], element("small", pool["accelerator"])),
        chart_figure(
            _chart(figures, index, confidence),
            f"GPUs that suffice at {confidence} in each hour, bursts and start-ups included. Dates in UTC.",
        ),
        facts(
            (f"peak at {confidence}", figures.gpus(f"{at}.peak_gpus")),
            ("peak at P50", figures.gpus(f"{at}.gpus_by_hour.p50", "max")),
            ("mean at P50", figures.gpus(f"{at}.gpus_by_hour.p50", "mean")),
            ("existing", figures.gpus(f"{at}.existing_gpus") if exists else "unknown"),
            ("short at worst", figures.gpus(f"{at}.short_gpus") if exists else "unknown"),
            ("first shortfall", figures.time(f"{at}.first_shortfall_s", "none" if exists else "unknown")),
            ("order by", _order_by(figures, at, overdue=pool["overdue"])),
        ),
    )


def _order_by(figures: Figures, at: str, *, overdue: bool) -> Markup:
    return together(figures.time(f"{at}.order_by_s"), " (overdue)" if overdue else None)


def _chart(figures: Figures, index: int, confidence: str) -> Chart:
    pool, at = figures.document["pools"][index], f"pools.{index}.gpus_by_hour"
    median, high = (np.array(pool["gpus_by_hour"][name], dtype=np.float64) for name in ("p50", "p90"))
    areas = [Area(f"P50 to {confidence}", "fan", np.minimum(median, high), high)]
    lines = [Line(confidence, "high", high, f"{at}.p90"), Line("P50", "median", median, f"{at}.p50")]
    if pool["existing_gpus"] is not None:
        exists = np.full(len(high), float(pool["existing_gpus"]))
        lines.insert(0, Line("existing", "exists", exists))
        if pool["first_shortfall_s"] is not None:
            areas.append(Area("short", "missing", np.minimum(exists, high), high))
    return Chart(
        label=f"GPUs of pool {pool['name']} by the hour: P50, {confidence}, and what exists",
        unit=f"GPUs ({pool['accelerator']})",
        start_s=int(figures.document["start_s"]),
        hours=len(high),
        areas=areas,
        lines=lines,
        stepped=True,
    )


def end_s(figures: Figures) -> int:
    """End of the horizon."""
    hours = len(figures.document["pools"][0]["gpus_by_hour"]["p50"])
    return int(figures.document["start_s"]) + hours * SECONDS_PER_HOUR
