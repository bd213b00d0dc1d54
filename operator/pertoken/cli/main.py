"""`pertoken`, also installed as `kubectl-pertoken`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from pydantic import ValidationError

from pertoken.app import StartError
from pertoken.app import run as run_operator
from pertoken.cli.breakeven import breakeven_command
from pertoken.cli.crd import crd_command
from pertoken.cli.curve import curve_command
from pertoken.cli.quote import quote_command
from pertoken.cli.validate import validate_command
from pertoken.settings import Settings
from pertoken.telemetry.logging import configure

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Hold the cost of LLM tokens under latency objectives.",
)


app.command("breakeven")(breakeven_command)
app.command("crd")(crd_command)
app.command("curve")(curve_command)
app.command("quote")(quote_command)
app.command("validate")(validate_command)


@app.command()
def run() -> None:
    """Run the operator (settings from PERTOKEN_… variables)."""
    try:
        settings = Settings()
    except ValidationError as error:
        for mistake in error.errors(include_url=False):
            name = (
                "PERTOKEN_" + "_".join(str(part) for part in mistake["loc"]).upper() if mistake["loc"] else "settings"
            )
            typer.echo(f"{name}: {mistake.get('input')!r}: {mistake['msg']}", err=True)
        raise typer.Exit(2) from None
    control = configure(settings.log_level, settings.log_format)
    try:
        run_operator(settings, control)
    except StartError as error:
        typer.echo(f"pertoken: {error}", err=True)
        raise typer.Exit(2) from None


@app.command()
def version(
    short: Annotated[bool, typer.Option("--short", help="Only the number.")] = False,
) -> None:
    """Print the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415 - keeps start-up of other commands lean

    number = installed("pertoken")
    typer.echo(number if short else f"pertoken {number}, Python {sys.version.split()[0]}")


def main() -> None:
    """Console script."""
    app()
