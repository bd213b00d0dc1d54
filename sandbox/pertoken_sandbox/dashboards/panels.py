"""Panels and dashboards as Grafana's JSON has them (schema 39, Grafana 10 and newer)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

COLUMNS: Final = 24
SCHEMA_VERSION: Final = 39
STAT_HEIGHT: Final = 4
GRAPH_HEIGHT: Final = 8
SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        unit: Grafana's id of the unit, such as ``currencyUSD``.
        queries: PromQL with the legend of its series.
        about: what the figure means, shown as the panel's help.
        thresholds: values from which orange and red begin; none: one colour.
        most: upper end of the axis.
        stacked: series add up.
        width: columns of 24; a graph is two panels to a row by default.
        stat: one figure instead of a graph.
    """

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    about: str = ""
    thresholds: tuple[float, float] | None = None
    most: float | None = None
    stacked: bool = False
    width: int = 12
    stat: bool = False

    @property
    def height(self) -> int:
        """Rows of the grid."""
        return STAT_HEIGHT if self.stat else GRAPH_HEIGHT


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: values of a label of a metric."""

    name: str
    query: str
    several: bool = True


@dataclass(frozen=True)
class Dashboard:
    """One dashboard."""

    uid: str
    title: str
    variables: Sequence[Variable]
    panels: Sequence[Panel]


def stat(title: str, unit: str, query: str, about: str = "", thresholds: tuple[float, float] | None = None) -> Panel:
    """One figure, six to a row."""
    return Panel(title, unit, ((query, ""),), about, thresholds, width=COLUMNS // 6, stat=True)


def dashboard_json(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana loads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["pertoken"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source_variable(), *map(_variable, dashboard.variables)]},
        "links": [
            {"title": "pertoken", "type": "dashboards", "tags": ["pertoken"], "asDropdown": True, "includeVars": True}
        ],
        "panels": list(_placed(dashboard.panels)),
    }


def _source_variable() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
        "allValue": ".*" if variable.several else None,
    }


def _placed(panels: Sequence[Panel]) -> Iterator[Json]:
    """Panels from left to right; a new row begins where one does not fit."""
    across = down = tallest = 0
    for number, panel in enumerate(panels, start=1):
        if across + panel.width > COLUMNS:
            across, down, tallest = 0, down + tallest, 0
        place = {"x": across, "y": down, "w": panel.width, "h": panel.height}
        yield {"id": number, "gridPos": place, **_content(panel)}
        across, tallest = across + panel.width, max(tallest, panel.height)


def _content(panel: Panel) -> Json:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expr, "legendFormat": legend or "__auto"}
        for index, (expr, legend) in enumerate(panel.queries)
    ]
    defaults: Json = {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel.thresholds)}
    if panel.most is not None:
        defaults["max"] = panel.most
    if not panel.stat:
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 40 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _stat_options() if panel.stat else _graph_options(),
    }


def _thresholds(limits: tuple[float, float] | None) -> Json:
    steps: list[Json] = [{"color": GREEN, "value": None}]
    if limits is not None:
        steps += [{"color": ORANGE, "value": limits[0]}, {"color": RED, "value": limits[1]}]
    return {"mode": "absolute", "steps": steps}


def _stat_options() -> Json:
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"}


def _graph_options() -> Json:
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
