"""`pertoken adopt`: find the engines that run, and write the manifests with which pertoken watches them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.adapters.kube.client import KubeClient
from pertoken.adapters.kube.reader import KubeReader
from pertoken.cli.adopt.apply import apply
from pertoken.cli.adopt.cluster import read_view
from pertoken.cli.adopt.manifests import text_of
from pertoken.cli.adopt.measured import Meter
from pertoken.cli.adopt.plan import Adoption, adoption
from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, client
from pertoken.cli.options import AllNamespaces, CatalogOption
from pertoken.cli.prometheus_option import PrometheusOption, profile_at
from pertoken.cli.rendering import NO, print_data, print_table, refuse
from pertoken.ports import AdapterError

COLUMNS = ("namespace", "service", "model", "GPU", "replicas", "USD/day", "saving USD/day", "questions")


class AdoptOutput(StrEnum):
    """How to print what is proposed."""

    YAML = "yaml"
    JSON = "json"
    TABLE = "table"


def adopt_command(  # noqa: PLR0913, PLR0917 - options of a command line
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    apply_all: Annotated[
        bool, typer.Option("--apply", help="Apply the manifests, in mode Recommend; workloads are never touched.")
    ] = False,
    prometheus_url: PrometheusOption = None,
    hours: Annotated[float, typer.Option(help="Hours of load and latency that are read.", min=0.05, max=744.0)] = 6.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a file per manifest into this folder.", file_okay=False)
    ] = None,
    catalog: CatalogOption = None,
    output: Annotated[AdoptOutput, typer.Option("--output", "-o", help="Output format.")] = AdoptOutput.YAML,
) -> None:
    """Write commented manifests for the engines that run already, in mode Recommend, one per service and pool.

    What could not be told is a comment that begins with QUESTION. Workloads are read, never changed. Exit 0 when
    something is proposed or all is adopted, 1 when no engine was found or an apply failed, 2 for trouble.
    """
    access = ConnectionOptions(kubeconfig, context, namespace)
    connection = client(access)
    try:
        view = read_view(KubeReader(connection, () if everywhere else (access.own_namespace,)))
    except AdapterError as error:
        refuse(str(error))
    for line in view.unseen:
        typer.echo(line, err=True)
    added = read_catalog(*catalog or ())
    if added.mistakes:
        refuse(*(f"--catalog: {mistake}" for mistake in added.mistakes))
    meter, why = _meter(prometheus_url, hours)
    proposed = adoption(view, meter, why, added.catalog)
    for line in proposed.left_out:
        typer.echo(f"left out: {line}", err=True)
    if not proposed.services:
        held = len(view.adopted)
        where = "in the cluster" if everywhere else f"in namespace {access.own_namespace}; -A looks into all namespaces"
        typer.echo(f"no engine to adopt {where}" + (f" ({held} adopted already)" if held else ""), err=True)
        raise typer.Exit(0 if held else NO)
    if apply_all:
        _apply(connection, proposed)
        return
    _print(proposed, output, out)
    typer.echo(_summary(proposed), err=True)


def _meter(url: str | None, hours: float) -> tuple[Meter | None, str]:
    """The Prometheus, or why there is none."""
    if url is None:
        return None, "no Prometheus was named (--prometheus-url): load and latency were not measured"
    return Meter(profile_at(url), hours), ""


def _print(proposed: Adoption, output: AdoptOutput, out: Path | None) -> None:
    if out is not None:
        _write(proposed, out)
    elif output is AdoptOutput.TABLE:
        print_table(COLUMNS, [_row(proposed, index) for index in range(len(proposed.services))])
    elif output is AdoptOutput.JSON:
        questions = [
            {**manifest, "questions": [text for lines in comments.values() for text in lines if "QUESTION" in text]}
            for manifest, comments in proposed.manifests
        ]
        print_data(questions, "json")
    else:
        print("---\n".join(text_of(manifest) for manifest in proposed.manifests), end="")


def _write(proposed: Adoption, folder: Path) -> None:
    """One file per object, named after it; a file that is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for manifest, comments in proposed.manifests:
        meta: dict[str, Any] = manifest["metadata"]
        name = f"{meta['namespace']}-{meta['name']}" if "namespace" in meta else f"pool-{meta['name']}"
        path = folder / f"{name}.yaml"
        if path.exists():
            typer.echo(f"{path}: kept, there is such a file already")
            continue
        path.write_text(text_of((manifest, comments)), encoding="utf-8")
        typer.echo(f"{path}: written")


def _row(proposed: Adoption, index: int) -> tuple[str, ...]:
    service = proposed.services[index]
    bills = [variant.saving.usd_today for variant in service.variants if variant.saving is not None]
    questions = (*service.questions, *(q for variant in service.variants for q in variant.questions))
    gpus = ", ".join(f"{each.parallelism.gpus} x {each.pool.accelerator}" for each in service.variants)
    return (
        service.namespace,
        service.name,
        service.model or "?",
        gpus,
        str(sum(variant.replicas for variant in service.variants)),
        f"{sum(bills):,.2f}" if bills else "-",
        "-" if service.saving is None else f"{service.saving:,.2f}",
        str(len((*questions, *service.measured.missing))),
    )


def _summary(proposed: Adoption) -> str:
    services, pools, questions = len(proposed.services), len(proposed.pools), proposed.questions
    told = [service.saving for service in proposed.services if service.saving is not None]
    saving = f"; acting would save {sum(told):,.2f} USD/day" if told else ""
    plural = "" if questions == 1 else "s"
    return (
        f"{services} service{'' if services == 1 else 's'}, {pools} new pool{'' if pools == 1 else 's'}, "
        f"{questions} question{plural} in the comments{saving}"
    )


def _apply(connection: KubeClient, proposed: Adoption) -> None:
    applied = [apply(connection, manifest) for manifest, _ in proposed.manifests]
    for each in applied:
        typer.echo(str(each))
    typer.echo(f"{_summary(proposed)}; pertoken adopt without --apply shows them", err=True)
    if any(each.outcome == "failed" for each in applied):
        raise typer.Exit(NO)
    typer.echo("next: pertoken status -A --watch")
