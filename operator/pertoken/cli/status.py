"""`pertoken status`: all services with what they cost and how they serve. Exit 1 when one is not Ready."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from pertoken.api.translate import PAUSED_ANNOTATION
from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, services
from pertoken.cli.options import AllNamespaces
from pertoken.cli.rendering import NO, print_data, print_table
from pertoken.ports import Json

COLUMNS: Final = (
    *("namespace", "name", "replicas", "desired", "batch", "USD/1M", "index", "GPU %", "cost", "latency", "ready"),
    *("mode", "reason"),
)
# Columns that a narrow terminal does without, the least missed first; `-o wide` shows all.
DISPENSABLE: Final = ("GPU %", "index", "latency", "cost", "batch", "mode")
CLEAR: Final = "\x1b[H\x1b[2J"


class StatusOutput(StrEnum):
    """How to print services."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def status_command(  # noqa: PLR0913, PLR0917 - options of a command line
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    output: Annotated[
        StatusOutput, typer.Option("--output", "-o", help="Output format; wide never leaves out columns.")
    ] = StatusOutput.TABLE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every few seconds, until Ctrl-C.")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks, with --watch.", min=0.2)] = 2.0,
) -> None:
    """Show every service: replicas, batch, cost, latency, why. Exit 0 when all are Ready, 1 when not, 2 for trouble."""
    access = ConnectionOptions(kubeconfig, context, namespace)
    rows = _show(access, output, everywhere=everywhere)
    try:
        while watch:
            time.sleep(interval)
            typer.echo(CLEAR, nl=False)
            rows = _show(access, output, everywhere=everywhere)
    except KeyboardInterrupt:
        typer.echo()
    if any(each["ready"] != "True" for each in rows):
        raise typer.Exit(NO)


def _show(access: ConnectionOptions, output: StatusOutput, *, everywhere: bool) -> list[dict[str, Any]]:
    rows = [row(item) for item in services(access, everywhere=everywhere)]
    if output in (StatusOutput.JSON, StatusOutput.YAML):
        print_data(rows, output.value)
    elif rows:
        cells = [[str(value) if value not in (None, "") else "-" for value in each.values()] for each in rows]
        print_table(COLUMNS, cells, optional=() if output is StatusOutput.WIDE else DISPENSABLE)
    else:
        typer.echo("no InferenceService found" + ("" if everywhere else "; -A looks into all namespaces"))
    return rows


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
        "mode": mode_of(item),
        "reason": reason,
    }


def mode_of(item: Json) -> str:
    """`Paused` where pertoken keeps its hands off, else the mode: as the spec has it, or as it follows from it."""
    spec, annotations = item.get("spec") or {}, item["metadata"].get("annotations") or {}
    if annotations.get(PAUSED_ANNOTATION) == "true":
        return "Paused"
    owned = all(variant.get("podTemplate") for variant in spec.get("variants") or ())
    return str(spec.get("mode") or ("Auto" if owned else "Recommend"))
