"""`python -m pertoken_bench.accuracy.model --kernels FILE --served FILE`: accuracy as Markdown on stdout."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pertoken_bench.accuracy.model import command_line, dynamics, kernels, other_gpus, replayed, served_fit, serving
from pertoken_bench.accuracy.model.error_tables import say


class What(StrEnum):
    """Which comparison to run."""

    REPORT = "report"
    LEAVE_ONE_OUT = "leave-one-out"
    COMMANDS = "commands"
    FIT = "fit"


def main(
    kernel_table: Annotated[Path | None, typer.Option("--kernels", help="aic_reference CSV(.gz).")] = None,
    measured: Annotated[Path | None, typer.Option("--served", help="Served measurements, CSV(.gz).")] = None,
    simulated: Annotated[Path | None, typer.Option("--dynamics", help="vidur_reference CSV.")] = None,
    what: Annotated[
        What,
        typer.Option(
            help="report: the model as it is; leave-one-out: refitted without each model in turn; commands: through "
            "estimate and calibrate; fit: print refitted parameters."
        ),
    ] = What.REPORT,
) -> None:
    """Compare the model with tables and measurements."""
    if kernel_table is not None:
        _kernels(kernel_table, what)
    if measured is not None:
        _served(measured, what)
    if simulated is not None:
        dynamics.report(simulated)
        replayed.report(simulated)


def _kernels(path: Path, what: What) -> None:
    if what is What.COMMANDS:
        command_line.report_kernels(path)
        return
    rows = kernels.read(path)
    if what is What.FIT:
        for gpu, efficiency in kernels.refit(rows).items():
            values = ", ".join(
                f"{f.name}={getattr(efficiency, f.name):.3g}" for f in fields(efficiency) if f.name != "basis"
            )
            say(f"{gpu}: {values}")
    elif what is What.LEAVE_ONE_OUT:
        kernels.leave_one_out(rows)
    else:
        say("## Kernels")
        kernels.report(rows)


def _served(path: Path, what: What) -> None:
    if what is What.COMMANDS:
        command_line.report_served(path)
        return
    points = serving.read(path)
    if what is What.FIT:
        served_fit.print_fit(points)
        other_gpus.print_fit(points, path)
    elif what is What.LEAVE_ONE_OUT:
        served_fit.leave_one_out(points)
    else:
        say("\n## Served")
        serving.report(points)


typer.run(main)
