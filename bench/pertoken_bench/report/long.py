"""`python -m pertoken_bench.report.long`: run what is missing of the long benchmark, write docs/benchmarks-long.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pertoken_bench.report.long_document import page
from pertoken_bench.report.long_sections import groups
from pertoken_bench.report.sections import FEW_SEEDS, ROOT, cached, results

TRIAL_SECONDS = 900.0


def main(
    only: Annotated[str, typer.Option(help="Sections to run, comma-separated beginnings; empty: all.")] = "",
    cache: Annotated[Path, typer.Option(help="Folder in which results are kept.")] = ROOT / ".cache" / "bench-long",
    jobs: Annotated[int, typer.Option(min=1, help="Local processes.")] = os.cpu_count() or 1,
    render: Annotated[bool, typer.Option(help="Run nothing: write the page from what is kept.")] = False,
    trial: Annotated[bool, typer.Option(help="One seed, 15 minutes of traffic, kept apart; write no page.")] = False,
) -> None:
    """Run the sections one after another; each is kept when it is done, and the page is written after each."""
    parts = groups(1, TRIAL_SECONDS) if trial else groups(FEW_SEEDS)
    folder = cache / "trial" if trial else cache
    wanted = [section for part in parts for section in part.sections]
    names = [name for name in only.split(",") if name]
    chosen = [section for section in wanted if not names or any(section.name.startswith(name) for name in names)]
    for section in () if render else chosen:
        results([section], folder, (), jobs)
        if not trial:
            _write(page(parts, cached(wanted, folder)))
    if render:
        _write(page(parts, cached(wanted, folder)))


def _write(text: str) -> None:
    (ROOT / "docs" / "benchmarks-long.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
