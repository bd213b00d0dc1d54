"""Rules between fields, each twice and side by side: in CEL for the API server, in Python for `pertoken validate`.

A Python rule gets the raw value at its location and must tolerate values of wrong types: those are reported by the
models. It yields the field at fault (relative to the location), its value, and what was expected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Json = dict[str, Any]
Fault = tuple[str, Any]  # field below the rule's location ("" for itself), offending value
Check = Callable[[Json], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule.

    Attributes:
        at: where it is attached: property names, ``[]`` for the items of a list; e.g. ``spec.variants[]``; empty for
            the whole object.
        message: what is expected, shown by the API server and by `pertoken validate`.
        cel: the expression; None where the schema itself (a keyed list) makes the server refuse.
        check: the same in Python; None for transition rules, which need the stored object.
    """

    at: str
    message: str
    cel: str | None
    check: Check | None


def _number(value: Any, default: int) -> int | None:
    if value is None:
        return default
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _variants(spec: Json) -> list[Json]:
    variants = spec.get("variants")
    return [v for v in variants if isinstance(v, dict)] if isinstance(variants, list) else []


LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _short_name(obj: Json) -> Iterator[Fault]:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(name, str) and not LABEL.fullmatch(name):
        yield "metadata.name", name


NAME_RULE: Final = Rule(
    "",
    "the name must be at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
    _short_name,
)


def _wakes(spec: Json) -> Iterator[Fault]:
    minimums = [_number(spec.get("minReplicas"), 1), *(_number(v.get("minReplicas"), 0) for v in _variants(spec))]
    if all(minimum == 0 for minimum in minimums) and spec.get("wakeSignal") is None:
        yield "wakeSignal", None


def _model_known(spec: Json) -> Iterator[Fault]:
    model = spec.get("model")
    if not isinstance(model, dict) or model.get("id") or model.get("architecture"):
        return
    if not all(v.get("engine") == "generic" for v in _variants(spec)):
        yield "model", model or None


def _unique_targets(spec: Json) -> Iterator[Fault]:
    def target(variant: Json) -> tuple[str, str] | None:
        ref = variant.get("scaleTargetRef")
        return (str(ref.get("kind", "Deployment")), str(ref.get("name"))) if isinstance(ref, dict) else None

    counts = Counter(target(v) for v in _variants(spec))
    for index, variant in enumerate(_variants(spec)):
        ref = target(variant)
        if ref is not None and counts[ref] > 1:
            yield f"variants[{index}].scaleTargetRef.name", ref[1]


def _unique_names(spec: Json) -> Iterator[Fault]:
    counts = Counter(str(v.get("name")) for v in _variants(spec))
    for index, variant in enumerate(_variants(spec)):
        if counts[str(variant.get("name"))] > 1:
            yield f"variants[{index}].name", variant.get("name")


def _wake_name(wake: Json) -> Iterator[Fault]:
    if wake.get("source") == "ProfileSignal" and not wake.get("name"):
        yield "name", None


def _prices(prices: Json) -> Iterator[Fault]:
    triple = [name for name in ("input", "cachedInput", "output") if prices.get(name) is not None]
    if prices.get("blended") is not None:
        yield from ((name, prices[name]) for name in triple)
    else:
        yield from ((name, None) for name in ("input", "output") if name not in triple)


def _price_above_zero(prices: Json) -> Iterator[Fault]:
    given = [prices.get(name) for name in ("blended", "input", "output")]
    texts = [text for text in given if isinstance(text, str)]
    if texts and not any(set(text) & set("123456789") for text in texts):
        yield "", prices


def _one_workload(variant: Json) -> Iterator[Fault]:
    if (variant.get("podTemplate") is None) == (variant.get("scaleTargetRef") is None):
        given = "both" if variant.get("podTemplate") is not None else None
        yield "", given


def _replica_bounds(variant: Json) -> Iterator[Fault]:
    low, high = _number(variant.get("minReplicas"), 0), _number(variant.get("maxReplicas"), 1_000_000)
    if low is not None and high is not None and low > high:
        yield "maxReplicas", high


def _sequence_bounds(batching: Json) -> Iterator[Fault]:
    low, high = _number(batching.get("minSequences"), 0), _number(batching.get("maxSequences"), 1_000_000)
    if low is not None and high is not None and low > high:
        yield "maxSequences", high


def _has_engine(template: Json) -> Iterator[Fault]:
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list):
        return
    names = [container.get("name") for container in containers if isinstance(container, dict)]
    if "engine" not in names:
        yield "spec.containers", ", ".join(str(name) for name in names)


def _one_capacity(capacity: Json) -> Iterator[Fault]:
    if (capacity.get("gpus") is None) == (capacity.get("fromNodes") is None):
        yield "", "both" if capacity.get("gpus") is not None else None


def _one_price(spec: Json) -> Iterator[Fault]:
    if spec.get("pricePerGPUHour") is not None and spec.get("priceFrom") is not None:
        yield "priceFrom", spec["pricePerGPUHour"]


def _fraction(spec: Json) -> Iterator[Fault]:
    text = spec.get("gpuFraction")
    if not isinstance(text, str):
        return
    try:
        value = float(text)
    except ValueError:
        return
    if not 0 < value <= 1:
        yield "gpuFraction", text


def _guarantee(access: Json) -> Iterator[Fault]:
    low, high = _number(access.get("guaranteedGPUs"), 0), _number(access.get("maxGPUs"), 10_000_000)
    if low is not None and high is not None and low > high:
        yield "guaranteedGPUs", low


def _floor(latency: Json) -> Iterator[Fault]:
    floor, percentile = _number(latency.get("floorPercent"), 0), _number(latency.get("percentile"), 95)
    if floor is not None and percentile is not None and floor > percentile:
        yield "floorPercent", floor


def _frozen_time(freeze: Json) -> Iterator[Fault]:
    try:
        begin, end = (datetime.fromisoformat(freeze[name]) for name in ("startTime", "endTime"))
    except (KeyError, TypeError, ValueError):
        return  # unset, or reported by the model
    if begin.tzinfo is not None and end.tzinfo is not None and end <= begin:
        yield "endTime", freeze["endTime"]


SERVICE_RULES = (
    NAME_RULE,
    Rule(
        "spec",
        "needed when every minReplicas is 0: an engine that does not run cannot report its queue",
        "self.minReplicas > 0 || self.variants.exists(v, v.minReplicas > 0) || has(self.wakeSignal)",
        _wakes,
    ),
    Rule(
        "spec",
        "needs an id or an architecture, unless every variant's engine is generic",
        "has(self.model.id) || has(self.model.architecture) || self.variants.all(v, v.engine == 'generic')",
        _model_known,
    ),
    Rule(
        "spec",
        "every variant needs a workload of its own",
        "self.variants.all(v, !has(v.scaleTargetRef) || self.variants.filter(o, has(o.scaleTargetRef) && "
        "o.scaleTargetRef.kind == v.scaleTargetRef.kind && o.scaleTargetRef.name == v.scaleTargetRef.name)"
        ".size() == 1)",
        _unique_targets,
    ),
    Rule("spec", "variant names must be unique within the service", None, _unique_names),
    Rule(
        "spec.wakeSignal",
        "needed when source is ProfileSignal",
        "self.source != 'ProfileSignal' || has(self.name)",
        _wake_name,
    ),
    Rule(
        "spec.freeze",
        "endTime must be later than startTime",
        "!has(self.startTime) || self.endTime > self.startTime",
        _frozen_time,
    ),
    Rule(
        "spec.objective.cost.perMillionTokens",
        "either blended alone, or input and output (and cachedInput)",
        "has(self.blended) ? !has(self.input) && !has(self.cachedInput) && !has(self.output) "
        ": has(self.input) && has(self.output)",
        _prices,
    ),
    Rule(
        "spec.objective.cost.perMillionTokens",
        "at least one price must be above 0",
        "(has(self.blended) && self.blended.matches('[1-9]')) || (has(self.input) && self.input.matches('[1-9]')) || "
        "(has(self.output) && self.output.matches('[1-9]'))",
        _price_above_zero,
    ),
    Rule(
        "spec.objective.latency",
        "floorPercent must be at most percentile",
        "!has(self.floorPercent) || self.floorPercent <= self.percentile",
        _floor,
    ),
    Rule(
        "spec.variants[]",
        "exactly one of podTemplate and scaleTargetRef",
        "has(self.podTemplate) != has(self.scaleTargetRef)",
        _one_workload,
    ),
    Rule(
        "spec.variants[]",
        "a variant cannot change between podTemplate and scaleTargetRef: add a variant with another name",
        "has(self.podTemplate) == has(oldSelf.podTemplate)",
        None,
    ),
    Rule(
        "spec.variants[]",
        "at least minReplicas",
        "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        _replica_bounds,
    ),
    Rule(
        "spec.variants[].batching",
        "at least minSequences",
        "!has(self.minSequences) || !has(self.maxSequences) || self.minSequences <= self.maxSequences",
        _sequence_bounds,
    ),
    Rule(
        "spec.variants[].podTemplate",
        "needs a container named engine",
        "self.spec.containers.exists(c, c.name == 'engine')",
        _has_engine,
    ),
)

POOL_RULES = (
    NAME_RULE,
    Rule("spec.capacity", "exactly one of gpus and fromNodes", "has(self.gpus) != has(self.fromNodes)", _one_capacity),
    Rule(
        "spec",
        "either pricePerGPUHour or priceFrom, not both",
        "!has(self.pricePerGPUHour) || !has(self.priceFrom)",
        _one_price,
    ),
    Rule(
        "spec",
        "gpuFraction must be above 0 and at most 1",
        "double(self.gpuFraction) > 0.0 && double(self.gpuFraction) <= 1.0",
        _fraction,
    ),
    Rule(
        "spec.access[]",
        "at most maxGPUs",
        "!has(self.maxGPUs) || self.guaranteedGPUs <= self.maxGPUs",
        _guarantee,
    ),
)


def located(value: Any, at: str) -> Iterator[tuple[str, Json]]:
    """Every object at a rule's location, with its concrete path: ``spec.variants[1]``."""
    yield from _walk(value, "", at.split(".") if at else [])


def _walk(value: Any, path: str, steps: list[str]) -> Iterator[tuple[str, Json]]:
    if not steps:
        if isinstance(value, dict):
            yield path, value
        return
    step, rest = steps[0], steps[1:]
    if not isinstance(value, dict):
        return
    name = step.removesuffix("[]")
    child, here = value.get(name), f"{path}.{name}" if path else name
    if not step.endswith("[]"):
        yield from _walk(child, here, rest)
    elif isinstance(child, list):
        for index, item in enumerate(child):
            yield from _walk(item, f"{here}[{index}]", rest)
