"""Proposals as commented manifests. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pertoken.api.kinds import ACCELERATOR_POOL, INFERENCE_SERVICE
from pertoken.api.v1alpha1 import API_VERSION
from pertoken.cli.adopt.commented import Path, dump
from pertoken.cli.adopt.pools import DEFAULT_RESOURCE, UNKNOWN, PoolProposal
from pertoken.cli.adopt.proposal import ServiceProposal, VariantProposal
from pertoken.cli.rendering import plain_figure
from pertoken.domain.pool import Purchase
from pertoken.domain.signal import QuantileBounds
from pertoken.units import MILLISECONDS

Json = dict[str, Any]
Comments = dict[Path, list[str]]


def pool_manifest(pool: PoolProposal) -> tuple[Json, Comments]:
    """An AcceleratorPool and its comments by field."""
    comments: Comments = {(): [f"{ACCELERATOR_POOL.kind} {pool.name}: proposed by pertoken adopt."]}
    comments[()] += [f"QUESTION: {question}" for question in pool.questions]
    capacity: Json = {"gpus": pool.count}
    if pool.selector is not None:
        label, value = pool.selector
        capacity = {"fromNodes": {"matchLabels": {label: value}}}
        comments[("spec", "capacity")] = [f"Nodes with this label have {pool.count} of them now."]
    spec: Json = {"accelerator": pool.accelerator}
    if pool.resource != DEFAULT_RESOURCE:
        spec["resourceName"] = pool.resource
    if pool.purchase is not Purchase.ON_DEMAND:
        spec["purchase"] = pool.purchase.value
    if pool.price is not None:
        spec["pricePerGPUHour"] = str(pool.price)
        comments[("spec", "pricePerGPUHour")] = [f"USD per GPU and hour: {pool.price_source}"]
    spec["capacity"] = capacity
    metadata = {"name": pool.name}
    return {"apiVersion": API_VERSION, "kind": ACCELERATOR_POOL.kind, "metadata": metadata, "spec": spec}, comments


def service_manifest(service: ServiceProposal) -> tuple[Json, Comments]:
    """An InferenceService and its comments by field."""
    comments: Comments = {(): list(_head(service))}
    model: Json = {"id": service.model or UNKNOWN}
    if service.served_name and service.served_name != service.model:
        model["servedName"] = service.served_name
    if service.max_model_len:
        model["maxModelLen"] = service.max_model_len
    spec: Json = {"mode": "Recommend", "model": model}
    comments[("spec", "mode")] = ["Auto lets pertoken act; until then it only shows what it would do."]
    objective = _objective(service, comments)
    if objective:
        spec["objective"] = objective
    spec["minReplicas"] = max(1, min(variant.limits[0] for variant in service.variants))
    spec["variants"] = [
        _variant(variant, comments, ("spec", "variants", index)) for index, variant in enumerate(service.variants)
    ]
    metadata = {"name": service.name, "namespace": service.namespace}
    return {"apiVersion": API_VERSION, "kind": INFERENCE_SERVICE.kind, "metadata": metadata, "spec": spec}, comments


def text_of(manifest: tuple[Json, Comments]) -> str:
    """As YAML."""
    return dump(*manifest)


def _head(service: ServiceProposal) -> Iterator[str]:
    measured = service.measured
    yield f"{INFERENCE_SERVICE.kind} {service.namespace}/{service.name}: proposed by pertoken adopt."
    for variant in service.variants:
        engine = variant.engine
        release = str(engine.serving.release or measured.release or "").strip()
        made = f", made by {engine.platform}" if engine.platform else ""
        yield (
            f"{engine.title}{made}: {engine.serving.engine}{f' ({release})' if release else ''}, "
            f"{variant.replicas} x {variant.parallelism.gpus} {variant.pool.accelerator}."
        )
        yield from engine.remarks
    if measured.rate is not None:
        lengths = ""
        if measured.input_tokens is not None and measured.output_tokens is not None:
            lengths = f" of {measured.input_tokens:,.0f} input and {measured.output_tokens:,.0f} output tokens"
        rate = plain_figure(measured.rate, 3)
        yield f"Now {rate} requests/s{lengths}; {measured.cached_share:.0%} of the input cached."
    yield from _saving(service)
    for question in (*service.questions, *measured.missing):
        yield f"QUESTION: {question}"


def _saving(service: ServiceProposal) -> Iterator[str]:
    for variant in service.variants:
        saving = variant.saving
        if saving is None:
            continue
        whole = f"{service.measured.hours:.1f} h"
        bill = f"{saving.usd_today:,.2f} USD/day with {saving.replicas:.1f} replicas"
        acting = f"{saving.usd_following:,.2f} USD/day with {saving.needed:.1f}"
        verb = "save" if saving.usd_per_day >= 0 else "cost"
        yield (
            f"{variant.name}: {bill} over the last {whole}; following the demand within these objectives would have "
            f"taken {acting}: acting would {verb} {abs(saving.usd_per_day):,.2f} USD/day (the catalog's model, not yet "
            "corrected by measurements)."
        )


def _objective(service: ServiceProposal, comments: Comments) -> Json:
    """What is kept today; what is not known is asked for."""
    objective: Json = {}
    asked = []
    if service.blended is not None:
        objective["cost"] = {"perMillionTokens": {"blended": f"{service.blended:f}"}}
        span = f"over the last {service.measured.hours:.1f} h" if service.measured.loads else "in the last minute alone"
        comments[("spec", "objective", "cost")] = [f"USD per 1,000,000 tokens: what they cost {span}, rounded up."]
    else:
        asked.append("what may a million tokens cost? (spec.objective.cost.perMillionTokens)")
    latency: Json = {}
    where = ("spec", "objective", "latency")
    for field, value, bounds, name in (
        ("ttftMilliseconds", service.ttft, service.measured.ttft, "time to first token"),
        ("interTokenMilliseconds", service.inter_token, service.measured.inter_token, "time per output token"),
    ):
        if value is None:
            asked.append(f"how long may the {name} be? (spec.objective.latency.{field})")
            continue
        latency[field] = value
        comments[(*where, field)] = [f"{_kept(bounds, service.measured.percentile)}; the bucket's upper edge."]
    if latency:
        objective["latency"] = {**latency, "percentile": service.measured.percentile}
    comments[()] += [f"QUESTION: {question}" for question in asked]
    return objective


def _kept(bounds: QuantileBounds | None, percentile: int) -> str:
    if bounds is None or math.isinf(bounds.high):
        return "not measured"
    low, high = (edge * MILLISECONDS for edge in (bounds.low, bounds.high))
    about = f"{bounds.estimate * MILLISECONDS:.3g} ms, for certain {low:g} to {high:g} ms"
    return f"Kept today: the {percentile}th percentile is {about}"


def _variant(variant: VariantProposal, comments: Comments, where: Path) -> Json:
    ref, low, most = variant.engine.target.ref, *variant.limits[:2]
    fields: Json = {"name": variant.name, "pool": variant.pool.name}
    sizes = variant.parallelism
    shown = {
        name: value
        for name, value in (
            *(("tensor", sizes.tensor), ("pipeline", sizes.pipeline), ("data", sizes.data), ("expert", sizes.expert)),
        )
        if value > 1
    }
    if shown:
        fields["parallelism"] = shown
    if variant.quantization:
        fields["quantization"] = variant.quantization
    fields["engine"] = variant.kind.value
    fields["minReplicas"] = low
    fields["maxReplicas"] = most
    comments[(*where, "maxReplicas")] = [variant.limits[2]]
    cap = variant.engine.target.launch.settings(variant.pool.gpu)
    if cap.max_sequences:
        fields["batching"] = {"maxSequences": max(1, min(cap.max_sequences, 8192))}
        comments[(*where, "batching")] = [f"The engine's cap now ({cap.source})."]
    fields["scaleTargetRef"] = {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name}
    comments[where] = [f"QUESTION: {question}" for question in variant.questions]
    return fields
