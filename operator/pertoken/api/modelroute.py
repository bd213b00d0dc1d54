"""ModelRoute manifests and HTTPRoutes -> domain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pertoken.api.errors import Rejected
from pertoken.api.route_rules import ROUTE_RULES
from pertoken.api.translate import PAUSED_ANNOTATION, read_spec
from pertoken.api.v1alpha1.model_route import ExternalModel, ModelRouteSpec, RouteBackend, RouteTier
from pertoken.domain.identity import ServiceKey
from pertoken.domain.route import (
    ApiPrices,
    BackendRef,
    HttpRouteFact,
    RouteOptimize,
    RouteSpec,
    TierBackend,
    TierSpec,
    WeightedRef,
)
from pertoken.raw.values import MOST_DIGITS, whole_number

GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
POOL_GROUP: Final = "inference.networking.k8s.io"
_GROUPS: Final = {"Service": "", "InferencePool": POOL_GROUP}


@dataclass(frozen=True, slots=True)
class AcceptedRoute:
    """A ModelRoute that can be decided on."""

    spec: RouteSpec


def translate_route(obj: Mapping[str, Any]) -> AcceptedRoute | Rejected:
    """A ModelRoute manifest, defaulted by the API server or not."""
    spec = read_spec(obj, ModelRouteSpec, ROUTE_RULES)
    if isinstance(spec, Rejected):
        return spec
    metadata = obj["metadata"]
    key = ServiceKey(metadata.get("namespace", "default"), metadata["name"])
    signal = spec.demand_signal
    return AcceptedRoute(
        RouteSpec(
            key=key,
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
            tiers=tuple(_tier(tier, key.namespace) for tier in spec.tiers),
            floor=float(spec.quality_floor),
            served_name=spec.served_model_name or "",
            optimize=RouteOptimize(spec.optimize),
            usd_per_thousand=None if spec.cost is None else Decimal(spec.cost.per_thousand_answers),
            http_route="" if spec.http_route is None else spec.http_route.name,
            signal=None if signal is None else (signal.profile, signal.name),
            acts=spec.mode == "Auto",
            paused=(metadata.get("annotations") or {}).get(PAUSED_ANNOTATION) == "true",
        )
    )


def _tier(tier: RouteTier, namespace: str) -> TierSpec:
    return TierSpec(
        name=tier.name,
        quality=float(tier.quality),
        service=None if tier.service is None else ServiceKey(namespace, tier.service),
        prices=None if tier.external is None else _prices(tier.external),
        backends=tuple(TierBackend(_ref(backend), backend.variant or "") for backend in tier.backends or ()),
    )


def _prices(external: ExternalModel) -> ApiPrices:
    told = external.per_million_tokens
    cached = told.input if told.cached_input is None else told.cached_input
    return ApiPrices(Decimal(told.input), Decimal(cached), Decimal(told.output))


def _ref(backend: RouteBackend) -> BackendRef:
    group = _GROUPS.get(backend.kind, "") if backend.group is None else backend.group
    return BackendRef(group, backend.kind, backend.name)


def http_route_fact(obj: Mapping[str, Any]) -> HttpRouteFact:
    """An HTTPRoute as the API server stores it; entries that cannot be read are left out."""
    metadata = obj["metadata"]
    spec = obj.get("spec") or {}
    return HttpRouteFact(
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        refs=tuple(_refs(spec.get("rules") or ())),
        manager=_manager(metadata.get("managedFields") or ()),
    )


def _refs(rules: Sequence[Any]) -> Iterator[WeightedRef]:
    for number, rule in enumerate(rules):
        for place, entry in enumerate(rule.get("backendRefs") or ()):
            weight = whole_number(entry.get("weight", 1), 10**MOST_DIGITS)
            ref = BackendRef(entry.get("group", ""), entry.get("kind", "Service"), entry["name"])
            yield WeightedRef(number, place, ref, 0 if weight is None else weight)


def _manager(managed_fields: Sequence[Mapping[str, Any]]) -> str:
    """Who wrote the rules last: the list is one field, and the last writer of a field owns it."""
    owners = [
        entry
        for entry in managed_fields
        if "f:rules" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}) and not entry.get("subresource")
    ]
    return str(max(owners, key=lambda entry: str(entry.get("time", "")))["manager"]) if owners else ""
