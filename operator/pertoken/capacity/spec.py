"""What a plan is asked for: services, horizon, growth, events, confidence, and what can be bought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from pertoken.capacity.purchase.options import OnDemand, PoolOptions, PurchaseOptions, Reserved, Spot
from pertoken.domain.identity import ServiceKey
from pertoken.domain.pool import PoolSpec


@dataclass(frozen=True, slots=True)
class Event:
    """A time for which demand is known to be another.

    Attributes:
        begin_s, end_s: Unix seconds.
        factor: what demand is multiplied by.
        services: those that it concerns; empty for all.
    """

    name: str
    begin_s: float
    end_s: float
    factor: float
    services: tuple[ServiceKey, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolOffers:
    """What can be bought for one pool, before the pool's own price and lead time are known.

    Attributes:
        gpus_per_node: None: as its nodes have.
        lead_seconds: None: the pool's provisioning time.
        on_demand_usd: per GPU-hour; None: the pool's price.
        reserved: with a lead time each; None where it is the pool's.
    """

    pool: str
    gpus_per_node: int | None = None
    lead_seconds: int | None = None
    min_nodes: int = 0
    committed_usd: Decimal | None = None
    on_demand_usd: Decimal | None = None
    on_demand_max_nodes: int | None = None
    spot: Spot | None = None
    reserved: tuple[tuple[Reserved, int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """One accepted CapacityPlan.

    Attributes:
        services: to plan for; empty for all.
        growth_per_month: share by which demand grows in 30 days, compounding: 0.1 for 10 %.
        confidence: per cent of the futures for which the GPUs shall suffice.
        offers: by pool; a pool without an entry is bought on demand at its own price.
        history_days: how far back the past is read.
    """

    name: str
    services: tuple[ServiceKey, ...] = ()
    horizon_days: int = 28
    growth_per_month: float = 0.0
    events: tuple[Event, ...] = ()
    confidence: float = 90.0
    budget_usd_per_month: Decimal | None = None
    offers: tuple[PoolOffers, ...] = ()
    history_days: int = 42
    metrics_profile: str = "default"
    uid: str = ""
    generation: int = 0

    def gpus_per_node(self, pool: str) -> int | None:
        """What the plan says of a pool's nodes; None where it says nothing."""
        entry = self._entry(pool)
        return entry.gpus_per_node if entry else None

    def lead_seconds(self, pool: PoolSpec) -> int:
        """From an order to GPUs that serve."""
        entry = self._entry(pool.name)
        return pool.provisioning_seconds if entry is None or entry.lead_seconds is None else entry.lead_seconds

    def includes(self, service: ServiceKey) -> bool:
        """Whether the plan is for this service."""
        return not self.services or service in self.services

    def options(self, pools: tuple[PoolSpec, ...]) -> PurchaseOptions:
        """What can be bought for these pools; one without any price is left out, which `option_mistakes` tells."""
        entries = [
            options
            for pool in pools
            if (entry := self._entry(pool.name)) is not None
            and (options := _pool_options(entry, pool, self.lead_seconds(pool))) is not None
        ]
        return PurchaseOptions(tuple(entries), self.budget_usd_per_month)

    def _entry(self, pool: str) -> PoolOffers | None:
        return next((entry for entry in self.offers if entry.pool == pool), None)


def _pool_options(entry: PoolOffers, pool: PoolSpec, lead_seconds: int) -> PoolOptions | None:
    price = pool.price_per_gpu_hour if entry.on_demand_usd is None else entry.on_demand_usd
    if price is None:
        return None
    return PoolOptions(
        pool=pool.name,
        on_demand=OnDemand(price, entry.on_demand_max_nodes),
        reserved=tuple(
            replace(offer, lead_seconds=lead_seconds if lead is None else lead) for offer, lead in entry.reserved
        ),
        spot=entry.spot,
        min_nodes=entry.min_nodes,
        committed_usd_per_gpu_hour=entry.committed_usd,
    )
