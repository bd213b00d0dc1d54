"""`pertoken plan`: which GPUs the services will need, how many, when, and how to buy them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.api.check import Checked, Severity, check
from pertoken.capacity.answer import Answer, answer
from pertoken.capacity.asked import Asked
from pertoken.capacity.demand import Shape
from pertoken.capacity.document import answer_document
from pertoken.capacity.exports.patch import Patch
from pertoken.capacity.forecast.library import LibraryMissing
from pertoken.capacity.gpus.needs import Nodes
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.purchase.plan import PurchaseError
from pertoken.capacity.spec import PlanSpec
from pertoken.capacity.whatif import WhatIf, WhatIfError, share_of, what_if
from pertoken.catalog.lookup import Catalog
from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig
from pertoken.cli.manifests import read_sources
from pertoken.cli.options import CatalogOption
from pertoken.cli.plan_cluster import ClusterPlan, past_of, read_cluster
from pertoken.cli.plan_exports import export_document, export_targets, patches_for, print_patches
from pertoken.cli.plan_history import PROMETHEUS, by_service, read_histories, read_prometheus
from pertoken.cli.plan_page import write_page
from pertoken.cli.plan_start import start_seconds
from pertoken.cli.plan_table import print_plan
from pertoken.cli.rendering import NO, Output, print_data, refuse
from pertoken.cli.subject import InputOption, OutputOption
from pertoken.domain.service import ServiceSpec
from pertoken.units import PER_CENT, AmountError, parse_amount

LONGEST = 366  # days
LEAST_CONFIDENCE = 50.0  # per cent


def plan_command(  # noqa: PLR0913, PLR0917 - options of a command line
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", "-f", help="Manifests of services, pools and at most one CapacityPlan; files, folders, or -."
        ),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(
            "--history",
            help="CSV (.gz) of the past: FILE, SERVICE=FILE or SERVICE=FILE#SERIES; repeatable; or `prometheus`. "
            "Default with --from-cluster: the Prometheus of the plan's metrics profile, set as for `pertoken run`.",
        ),
    ] = None,
    prometheus_url: Annotated[
        str | None, typer.Option("--prometheus-url", help="Of --history prometheus: http(s)://host[:port].")
    ] = None,
    from_cluster: Annotated[
        str | None,
        typer.Option(
            "--from-cluster",
            help="A CapacityPlan of the cluster by name, with the cluster's services, pools and nodes.",
        ),
    ] = None,
    write_status: Annotated[
        bool, typer.Option("--write-status", help="Write the answer into that plan's status and exit 0.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    horizon_days: Annotated[int | None, typer.Option("--horizon-days", help="Days to plan for; 28.")] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Per cent of futures to suffice for; 90.")
    ] = None,
    growth: Annotated[
        str | None, typer.Option("--growth", help="Further growth per 30 days: 5% or 0.05; negative for less.")
    ] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="USD per month that the plan is held against.")] = None,
    what_ifs: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="KEY=VALUE[,…] to plan beside it: growth, demand, confidence, gpu, price, model, quantization, "
            "context, output (tokens), slo (factor), ttft, itl (ms); repeatable.",
        ),
    ] = None,
    input_tokens: InputOption = 1000,
    output_tokens: OutputOption = 200,
    gpus_per_node: Annotated[
        list[str] | None, typer.Option("--gpus-per-node", help="POOL=N: GPUs of one node; repeatable.")
    ] = None,
    existing: Annotated[
        list[str] | None, typer.Option("--existing", help="POOL=N: GPUs that there are today; repeatable.")
    ] = None,
    catalog: CatalogOption = None,
    exports: Annotated[
        list[str] | None,
        typer.Option(
            "--export",
            help="POOL=KIND/[NAMESPACE/]NAME[:DETAIL]: print a patch for a NodePool, a ClusterQueue (:FLAVOR) or a "
            "CapacityBuffer (:GPUS of one chunk); repeatable. Nothing is applied.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the plan as one page of HTML that needs nothing else, too.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Plan capacity from manifests and history. Exit 1 when a pool falls short or a budget breaks, 2 on bad input."""
    mistakes: list[str] = []
    cluster = _cluster(from_cluster, ConnectionOptions(kubeconfig, context, None), mistakes, write=write_status)
    checked, known = _manifests(files or [], catalog, mistakes, None if cluster is None else cluster.checked)
    spec = _spec(checked, horizon_days, confidence, growth, mistakes)
    spec = _with_budget(spec, budget, mistakes)
    counted = {} if cluster is None else cluster.nodes
    nodes = _nodes(gpus_per_node, existing, (checked, spec, counted), mistakes)
    services = tuple(service.spec for service in checked.services if spec.includes(service.spec.key))
    targets = export_targets(exports or [], {pool.spec.name for pool in checked.pools}, mistakes)
    if cluster is not None and not history and not mistakes:
        past, series = past_of(cluster, services)
    else:
        past, series = _history(_Past(history or [], prometheus_url, spec.history_days), services, mistakes)
    starting = start_seconds(mistakes)
    if mistakes:
        _stop(cluster, *mistakes)
    asked = Asked(
        spec=spec,
        services=services,
        pools=tuple(pool.spec for pool in checked.pools),
        history=past,
        histories=series,
        catalog=known,
        nodes=nodes,
        shape=Shape(input_tokens, output_tokens),
        start_seconds=starting,
    )
    answered = _answered(asked, _what_ifs(what_ifs or [], asked), cluster)
    patches = patches_for(targets, answered.plan.planned.futures, checked.others)
    document = answer_document(answered)
    if html is not None:
        write_page(html, answered, document)
    no = _tell(document, patches, output)
    if cluster is not None and cluster.write:
        cluster.write_status(answered)
    elif no:
        raise typer.Exit(NO)


def _stop(cluster: ClusterPlan | None, *mistakes: str) -> NoReturn:
    """Exit code 2; in the status too where the plan's is written."""
    if cluster is not None:
        cluster.stop(*mistakes)
    refuse(*mistakes)


def _answered(asked: Asked, what_ifs: list[WhatIf], cluster: ClusterPlan | None) -> Answer:
    """The answer; from files it is for all services, from a cluster for those of which enough is known."""
    try:
        answered = answer(asked, what_ifs, asked.history.end_s)
    except LibraryMissing as error:
        _stop(cluster, str(error))
    except PurchaseError as error:
        _stop(cluster, *error.mistakes)
    planned = answered.plan.planned if isinstance(answered, Answer) else answered
    if not isinstance(answered, Answer) or (planned.unplanned and cluster is None):
        _stop(cluster, *map(str, planned.unplanned))
    return answered


def _cluster(name: str | None, access: ConnectionOptions, mistakes: list[str], *, write: bool) -> ClusterPlan | None:
    if name is not None:
        return read_cluster(access, name, write=write)
    if write:
        mistakes.append("--write-status: set; expected --from-cluster with it")
    return None


def _tell(document: dict[str, Any], patches: Sequence[Patch], output: Output) -> bool:
    """Print it; whether the answer is no."""
    if patches:
        document["exports"] = [export_document(patch) for patch in patches]
    if output is Output.TABLE:
        print_plan(document)
        print_patches(patches)
    elif output is Output.JSON:
        print(json.dumps(document))  # on one line: hundreds of services by the hour are many megabytes
    else:
        print_data(document, output.value)
    short = any(pool["first_shortfall_s"] is not None for pool in document["pools"])
    return short or not document["purchase"].get("budget", {}).get("fits", True)


def _what_ifs(texts: list[str], asked: Asked) -> list[WhatIf]:
    read, mistakes = [], []
    for text in texts:
        try:
            read.append(what_if(text, asked))
        except WhatIfError as error:
            mistakes.append(f"--what-if: {error}")
    if mistakes:
        refuse(*mistakes)
    return read


def _manifests(
    files: list[Path], catalog: list[Path] | None, mistakes: list[str], stored: Checked | None
) -> tuple[Checked, Catalog]:
    """What is asked, from files or, with their objects of other kinds, from the cluster."""
    sources, unreadable = read_sources(files)
    rows = read_catalog(*catalog or ())
    checked = check(sources, rows.catalog)
    if stored is not None:
        ours = (*checked.services, *checked.pools, *checked.plans)
        mistakes += ["--file: objects of pertoken; expected none with --from-cluster"] if ours else []
        checked = replace(stored, findings=checked.findings, others=checked.others)
    mistakes += [str(finding) for finding in (*unreadable, *checked.findings) if finding.severity is Severity.ERROR]
    mistakes += [f"--catalog: {mistake}" for mistake in rows.mistakes]
    if not mistakes:
        needed = (("InferenceService", checked.services), ("AcceleratorPool", checked.pools))
        place = "--file" if stored is None else "--from-cluster"
        mistakes += [f"{place}: {kind}: none; expected one or more" for kind, there in needed if not there]
        if len(checked.plans) > 1:
            names = ", ".join(plan.spec.name for plan in checked.plans)
            mistakes.append(f"--file: CapacityPlan: {names}; expected at most one")
    return checked, rows.catalog


def _spec(
    checked: Checked, days: int | None, confidence: float | None, growth: str | None, mistakes: list[str]
) -> PlanSpec:
    """The CapacityPlan of the files, or a plain one; options go before its fields."""
    spec = checked.plans[0].spec if checked.plans else PlanSpec("")
    if days is not None:
        spec = replace(spec, horizon_days=days)
        if not 1 <= days <= LONGEST:
            mistakes.append(f"--horizon-days: {days}: expected 1 to {LONGEST} days")
    if confidence is not None:
        spec = replace(spec, confidence=confidence)
        if not LEAST_CONFIDENCE < confidence < PER_CENT:
            mistakes.append(f"--confidence: {confidence:g}: expected above 50 and below 100 per cent")
    if growth is not None:
        try:
            spec = replace(spec, growth_per_month=share_of(growth))
        except ValueError as error:
            mistakes.append(f"--growth: {growth!r}: {error}")
    return spec


def _with_budget(spec: PlanSpec, budget: str | None, mistakes: list[str]) -> PlanSpec:
    if budget is None:
        return spec
    try:
        return replace(spec, budget_usd_per_month=parse_amount(budget))
    except AmountError as error:
        mistakes.append(f"--budget: {error}; expected USD per month")
        return spec


@dataclass(frozen=True, slots=True)
class _Past:
    """Where the past comes from: `--history`, `--prometheus-url`, and how many days are asked of Prometheus."""

    options: Sequence[str]
    url: str | None
    days: int


def _history(
    where: _Past, services: tuple[ServiceSpec, ...], mistakes: list[str]
) -> tuple[History, dict[str, ServiceHistory]]:
    if list(where.options) == [PROMETHEUS]:
        past, wrong = (History(0, ()), []) if mistakes else read_prometheus(where.url, services, where.days)
    else:
        past, wrong = read_histories(where.options, services)
    if wrong or mistakes:
        mistakes += wrong
        return past, {}
    series, missing = by_service(past, services)
    mistakes += missing
    return past, dict(series)


def _nodes(
    sizes: list[str] | None,
    existing: list[str] | None,
    known: tuple[Checked, PlanSpec, Mapping[str, Nodes]],
    mistakes: list[str],
) -> dict[str, Nodes]:
    """What the command line says of each pool's nodes, else the plan, else the cluster."""
    checked, spec, counted = known
    pools = {pool.spec.name for pool in checked.pools}
    size = _counts("--gpus-per-node", sizes or [], pools, 1, mistakes)
    have = _counts("--existing", existing or [], pools, 0, mistakes)
    seen = {name: counted.get(name, Nodes(spec.gpus_per_node(name))) for name in pools}
    return {
        name: Nodes(size.get(name, seen[name].gpus_per_node), have.get(name, seen[name].existing)) for name in pools
    }


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
