"""Every generated file with its text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pertoken.cli.reference.chart_values import values_page
from pertoken.cli.reference.commands import commands_page
from pertoken.cli.reference.metrics_out import metrics_page
from pertoken.cli.reference.reasons import reasons_page
from pertoken.cli.reference.settings import chart_schema, settings_page

CHART: Final = Path("charts/pertoken")
PAGES: Final = Path("docs/reference")


def artifacts(root: Path) -> Iterator[tuple[Path, str]]:
    """Paths below `root`, which holds the chart, with what is to stand in them."""
    schema = CHART / "values.schema.json"
    yield schema, chart_schema((root / schema).read_text(encoding="utf-8"))
    yield PAGES / "settings.md", settings_page()
    yield PAGES / "metrics-out.md", metrics_page()
    yield PAGES / "values.md", values_page((root / CHART / "values.yaml").read_text(encoding="utf-8"))
    yield PAGES / "reasons.md", reasons_page()
    yield PAGES / "commands.md", commands_page()
