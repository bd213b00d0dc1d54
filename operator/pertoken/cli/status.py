"""`pertoken status`: all services with what they cost and how they serve. Exit 1 when one is not Ready."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, services
from pertoken.cli.rendering import NO, Output, print_data, print_table
from pertoken.ports import Json

COLUMNS = (
    "namespace", "name", "replicas", "desired", "batch", "USD/1M", "index", "GPU %", "cost", "latency", "ready",
    "reason",
)  # fmt: skip


def status_command(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look into all namespaces.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Show every service: replicas, batch, cost, latency, why. Exit 0 when all are Ready, 1 when not, 2 for trouble."""
    items = services(ConnectionOptions(kubeconfig, context, namespace), everywhere=everywhere)
    rows = [row(item) for item in items]
    if output is not Output.TABLE:
        print_data(rows, output.value)
    elif rows:
        print_table(
            COLUMNS, [tuple(str(value) if value not in (None, "") else "-" for value in r.values()) for r in rows]
        )
    else:
        typer.echo("no InferenceService found" + ("" if everywhere else "; -A looks into all namespaces"))
    if any(each["ready"] != "True" for each in rows):
        raise typer.Exit(NO)


def row(item: Json) -> dict[str, Any]:
    """What the table and the data formats show of one service."""
    status = item.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    verdicts = {kind: condition["status"] for kind, condition in conditions.items()}
    # A service that is not Ready shows that reason, a Ready one the reason of its replicas.
    reason = conditions["Ready"]["reason"] if verdicts.get("Ready") == "False" else status.get("reason")
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "replicas": status.get("replicas"),
        "desiredReplicas": status.get("desiredReplicas"),
        "batch": status.get("batchSummary"),
        "costPerMillionTokens": status.get("costPerMillionTokens"),
        "costIndex": status.get("costIndex"),
        "gpuUtilization": status.get("gpuUtilization"),
        "withinCostTarget": verdicts.get("WithinCostTarget"),
        "withinLatencyTarget": verdicts.get("WithinLatencyTarget"),
        "ready": verdicts.get("Ready"),
        "reason": reason,
    }
