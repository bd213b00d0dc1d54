"""`pertoken plan`: which GPUs the services will need, how many, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Annotated, Any

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.api.check import Checked, Severity, check
from pertoken.capacity.demand import Shape
from pertoken.capacity.document import plan_document
from pertoken.capacity.forecast.library import LibraryMissing
from pertoken.capacity.gpus.needs import Nodes
from pertoken.capacity.plan import Asked, PlanOptions, plan
from pertoken.catalog.lookup import Catalog
from pertoken.cli.manifests import read_sources
from pertoken.cli.plan_history import by_service, read_histories
from pertoken.cli.rendering import Output, print_data, print_table, refuse
from pertoken.cli.subject import InputOption, OutputOption
from pertoken.units import PER_CENT

LONGEST = 366  # days
LEAST_CONFIDENCE = 50.0  # per cent
LEAST_GROWTH, MOST_GROWTH = -0.9, 10.0  # share per month


def plan_command(  # noqa: PLR0913, PLR0917 - options of a command line
    files: Annotated[
        list[Path], typer.Option("--file", "-f", help="Manifests of services and pools; files, folders, or -.")
    ],
    history: Annotated[
        list[str],
        typer.Option("--history", help="CSV (.gz) of the past: FILE, SERVICE=FILE or SERVICE=FILE#SERIES; repeatable."),
    ],
    horizon_days: Annotated[int, typer.Option("--horizon-days", help="Days to plan for.")] = 28,
    confidence: Annotated[float, typer.Option("--confidence", help="Per cent of futures to suffice for.")] = 90.0,
    growth: Annotated[
        str, typer.Option("--growth", help="Further growth per month: 5% or 0.05; negative for less.")
    ] = "0",
    input_tokens: InputOption = 1000,
    output_tokens: OutputOption = 200,
    gpus_per_node: Annotated[
        list[str] | None, typer.Option("--gpus-per-node", help="POOL=N: GPUs of one node; repeatable.")
    ] = None,
    existing: Annotated[
        list[str] | None, typer.Option("--existing", help="POOL=N: GPUs that there are today; repeatable.")
    ] = None,
    catalog: Annotated[list[Path] | None, typer.Option(help="Further catalog rows: file or folder.")] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Plan capacity from manifests and history. Exit 1 when a pool falls short, 2 on bad input."""
    mistakes: list[str] = []
    grown = _growth(growth, mistakes)
    if not 1 <= horizon_days <= LONGEST:
        mistakes.append(f"--horizon-days: {horizon_days}: expected 1 to {LONGEST} days")
    if not LEAST_CONFIDENCE < confidence < PER_CENT:
        mistakes.append(f"--confidence: {confidence:g}: expected above 50 and below 100 per cent")
    options = PlanOptions(horizon_days, confidence, grown, shape=Shape(input_tokens, output_tokens))
    checked, known = _manifests(files, catalog, mistakes)
    nodes = _nodes(gpus_per_node, existing, {pool.spec.name for pool in checked.pools}, mistakes)
    services = tuple(service.spec for service in checked.services)
    if not mistakes:
        mistakes += [
            f"--file: {word}: none; expected one or more"
            for word, there in (("InferenceService", services), ("AcceleratorPool", checked.pools))
            if not there
        ]
    past, wrong = read_histories(history, services)
    mistakes += wrong
    if mistakes:
        refuse(*mistakes)
    series, missing = by_service(past, services)
    if missing:
        refuse(*missing)
    pools = tuple(pool.spec for pool in checked.pools)
    try:
        planned = plan(Asked(services, pools, past, series, known, options, nodes))
    except LibraryMissing as error:
        refuse(str(error))
    if isinstance(planned, tuple):
        refuse(*map(str, planned))
    document = plan_document(planned)
    if output is Output.TABLE:
        _print(document)
    else:
        print_data(document, output.value)
    if any(pool["first_shortfall_s"] is not None for pool in document["pools"]):
        raise typer.Exit(1)


def _growth(text: str, mistakes: list[str]) -> float:
    try:
        share = float(text.strip().removesuffix("%")) / (PER_CENT if text.strip().endswith("%") else 1.0)
    except ValueError:
        share = nan
    if not LEAST_GROWTH <= share <= MOST_GROWTH:
        mistakes.append(f"--growth: {text!r}: expected a share per month such as 5% or 0.05, from -90% to 1000%")
        return 0.0
    return share


def _manifests(files: list[Path], catalog: list[Path] | None, mistakes: list[str]) -> tuple[Checked, Catalog]:
    sources, unreadable = read_sources(files)
    rows = read_catalog(*catalog or ())
    checked = check(sources, rows.catalog)
    mistakes += [str(finding) for finding in (*unreadable, *checked.findings) if finding.severity is Severity.ERROR]
    mistakes += [f"--catalog: {mistake}" for mistake in rows.mistakes]
    return checked, rows.catalog


def _nodes(
    sizes: list[str] | None, existing: list[str] | None, pools: set[str], mistakes: list[str]
) -> dict[str, Nodes]:
    size = _counts("--gpus-per-node", sizes or [], pools, 1, mistakes)
    have = _counts("--existing", existing or [], pools, 0, mistakes)
    return {name: Nodes(size.get(name), have.get(name)) for name in pools}


def _counts(option: str, texts: list[str], pools: set[str], least: int, mistakes: list[str]) -> dict[str, int]:
    counts = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in pools:
            mistakes.append(
                f"{option}: {text!r}: expected POOL=N with a pool of the files ({', '.join(sorted(pools))})"
            )
        elif not number.isdecimal() or int(number) < least:
            mistakes.append(f"{option}: {text!r}: expected a whole number of GPUs of {least} or more")
        else:
            counts[name] = int(number)
    return counts


def _print(document: dict[str, Any]) -> None:
    start = _time(document["start_s"])
    confidence = f"P{document['confidence_percent']:g}"
    print(f"{document['horizon_days']} days from {start}, {document['futures']} futures, {confidence}")
    columns = ("service", "mean tok/s P50", "peak tok/s P50", "peak tok/s P90", "WAPE", "naive", "P90 coverage", "by")
    print_table(columns, [_service_cells(service) for service in document["services"]])
    print()
    heads = ("pool", "GPUs mean P50", "peak P50", f"peak {confidence}", "existing", "short", "first short (UTC)")
    print_table(heads, [_pool_cells(pool) for pool in document["pools"]])
    for service in document["services"]:
        for remark in service["remarks"]:
            print(f"{service['name']}: {remark}")
    for remark in document["remarks"]:
        print(remark)


def _service_cells(service: dict[str, Any]) -> list[str]:
    p50 = [hour["p50_tokens_per_s"] for hour in service["forecast"]]
    p90 = [hour["p90_tokens_per_s"] for hour in service["forecast"]]
    test = service["backtest"]
    return [
        service["name"],
        f"{sum(p50) / len(p50):.0f}",
        f"{max(p50):.0f}",
        f"{max(p90):.0f}",
        _share(test["wape"]),
        _share(test["seasonal_naive_wape"]),
        _share(test["p90_coverage"]),
        test["model"],
    ]


def _pool_cells(pool: dict[str, Any]) -> list[str]:
    hours = pool["gpus_by_hour"]
    short = pool["first_shortfall_s"]
    return [
        pool["name"],
        f"{sum(hours['p50']) / len(hours['p50']):.1f}",
        str(max(hours["p50"])),
        str(pool["peak_gpus"]),
        "unknown" if pool["existing_gpus"] is None else str(pool["existing_gpus"]),
        "" if pool["shortfall_gpus"] is None else str(pool["shortfall_gpus"]),
        "" if short is None else _time(short),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
