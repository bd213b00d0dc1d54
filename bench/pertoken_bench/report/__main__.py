"""`python -m pertoken_bench.report`: run what is missing, draw the pictures, write docs/benchmarks.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pertoken_bench.report.document import page
from pertoken_bench.report.plots import save, scatter, timelines
from pertoken_bench.report.sections import ROOT, cached, results, sections

PICTURED = (("all", "azure-conv"), ("larger", "azure-conv-16"))
SHOWN = ("pertoken", "clairvoyant", "static-best", "hpa-running", "keda-waiting", "dynamo-sla")


def main(
    only: Annotated[str, typer.Option(help="Sections to run, comma-separated beginnings; empty: all.")] = "",
    cache: Annotated[Path, typer.Option(help="Folder in which results are kept.")] = ROOT / ".cache" / "bench",
    jobs: Annotated[int, typer.Option(min=1, help="Local processes.")] = os.cpu_count() or 1,
    render: Annotated[bool, typer.Option(help="Run nothing: write the page from what is kept.")] = False,
) -> None:
    """Write docs/benchmarks.md and its pictures."""
    if not render:
        results(sections(), cache, [name for name in only.split(",") if name], jobs)
    kept = cached(sections(), cache)
    if "all" not in kept:
        raise typer.BadParameter(f"{cache}: no results of the section `all` yet; run without --render")
    images = ROOT / "docs" / "images"
    for name, stem in PICTURED:
        if name in kept:
            section = kept[name]
            save(scatter(section["rows"], section["required"], section["description"]), images / f"bench-{stem}.svg")
    if "larger" in kept:
        section = kept["larger"]
        title = f"{section['description']}, seed 0"
        save(timelines(section["timelines"], SHOWN, title), images / "bench-azure-conv-16-replicas.svg")
    (ROOT / "docs" / "benchmarks.md").write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
