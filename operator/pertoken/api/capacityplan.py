"""CapacityPlan manifests -> `PlanSpec`. The operator never imports this: plans are made by `pertoken plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pertoken.api.errors import Rejected
from pertoken.api.plan_rules import PLAN_RULES
from pertoken.api.translate import read_spec
from pertoken.api.v1alpha1.capacity_plan import (
    CapacityPlanSpec,
    DemandHistory,
    PlannedEvent,
    PlannedPool,
    PlannedService,
    ReservedOffer,
    SpotOffer,
)
from pertoken.capacity.purchase.options import Reserved, Spot
from pertoken.capacity.spec import Event, PlanSpec, PoolOffers
from pertoken.domain.identity import ServiceKey
from pertoken.units import PER_CENT


@dataclass(frozen=True, slots=True)
class AcceptedPlan:
    """A CapacityPlan that can be planned."""

    spec: PlanSpec


def translate_plan(obj: Mapping[str, Any]) -> AcceptedPlan | Rejected:
    """A CapacityPlan manifest, defaulted by the API server or not."""
    spec = read_spec(obj, CapacityPlanSpec, PLAN_RULES)
    if isinstance(spec, Rejected):
        return spec
    metadata = obj["metadata"]
    history = spec.history or DemandHistory()
    return AcceptedPlan(
        PlanSpec(
            name=metadata["name"],
            services=_keys(spec.services),
            horizon_days=spec.horizon_days,
            growth_per_month=float(spec.growth.percent_per_month) / PER_CENT if spec.growth else 0.0,
            events=tuple(_event(event) for event in spec.events or ()),
            confidence=float(spec.confidence),
            budget_usd_per_month=_amount(spec.budget_per_month),
            offers=tuple(_offers(pool) for pool in spec.pools or ()),
            history_days=history.days,
            metrics_profile=history.profile,
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
        )
    )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _keys(services: Sequence[PlannedService] | None) -> tuple[ServiceKey, ...]:
    return tuple(ServiceKey(service.namespace, service.name) for service in services or ())


def _event(event: PlannedEvent) -> Event:
    return Event(
        event.name,
        datetime.fromisoformat(event.start_time).timestamp(),
        datetime.fromisoformat(event.end_time).timestamp(),
        float(event.demand_factor),
        _keys(event.services),
    )


def _offers(pool: PlannedPool) -> PoolOffers:
    return PoolOffers(
        pool=pool.pool,
        gpus_per_node=pool.gpus_per_node,
        lead_seconds=pool.lead_seconds,
        min_nodes=pool.min_nodes,
        committed_usd=_amount(pool.committed_price_per_gpu_hour),
        on_demand_usd=_amount(pool.on_demand.price_per_gpu_hour) if pool.on_demand else None,
        on_demand_max_nodes=pool.on_demand.max_nodes if pool.on_demand else None,
        spot=_spot(pool.spot),
        reserved=tuple((_reserved(offer), offer.lead_seconds) for offer in pool.reserved or ()),
    )


def _spot(offer: SpotOffer | None) -> Spot | None:
    if offer is None:
        return None
    return Spot(Decimal(offer.price_per_gpu_hour), offer.lost_percent / PER_CENT, offer.max_percent / PER_CENT)


def _reserved(offer: ReservedOffer) -> Reserved:
    return Reserved(
        name=offer.name,
        usd_per_gpu_hour=Decimal(offer.price_per_gpu_hour),
        term_days=offer.term_days,
        min_nodes=offer.min_nodes,
        max_nodes=offer.max_nodes,
    )
