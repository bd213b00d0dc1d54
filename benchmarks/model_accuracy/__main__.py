"""`python -m benchmarks.model_accuracy --kernels FILE --served FILE`: the accuracy report, as Markdown on stdout."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from benchmarks.model_accuracy import command_line, kernels, served_fit, serving
from benchmarks.model_accuracy.report import say


def main(
    kernel_table: Annotated[Path | None, typer.Option("--kernels", help="aic_reference CSV(.gz).")] = None,
    measured: Annotated[Path | None, typer.Option("--served", help="Served measurements, CSV(.gz).")] = None,
    leave_out: Annotated[bool, typer.Option("--leave-one-out", help="Refit without each model in turn.")] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Print refitted parameters instead of the report.")] = False,
    commands: Annotated[bool, typer.Option("--commands", help="Only through estimate and calibrate.")] = False,
) -> None:
    """Compare the model with tables and measurements."""
    if commands:
        if kernel_table is not None:
            command_line.report_kernels(kernel_table)
        if measured is not None:
            command_line.report_served(measured)
        return
    if kernel_table is not None:
        rows = kernels.read(kernel_table)
        if fit:
            for gpu, found in kernels.refit(rows).items():
                values = ", ".join(
                    f"{f.name}={getattr(found, f.name):.3g}" for f in fields(found) if f.name != "fitted"
                )
                say(f"{gpu}: {values}")
        else:
            say("## Kernels")
            kernels.report(rows)
            if leave_out:
                kernels.leave_one_out(rows)
    if measured is not None:
        points = serving.read(measured)
        if fit:
            served_fit.print_fit(points)
        else:
            say("\n## Served")
            serving.report(points)
            if leave_out:
                served_fit.leave_one_out(points)


typer.run(main)
