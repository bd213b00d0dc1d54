"""`pertoken`, also installed as `kubectl-pertoken`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pertoken.cli.options import HELP, VersionOption

# Modules of commands, loaded when a command is called: together they take seconds, which a quick answer does not have.
COMMANDS = {
    "adopt": "pertoken.cli.adopt.command:adopt_command",
    "advise": "pertoken.cli.advise:advise_command",
    "breakeven": "pertoken.cli.breakeven:breakeven_command",
    "calibrate": "pertoken.cli.calibrate:calibrate_command",
    "crd": "pertoken.cli.crd:crd_command",
    "curve": "pertoken.cli.curve:curve_command",
    "doctor": "pertoken.cli.doctor.command:doctor_command",
    "estimate": "pertoken.cli.estimate:estimate_command",
    "explain": "pertoken.cli.explain:explain_command",
    "pause": "pertoken.cli.pause:pause_command",
    "plan": "pertoken.cli.plan:plan_command",
    "quote": "pertoken.cli.quote:quote_command",
    "replay": "pertoken.cli.replay:replay_command",
    "resume": "pertoken.cli.pause:resume_command",
    "status": "pertoken.cli.status:status_command",
    "validate": "pertoken.cli.validate:validate_command",
}


# Other packages add commands through entry points of this group: name = "module:function".
ENTRY_POINTS = "pertoken.commands"
# Commands that a package of this repository adds, so that its absence is told instead of "no such command".
PACKAGES = {"bench": "pertoken-bench"}


def added_commands() -> dict[str, str]:
    """Commands of other installed packages: name, and where the function is."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


# What only the extra `plan` installs; the operator's image has none of it.
PLAN_EXTRA = frozenset({"scipy", "statsforecast"})
ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}


def _docstring(place: str) -> str:
    """What a command's function says, out of its source."""
    module, name = place.split(":")
    found = find_spec(module)
    source = "" if found is None or found.origin is None else Path(found.origin).read_text(encoding="utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next((ast.get_docstring(node) or "" for node in functions), "")


class _Commands(TyperGroup):
    """The commands of this module, and those that are loaded when they are called."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """All of them, by name."""
        return sorted({*super().list_commands(ctx), *COMMANDS, *added_commands()})

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands with what their functions say, none of them loaded."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them; one whose package is not installed ends with the package's name and exit code 2."""
        here = super().get_command(ctx, cmd_name)
        if here is not None:
            return here
        place = COMMANDS.get(cmd_name) or added_commands().get(cmd_name)
        if place is not None and self._listing:
            return TyperCommand(cmd_name, short_help=_docstring(place).partition("\n\n")[0].replace("\n", " "))
        if place is None and cmd_name in PACKAGES:
            package = PACKAGES[cmd_name]
            typer.echo(f"pertoken {cmd_name}: not installed; expected: pip install {package}", err=True)
            raise typer.Exit(2)
        if place is None:
            return None
        module, name = place.split(":")
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=HELP)
        try:
            alone.command(cmd_name)(getattr(import_module(module), name))
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] not in PLAN_EXTRA:
                raise
            alone.command(cmd_name, context_settings={**HELP, **ANY_ARGUMENTS})(_needs_plan_extra(cmd_name))
        return typer.main.get_command(alone)


def _needs_plan_extra(command: str) -> Callable[[], None]:
    """A command whose libraries are not installed: it is listed, and says how to get them."""

    def lacking() -> None:
        typer.echo(f"pertoken {command}: not installed; expected: pip install 'pertoken[plan]'", err=True)
        raise typer.Exit(2)

    lacking.__doc__ = "Needs the extra `plan` of the package."  # brackets would be markup in the list of commands
    return lacking


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # frames would double the time of --help
    context_settings=HELP,
    help="Hold the cost of LLM tokens under latency objectives.",
)


@app.callback()
def _options(_: VersionOption = False) -> None:
    pass


@app.command()
def run() -> None:
    """Run the operator (settings from PERTOKEN_… variables)."""
    # Imported here: the clients of Kubernetes and Prometheus take two seconds to load, which other commands do not
    # need.
    from pydantic import ValidationError  # noqa: PLC0415

    from pertoken.app import run as run_operator  # noqa: PLC0415
    from pertoken.outside import StartError  # noqa: PLC0415
    from pertoken.settings import Settings  # noqa: PLC0415
    from pertoken.telemetry.logging import configure  # noqa: PLC0415

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
