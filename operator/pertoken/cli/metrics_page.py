"""Writes the version table of `docs/reference/metrics-in.md`: ``python -m pertoken.cli.metrics_page`` in the root."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Final

from pertoken.adapters.prometheus.engines import ENGINES, EngineMetrics
from pertoken.adapters.prometheus.engines.model import Told
from pertoken.domain.signal import GPU_SIGNALS, Counter, LatencyKind, Signal

PAGE: Final = Path("docs/reference/metrics-in.md")
HEADING: Final = "## Versions"
_TOLD: Final[tuple[Told, ...]] = (
    *(signal for signal in Signal if signal not in GPU_SIGNALS),
    *LatencyKind,
    Counter.CACHED_INPUT_TOKENS,
)


def page(text: str) -> str:
    """The page with the table made anew."""
    rows = [row for row in ENGINES.values() if row.presence]
    names = [f"{row.name} {row.versions[0]} to {row.versions[-1]}" for row in rows]
    lines = [f"| signal | {' | '.join(names)} |", "|---|" + "---|" * len(rows)]
    lines += [f"| {_words(told)} | {' | '.join(_cell(row, told) for row in rows)} |" for told in _TOLD]
    before, after = text.split(HEADING, 1)
    table = "\n".join(lines) + "\n"
    return before + HEADING + re.sub(r"(?:^\|[^\n]*\n)+", lambda _: table, after, count=1, flags=re.MULTILINE)


def _words(told: Told) -> str:
    return told.value.replace("_", " ") + (" histogram" if isinstance(told, LatencyKind) else "")


def _cell(row: EngineMetrics, told: Told) -> str:
    """What is read first in which versions; runs of versions with one name are one entry."""
    entries = []
    for name, run in groupby(row.versions, lambda version: (row.families(told, version) or ("",))[0]):
        versions = list(run)
        if name:
            whole = len(versions) == len(row.versions)
            since, until = versions[0], versions[-1]
            span = since if since == until else f"{since} to {until}"
            entries.append(f"`{name}`" + ("" if whole else f" ({span})"))
    return "; ".join(entries) or "none"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
