"""Which entries of an HTTPRoute belong to which tier, and what weight each gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pertoken.domain.identity import ServiceKey
from pertoken.domain.route import BackendRef, HttpRouteFact, TierBackend, TierSpec, WeightChange, WeightedRef
from pertoken.domain.service import ServiceSpec
from pertoken.frozen import dataclass
from pertoken.routing.offers import TierState
from pertoken.routing.points import points_of

Backends = Sequence[Sequence[TierBackend]]  # by tier


@dataclass(frozen=True, slots=True)
class Managed:
    """The rules of an HTTPRoute that split between the tiers.

    Attributes:
        entries: of those rules that are a tier's, in their order.
        missing: backends that no such rule has; the rules are then none of ours.
    """

    entries: tuple[WeightedRef, ...] = ()
    missing: tuple[BackendRef, ...] = ()

    def weights(self) -> Mapping[BackendRef, int]:
        """Weights by backend, of the first rule."""
        return {entry.ref: entry.weight for entry in reversed(self.entries)}

    @property
    def uneven(self) -> bool:
        """The rules differ in their weights."""
        weights = self.weights()
        return any(entry.weight != weights[entry.ref] for entry in self.entries)


def backends_of(tiers: Sequence[TierSpec], services: Mapping[ServiceKey, ServiceSpec]) -> Backends:
    """By tier: as the route says, else a Service with the name of each variant's workload."""
    result = []
    for tier in tiers:
        service = None if tier.service is None else services.get(tier.service)
        own = () if service is None else service.variants
        named = [TierBackend(BackendRef("", "Service", variant.workload.name), variant.name) for variant in own]
        result.append(tier.backends or tuple(named))
    return result


def managed(route: HttpRouteFact, backends: Backends) -> Managed:
    """The rules that have every backend of every tier: others are the user's, and left alone."""
    wanted = {backend.ref for tier in backends for backend in tier}
    by_rule: dict[int, list[WeightedRef]] = {}
    for entry in route.refs:
        if entry.ref in wanted:
            by_rule.setdefault(entry.rule, []).append(entry)
    whole = [entries for entries in by_rule.values() if {entry.ref for entry in entries} == wanted]
    if whole:
        return Managed(tuple(entry for entries in whole for entry in entries))
    present = max(({entry.ref for entry in entries} for entries in by_rule.values()), key=len, default=set())
    return Managed(missing=tuple(sorted(wanted - present)))


def shares_of(weights: Mapping[BackendRef, int], backends: Backends) -> tuple[float, ...] | None:
    """Share of the requests by tier; None where all weights are 0."""
    sums = [sum(weights.get(backend.ref, 0) for backend in tier) for tier in backends]
    total = sum(sums)
    return tuple(value / total for value in sums) if total > 0 else None


def weights_of(points: Sequence[int], states: Sequence[TierState], backends: Backends) -> dict[BackendRef, int]:
    """Points of every backend: a tier's are split by what its variants carry now."""
    weights: dict[BackendRef, int] = {}
    for whole, state, tier in zip(points, states, backends, strict=True):
        carried = state.by_variant or {}
        parts = [carried.get(backend.variant, sum(carried.values()) / len(tier)) for backend in tier]
        if sum(parts) <= 0:
            parts = [1.0] * len(tier)
        weights.update(zip((backend.ref for backend in tier), points_of(parts, whole), strict=True))
    return weights


def changes(entries: Sequence[WeightedRef], weights: Mapping[BackendRef, int]) -> tuple[WeightChange, ...]:
    """The entries whose weight is another one."""
    return tuple(WeightChange(entry, weights[entry.ref]) for entry in entries if entry.weight != weights[entry.ref])
