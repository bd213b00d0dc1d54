"""`python -m pertoken_bench.sensitivity`: run half and double of every number, write docs/tuning.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from pertoken_bench.sensitivity.effects import sensitivity
from pertoken_bench.sensitivity.page import page
from pertoken_bench.sensitivity.pieces import ALL, QUICK

PAGE: Final = Path(__file__).parents[3] / "docs" / "tuning.md"


def main(
    quick: Annotated[bool, typer.Option(help="Few pieces, one seed: four minutes instead of fifteen.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Local processes.")] = os.cpu_count() or 1,
    output: Annotated[Path, typer.Option(help="Page to write.")] = PAGE,
) -> None:
    """Write docs/tuning.md."""

    def progress(done: int, of: int) -> None:
        sys.stderr.write(f"\r{done} of {of} runs")
        sys.stderr.flush()

    result = sensitivity(QUICK if quick else ALL, (0,), jobs, progress)
    sys.stderr.write("\n")
    output.write_text(page(result, quick=quick), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
