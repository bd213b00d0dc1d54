"""A chart over time: an SVG that is stretched to its place, with labels of HTML about it that keep their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.report.axes import ValueAxis, time_ticks, value_axis
from pertoken.capacity.report.tags import Markup, element, together
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Floats = NDArray[np.float64]
HEIGHT: Final = 1000.0  # of the drawing's own coordinates
MOST_POINTS: Final = 1100
MOST_HOURS: Final = 2  # of a point; longer ones are whole days, so that no day shows as several


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Values by the hour from the chart's begin, NaN where there is nothing.

    Attributes:
        style: the class by which the page colours it.
        path: where the values stand in the document; empty where they do not.
        since: hour of the first value.
    """

    name: str
    style: str
    values: Floats
    path: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """What lies between two rows of values."""

    name: str
    style: str
    low: Floats
    high: Floats
    since: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """What is drawn, the hindmost first.

    Attributes:
        label: what a reader who sees no picture is told.
        unit: of the values.
        stepped: an hour's value holds for the whole hour and is a count; else neighbours are joined by lines.
        divided_at: hour at which a line divides past and horizon; 0 for none.
    """

    label: str
    unit: str
    start_s: int
    hours: int
    areas: Sequence[Area]
    lines: Sequence[Line]
    stepped: bool = False
    divided_at: int = 0

    @property
    def size(self) -> int:
        """Hours that one point stands for: the mean of them, and the highest of counts."""
        size = max(1, -(-self.hours // MOST_POINTS))
        return size if size <= MOST_HOURS else HOURS_PER_DAY * -(-size // HOURS_PER_DAY)


def chart_figure(chart: Chart, caption: str) -> Markup:
    """The chart with axes, key and caption."""
    axis = value_axis(max(_most(line, chart) for line in chart.lines), whole=chart.stepped)
    rows = [element("span", tick.text, class_="tick", style=f"bottom:{tick.place * 100:.2f}%") for tick in axis.ticks]
    end_s = chart.start_s + chart.hours * SECONDS_PER_HOUR
    columns = [
        element("span", tick.text, class_="tick minor" if index % 2 else "tick", style=f"left:{tick.place * 100:.2f}%")
        for index, tick in enumerate(time_ticks(chart.start_s, end_s))
    ]
    styles = [*((line.style, line.name) for line in chart.lines), *((area.style, area.name) for area in chart.areas)]
    keys = [element("span", element("i", class_=f"key {style}"), name) for style, name in styles]
    if chart.divided_at:
        keys.append(element("span", element("i", class_="key divide"), "plan begins"))
    words = "" if chart.size == 1 else f" Each point stands for {chart.size} hours."
    return element(
        "figure",
        element("p", *keys, class_="keys"),
        element("p", chart.unit, class_="unit"),
        element(
            "div",
            element("div", *rows, class_="values", aria_hidden="true"),
            _drawing(chart, axis, end_s),
            element("div", *columns, class_="times", aria_hidden="true"),
            class_="plot",
        ),
        element("figcaption", caption, words),
    )


def _drawing(chart: Chart, axis: ValueAxis, end_s: int) -> Markup:
    width = chart.hours / chart.size
    grid = "".join(f"M0,{HEIGHT * (1 - tick.place):.0f}H{width:g}" for tick in axis.ticks)
    days = "".join(f"M{tick.place * width:.2f},0V{HEIGHT:.0f}" for tick in time_ticks(chart.start_s, end_s))
    divided = chart.divided_at / chart.size
    return element(
        "svg",
        element("title", chart.label),
        element("path", d=grid + days, class_="grid"),
        *(element("path", d=_area(area, chart, axis), class_=f"area {area.style}") for area in chart.areas),
        element("path", d=f"M{divided:g},0V{HEIGHT:.0f}", class_="divide") if chart.divided_at else None,
        *(_line(line, chart, axis) for line in chart.lines),
        viewBox=f"0 0 {width:g} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_label=chart.label,
    )


def _line(line: Line, chart: Chart, axis: ValueAxis) -> Markup:
    points = _points(line.values, line.since, chart)
    return element(
        "path",
        d=_path(points, axis, stepped=chart.stepped),
        class_=f"line {line.style}",
        data_at=line.path or None,
        data_top=f"{axis.top:g}",
        data_hours=chart.size,
    )


def _points(values: Floats, since: int, chart: Chart) -> list[tuple[float, float]]:
    """Place and value of each point; several hours are put together where there are too many."""
    size, take = chart.size, np.max if chart.stepped else np.mean
    first = since / size
    parts = [values[index : index + size] for index in range(0, len(values), size)]
    return [(first + index, float(take(part))) for index, part in enumerate(parts)]


def _path(points: Sequence[tuple[float, float]], axis: ValueAxis, *, stepped: bool) -> str:
    """Moves over what is not known."""
    steps, pen_down = [], False
    for place, value in points:
        if not isfinite(value):
            pen_down = False
            continue
        y = _y(value, axis)
        if stepped:
            steps.append(f"{'V' if pen_down else f'M{place:g},'}{y}H{place + 1:g}")
        else:
            steps.append(f"{'L' if pen_down else 'M'}{place + 0.5:g},{y}")
        pen_down = True
    return "".join(steps)


def _area(area: Area, chart: Chart, axis: ValueAxis) -> str:
    """Along the upper row and back along the lower one."""
    low, high = (_points(values, area.since, chart) for values in (area.low, area.high))
    if not chart.stepped:
        back = "".join(f"L{place + 0.5:g},{_y(value, axis)}" for place, value in reversed(low))
        return f"{_path(high, axis, stepped=False)}{back}Z"
    return "".join(
        f"M{place:g},{_y(top, axis)}H{place + 1:g}V{_y(bottom, axis)}H{place:g}Z"
        for (place, top), (_, bottom) in zip(high, low, strict=True)
        if top > bottom
    )


def _y(value: float, axis: ValueAxis) -> str:
    return f"{HEIGHT * (1.0 - value / axis.top):.1f}".removesuffix(".0")


def _most(line: Line, chart: Chart) -> float:
    return max((value for _, value in _points(line.values, line.since, chart) if isfinite(value)), default=0.0)


def keyed(*parts: tuple[str, str]) -> Markup:
    """A key of styles and names on its own."""
    return element(
        "p",
        together(*(element("span", element("i", class_=f"key {style}"), name) for style, name in parts)),
        class_="keys",
    )
