"""The ``sandbox`` command: a real local control plane, Prometheus and emulated GPUs, up and down again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pertoken.cli.options import HELP, VersionOption
from pertoken_sandbox.binaries import BinaryUnavailable, ensure_all
from pertoken_sandbox.commands import commands
from pertoken_sandbox.components import (
    Options,
    SandboxPart,
    components,
    default_state_dir,
    remove_state,
    start_all,
    stop_all,
)
from pertoken_sandbox.download import ChecksumMismatch
from pertoken_sandbox.fleet.process import default_config
from pertoken_sandbox.gobuild import BuildFailed
from pertoken_sandbox.kubectl import KubectlFailed
from pertoken_sandbox.processes import ProcessFailed, free_ports
from pertoken_sandbox.progress import say
from pertoken_sandbox.versions import PROGRAMS

EXIT_NO = 1
EXPECTED_ERRORS = (BinaryUnavailable, BuildFailed, ChecksumMismatch, KubectlFailed, ProcessFailed)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings=HELP, help=__doc__
)

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Folder of the sandbox [default: $PERTOKEN_SANDBOX_DIR or .sandbox]."),
]


@app.callback()
def _told(_: VersionOption = False) -> None:
    pass


@app.command()
def up(
    state_dir: StateDir = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use this existing cluster rather than boot one.", exists=True, dir_okay=False)
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option(
            help="Configuration of the emulated GPU fleet [default: A100, H100 and L40S nodes without traffic; on an "
            "existing cluster no fleet].",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    *,
    operator: Annotated[
        bool, typer.Option("--operator", help="Run the operator too, with the chart's CRDs and permissions.")
    ] = False,
) -> None:
    """Start the sandbox and leave it running; what runs already is left alone."""
    folder = _folder(state_dir)
    options = Options.load(folder) or _options(folder, kubeconfig, fleet)
    if operator and not options.operator_port:
        options = replace(options, operator_port=free_ports(2)[0])
    parts = components(options)
    options.save()
    start_all(parts)
    _print_usage(parts, options.state_dir)


@app.command()
def down(
    state_dir: StateDir = None,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep objects and samples for the next `sandbox up`.")] = False,
) -> None:
    """Stop the sandbox and remove its folder."""
    options = Options.load(_folder(state_dir))
    if options is None:
        say("no sandbox here")
        return
    stop_all(components(options))
    if not keep:
        remove_state(options.state_dir)
    say("sandbox stopped" if keep else "sandbox stopped and removed")


@app.command()
def status(state_dir: StateDir = None) -> None:
    """Show what runs; exit status 1 when something does not."""
    options = Options.load(_folder(state_dir))
    if options is None:
        say("no sandbox here")
        raise typer.Exit(EXIT_NO)
    parts = components(options)
    table = Table("PART", "PROCESS", "STATE", "PID", "RSS MiB", "LOG", box=None)
    processes = [(part, process) for part in parts for process in part.processes]
    for part, process in processes:
        identity, rss = process.identity, process.rss_bytes
        table.add_row(
            part.name,
            process.name,
            "running" if identity else "stopped",
            str(identity.pid) if identity else "-",
            f"{rss / 2**20:.0f}" if rss is not None else "-",
            str(process.log),
        )
    console = Console()
    width = max(console.width, console.measure(table).maximum)
    Console(width=width).print(table)  # paths are for copying: never shortened
    _print_usage(parts, options.state_dir)
    if not all(process.running for _part, process in processes):
        raise typer.Exit(EXIT_NO)


@app.command()
def binaries(
    names: Annotated[list[str] | None, typer.Argument(help="Programs; all when none is named.")] = None,
) -> None:
    """Fetch or build the programs and print where they are."""
    unknown = sorted(set(names or ()) - set(PROGRAMS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(PROGRAMS)}")
    for name, path in ensure_all(names or PROGRAMS).items():
        print(f"{name}\t{path}")


def _options(folder: Path, kubeconfig: Path | None, fleet: Path | None) -> Options:
    """Options of a new sandbox; in an existing cluster emulated nodes are made only on request."""
    if fleet is None and kubeconfig is None:
        fleet = default_config()
    return Options(
        folder,
        None if kubeconfig is None else kubeconfig.absolute(),
        None if fleet is None else fleet.absolute(),
        free_ports(1)[0],
    )


def _folder(state_dir: Path | None) -> Path:
    return default_state_dir() if state_dir is None else state_dir.absolute()


def _print_usage(parts: list[SandboxPart], folder: Path) -> None:
    facts = {f"{part.name} {key}": value for part, (key, value) in ((p, f) for p in parts for f in p.facts.items())}
    print(f"export KUBECONFIG={facts['cluster kubeconfig']}")
    print(f"export PATH={commands(folder, Path(facts['cluster kubectl']))}:$PATH")
    print(f"alias kubectl={facts['cluster kubectl']}")
    print(f"export PROMETHEUS_URL={facts['prometheus url']}")
    if "fleet url" in facts:
        print(f"export FLEET_URL={facts['fleet url']}")


def main() -> None:
    """Run the command; expected failures are one message and exit status 1, not a traceback."""
    try:
        app()
    except EXPECTED_ERRORS as error:
        say(f"sandbox: {error}")
        sys.exit(EXIT_NO)
    except KeyboardInterrupt:
        say("sandbox: interrupted")
        sys.exit(130)
