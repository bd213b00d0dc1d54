"""`pertoken bench`: what each autoscaling policy costs and how it serves, on simulated engines, recorded traffic."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pertoken.cli.rendering import Output, print_data, refuse
from pertoken_bench.cli.bench_history import HistoryOptions, past, say, say_what_stands_in, summary, workspace

if TYPE_CHECKING:  # they load the compiler
    from pertoken_bench.benchmark import BenchmarkResult
    from pertoken_bench.scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How to run and print; see the command's help."""

    seeds: int
    output: Output
    html: Path | None = None
    jobs: int = -1
    dask: str | None = None
    log: Path | None = None
    strict: bool = False


def bench_command(  # noqa: PLR0913 - one per option
    *,
    scenario: Annotated[Path | None, typer.Option(help="Scenario file.")] = None,
    policies: Annotated[str, typer.Option(help="Policies, comma-separated; suffix :tuned.")] = (
        "pertoken,static-peak,clairvoyant"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs per policy, with seeds 0, 1, …")] = 5,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    jobs: Annotated[int, typer.Option(min=-1, help="Local processes; -1: one per CPU.")] = -1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, instead of local processes.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write trials of :tuned policies to this file, JSON lines.")] = None,
    service: Annotated[Path | None, typer.Option(help="One's own service and pools, instead of a scenario.")] = None,
    history: Annotated[
        str | None, typer.Option(help="With --service: `prometheus`, or a CSV of what happened.")
    ] = None,
    prometheus_url: Annotated[str | None, typer.Option(help="With --history prometheus: where it answers.")] = None,
    days: Annotated[float, typer.Option(min=0.01, help="With --history prometheus: how far back.")] = 7.0,
    lengths: Annotated[
        Path | None, typer.Option(help="With --history: a request trace whose lengths are like one's own.")
    ] = None,
    cold_start: Annotated[float, typer.Option(min=0, help="With --history: seconds until a replica serves.")] = 120.0,
    save: Annotated[Path | None, typer.Option(help="With --history: write what was read to this CSV.")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse traces with rows that are no requests, instead of leaving them out."),
    ] = False,
) -> None:
    """Compare policies by simulation. Exit 0; 2 for bad input."""
    if (scenario is None) == (service is None):
        refuse("give either --scenario FILE or --service FILE with --history")
    asked = tuple(name.strip() for name in policies.split(",") if name.strip())
    if not asked:
        refuse("--policies: name at least one policy")
    if scenario is not None:
        _run(scenario, asked, BenchOptions(seeds, output, html, jobs, dask, log, strict))
        return
    if service is None or history is None:
        refuse("--service: --history: missing; expected `prometheus` or a CSV of what happened")
    asked_past = HistoryOptions(service, history, prometheus_url, days, lengths, cold_start, save)
    _run_past(asked_past, asked, BenchOptions(seeds, output, html, jobs, dask, log, strict))


def _run(file: Path, policies: Sequence[str], options: BenchOptions) -> None:
    from pertoken_bench.scenarios.scenario import ScenarioError, load  # noqa: PLC0415 - loads the compiler

    try:
        scenario = load(file)
    except ScenarioError as error:
        refuse(*error.mistakes)
    say_what_stands_in(scenario, str(file))
    result = _simulate(scenario, policies, options, str(file))
    _hand_out(result, options)
    show(result.rows, scenario.name, options.output)


def _run_past(asked: HistoryOptions, policies: Sequence[str], options: BenchOptions) -> None:
    """The record first, then what the policies would have made of it."""
    from pertoken_bench.history import with_record  # noqa: PLC0415 - loads the compiler

    names = ("actual", *(name for name in policies if name != "actual"))
    with workspace() as folder:
        replayed = past(asked, Path(folder))
        result = _simulate(replayed.scenario, names, options, f"--history {asked.history}")
    rows = with_record(result, replayed.history)
    _hand_out(replace(result, rows=rows), options)
    show(rows, replayed.scenario.name, options.output)
    if options.output is Output.TABLE:
        print(summary(rows))


def _simulate(scenario: Scenario, policies: Sequence[str], options: BenchOptions, source: str) -> BenchmarkResult:
    """All runs; whatever is wrong with traces, tables or names ends the command."""
    from pertoken_bench.benchmark import UnknownPolicyError, bench  # noqa: PLC0415 - loads the compiler
    from pertoken_bench.hardware.step_times import TableMissingError  # noqa: PLC0415
    from pertoken_bench.scenarios.prepare import trace_remarks  # noqa: PLC0415
    from pertoken_bench.scenarios.scenario import strictly  # noqa: PLC0415
    from pertoken_bench.traces.files import TraceError  # noqa: PLC0415

    scenario = strictly(scenario) if options.strict else scenario
    try:
        for remark in trace_remarks(scenario):
            say(remark)
        with progress_bar(sys.stderr.isatty()) as report:
            return bench(
                scenario,
                policies,
                range(options.seeds),
                jobs=_processes(options.jobs),
                dask=options.dask,
                progress=report,
            )
    except (TraceError, TableMissingError) as error:
        refuse(f"{source}: {error}")
    except UnknownPolicyError as error:
        refuse(f"--policies: {error.args[0]}")
    except OSError as error:
        refuse(f"--dask {options.dask}: {error}")


def _hand_out(result: BenchmarkResult, options: BenchOptions) -> None:
    """The page and the log, where asked for."""
    if options.html is not None:
        from pertoken_bench.report.html_report import page  # noqa: PLC0415 - loads matplotlib

        options.html.write_text(page(result), encoding="utf-8")
    if options.log is not None:
        lines = (json.dumps(trial, sort_keys=True) for trial in result.trials)
        options.log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _processes(jobs: int) -> int:
    return (os.cpu_count() or 1) if jobs < 1 else jobs


def show(rows: Sequence[dict[str, Any]], title: str, output: Output) -> None:
    """Print the rows of the contract."""
    if output is not Output.TABLE:
        print_data(list(rows), output.value)
        return
    table = Table(title=title, box=None, pad_edge=False, header_style="bold")
    table.add_column("policy")
    for name in ("USD", "attained %", "USD/1M", "good USD/1M", "x bound", "TTFT p95", "ITL p95", "GPU h", "scaled"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["policy"],
            _figure(row["usd"], ".2f"),
            _figure(row["slo_attainment"], ".2f", 100.0),
            _figure(row["usd_per_million_tokens"], ".4f"),
            _figure(row["usd_per_million_good_tokens"], ".4f"),
            _figure(row["bound_ratio"], ".2f"),
            _figure(row["ttft_ms"]["p95"], ".0f"),
            _figure(row["itl_ms"]["p95"], ".1f"),
            _figure(row["gpu_hours"], ".1f"),
            _figure(row["scale_events"], ".0f"),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    seeds = len(rows[0]["seeds"]) if rows else 0
    console.print(f"means over {seeds} seeds, ± half of the 95 % interval; latencies in ms", style="dim")


def _figure(value: dict[str, Any], digits: str, factor: float = 1.0) -> str:
    if value["mean"] is None:
        return "-"
    text = format(value["mean"] * factor, digits)
    if value["interval"] is None:
        return text
    low, high = value["interval"]
    return f"{text} ±{format((high - low) / 2.0 * factor, digits)}"


@contextmanager
def progress_bar(shown: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on the terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total}"))
    terminal = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=terminal, transient=True, disable=not shown) as bar:
        task = bar.add_task("starting", total=None)

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield report
