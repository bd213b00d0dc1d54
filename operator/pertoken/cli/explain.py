"""`pertoken explain NAME`: why a service stands where it stands, from its status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from pertoken.api.translate import PAUSED_ANNOTATION
from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, service
from pertoken.cli.rendering import Output, print_data
from pertoken.ports import Json

# Conditions in the order of the explanation.
_ORDER = (
    "Ready", "Accepted", "Paused", "Conflicted", "TargetFound", "MetricsAvailable", "AbleToScale", "ScalingLimited",
    "WithinLatencyTarget", "WithinCostTarget",
)  # fmt: skip


def explain_command(
    name: Annotated[str, typer.Argument(help="Name of the InferenceService.")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Say why a service has its replicas and its batch cap, what it costs, and what limits it."""
    item = service(ConnectionOptions(kubeconfig, context, namespace), name)
    if output is not Output.TABLE:
        print_data({"metadata": _identity(item), "status": item.get("status") or {}}, output.value)
        return
    for line in lines(item):
        typer.echo(line)


def _identity(item: Json) -> dict[str, Any]:
    meta = item["metadata"]
    return {"namespace": meta["namespace"], "name": meta["name"], "generation": meta.get("generation")}


def lines(item: Json) -> Iterator[str]:
    """The explanation, line by line."""
    meta, status = item["metadata"], item.get("status") or {}
    yield f"{meta['namespace']}/{meta['name']}: {status.get('message') or 'not planned yet: is the operator running?'}"
    if (meta.get("annotations") or {}).get(PAUSED_ANNOTATION) == "true":
        yield f"  PAUSED: nothing is changed until `pertoken resume {meta['name']} -n {meta['namespace']}`"
    generation, seen = meta.get("generation"), status.get("observedGeneration")
    if status and generation != seen:
        yield f"  (the last decision saw generation {seen}, the object is at {generation})"
    yield from _section("variants", _variants(status))
    yield from _section("demand", _demand(status.get("demand") or {}))
    yield from _section("cost", _cost(status.get("cost") or {}))
    yield from _section("latency", _latency(status.get("latency") or {}))
    yield from _section("conditions", _conditions(status))
    recommendation = status.get("recommendation")
    if recommendation:
        yield from _section("recommendation (not carried out)", iter([recommendation["summary"]]))


def _section(title: str, content: Iterator[str]) -> Iterator[str]:
    lines = list(content)
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _variants(status: Mapping[str, Any]) -> Iterator[str]:
    for variant in status.get("variants") or ():
        current, desired = variant["replicas"], variant["desiredReplicas"]
        change = f"{current} -> {desired}" if current != desired else f"{current}"
        yield f"{variant['name']}: {change} replicas ({variant['readyReplicas']} ready): {variant['reason']}"
        sustained = variant.get("outputTokensPerSecondPerReplica")
        if sustained:
            yield f"  one replica sustains {sustained} output tokens/s within the objectives"
        if variant.get("batchCap") is not None:
            batch = variant.get("operatingBatch") or "?"
            yield f"  batch {batch} of at most {variant['batchCap']}: {variant.get('batchMessage') or '-'}"
        learnt = variant.get("calibration")
        if learnt and learnt.get("samples"):
            gains = f"decode {learnt.get('decodeGain')}, prefill {learnt.get('prefillGain')}"
            yield f"  learnt from {learnt['samples']} observations: {gains} times the modelled time"


def _demand(demand: Mapping[str, Any]) -> Iterator[str]:
    now, ahead = demand.get("now") or {}, demand.get("forecast") or {}
    if now:
        yield (
            f"{now.get('requestsPerSecond', '?')} requests/s, {now.get('inputTokensPerSecond', '?')} input and "
            f"{now.get('outputTokensPerSecond', '?')} output tokens/s; {now.get('waiting', '?')} requests wait"
        )
    if ahead.get("outputTokensPerSecond"):
        yield f"{ahead['outputTokensPerSecond']} output tokens/s expected in {demand.get('leadSeconds', '?')} s"


def _cost(cost: Mapping[str, Any]) -> Iterator[str]:
    if cost.get("index"):
        yield f"index {cost['index']} (the target is at most 1), {cost.get('blended', '?')} USD per 1M tokens"
    for label, key in (
        ("input USD/1M", "input"),
        ("cached input USD/1M", "cachedInput"),
        ("output USD/1M", "output"),
        ("one more token USD/1M", "marginal"),
        ("1,000 requests USD", "perThousandRequests"),
        ("spend per hour USD", "spendPerHour"),
        ("GPU time without work %", "idleShare"),
        ("lowest within the objectives USD/1M", "reachable"),
        ("index at that cost", "reachableIndex"),
    ):
        if cost.get(key):
            yield f"{label}: {cost[key]}"


def _latency(latency: Mapping[str, Any]) -> Iterator[str]:
    percentile = latency.get("percentile", "?")
    if latency.get("ttftMilliseconds") is not None:
        yield f"p{percentile} time to first token {latency['ttftMilliseconds']} ms"
    if latency.get("interTokenMilliseconds") is not None:
        yield f"p{percentile} time per output token {latency['interTokenMilliseconds']} ms"


def _conditions(status: Mapping[str, Any]) -> Iterator[str]:
    known = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind in (*_ORDER, *sorted(set(known) - set(_ORDER))):
        if kind in known:
            condition = known[kind]
            yield f"{kind}={condition['status']} ({condition['reason']}): {condition['message']}"
