"""Rules between fields of a ModelRoute, in CEL and in Python as in `pertoken.api.rules`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pertoken.api.rules import NAME_RULE, Fault, Json, Rule


def _tiers(spec: Json) -> list[tuple[int, Json]]:
    tiers = spec.get("tiers")
    return [(i, tier) for i, tier in enumerate(tiers) if isinstance(tier, dict)] if isinstance(tiers, list) else []


def _number(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _unique_names(spec: Json) -> Iterator[Fault]:
    counts = Counter(str(tier.get("name")) for _, tier in _tiers(spec))
    for index, tier in _tiers(spec):
        if counts[str(tier.get("name"))] > 1:
            yield f"tiers[{index}].name", tier.get("name")


def _unique_services(spec: Json) -> Iterator[Fault]:
    counts = Counter(str(tier["service"]) for _, tier in _tiers(spec) if tier.get("service") is not None)
    for index, tier in _tiers(spec):
        if counts[str(tier.get("service"))] > 1:
            yield f"tiers[{index}].service", tier["service"]


def _one_server(tier: Json) -> Iterator[Fault]:
    if (tier.get("service") is None) == (tier.get("external") is None):
        yield "", "both" if tier.get("service") is not None else None


def _quality(tier: Json) -> Iterator[Fault]:
    value = _number(tier.get("quality"))
    if value is not None and value > 1:
        yield "quality", tier["quality"]


def _reachable_floor(spec: Json) -> Iterator[Fault]:
    floor = _number(spec.get("qualityFloor"))
    qualities = [value for _, tier in _tiers(spec) if (value := _number(tier.get("quality"))) is not None]
    if floor is not None and qualities and floor > max(qualities):
        yield "qualityFloor", spec["qualityFloor"]


def _priced(spec: Json) -> Iterator[Fault]:
    if spec.get("optimize") == "Quality" and spec.get("cost") is None:
        yield "cost", None


def _variant_of_external(tier: Json) -> Iterator[Fault]:
    backends = tier.get("backends")
    if tier.get("external") is None or not isinstance(backends, list):
        return
    for index, backend in enumerate(backends):
        if isinstance(backend, dict) and backend.get("variant") is not None:
            yield f"backends[{index}].variant", backend["variant"]


def _grouped_backend(backend: Json) -> Iterator[Fault]:
    if backend.get("kind") == "Backend" and not backend.get("group"):
        yield "group", None


def _external_backends(spec: Json) -> Iterator[Fault]:
    if spec.get("httpRoute") is None:
        return
    for index, tier in _tiers(spec):
        if tier.get("external") is not None and not tier.get("backends"):
            yield f"tiers[{index}].backends", None


ROUTE_RULES = (
    NAME_RULE,
    Rule("spec", "tier names must be unique within the route", None, _unique_names),
    Rule(
        "spec",
        "each InferenceService once",
        "self.tiers.all(t, !has(t.service) || self.tiers.filter(o, has(o.service) && o.service == t.service)"
        ".size() == 1)",
        _unique_services,
    ),
    Rule("spec.tiers[]", "exactly one of service and external", "has(self.service) != has(self.external)", _one_server),
    Rule("spec.tiers[]", "quality must be at most 1", "double(self.quality) <= 1.0", _quality),
    Rule(
        "spec",
        "at most the quality of the best tier",
        "self.tiers.exists(t, double(t.quality) >= double(self.qualityFloor))",
        _reachable_floor,
    ),
    Rule("spec", "needed when optimize is Quality", "self.optimize != 'Quality' || has(self.cost)", _priced),
    Rule(
        "spec.tiers[]",
        "an external tier has no variants",
        "!has(self.external) || !has(self.backends) || self.backends.all(b, !has(b.variant))",
        _variant_of_external,
    ),
    Rule(
        "spec.tiers[].backends[]",
        "needed with kind Backend",
        "self.kind != 'Backend' || has(self.group)",
        _grouped_backend,
    ),
    Rule(
        "spec",
        "an external tier needs backends where an httpRoute is set",
        "!has(self.httpRoute) || self.tiers.all(t, !has(t.external) || has(t.backends))",
        _external_backends,
    ),
)
