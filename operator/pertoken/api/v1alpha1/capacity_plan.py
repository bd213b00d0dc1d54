"""CapacityPlan: how far ahead to plan, for which services, and what can be bought."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from pertoken.api.v1alpha1.base import (
    ATOMIC,
    LIST_LENGTH,
    LIST_MAP_KEYS,
    LIST_TYPE,
    Amount,
    Instant,
    Label,
    Name,
    Strict,
    keyed,
)

MOST_GPUS: Final = 1_000_000
YEAR_SECONDS: Final = 31_536_000
_SERVICES: Final[dict[str, Any]] = {LIST_TYPE: "map", LIST_MAP_KEYS: ["namespace", "name"]}
SignedAmount = Annotated[str, Field(max_length=24, pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")]
Lead = Annotated[int, Field(ge=0, le=YEAR_SECONDS)]
Nodes = Annotated[int, Field(ge=0, le=MOST_GPUS)]
Percent = Annotated[int, Field(ge=0, le=100)]


class PlannedService(Strict):
    """An InferenceService by namespace and name."""

    namespace: Label = Field(description="Namespace of the InferenceService.")
    name: Label = Field(description="Name of the InferenceService.")


class Growth(Strict):
    """How demand changes beyond what its history shows."""

    percent_per_month: SignedAmount = Field(
        description='Percent that every service\'s demand grows in 30 days, such as "10"; above -100, compounding.'
    )


class PlannedEvent(Strict):
    """A time for which demand is known to be another."""

    name: Name = Field(description="Name of the event, for the report.")
    start_time: Instant = Field(description="Begin, RFC 3339 with zone.")
    end_time: Instant = Field(description="End, RFC 3339 with zone.")
    demand_factor: Amount = Field(description='What demand is multiplied by, such as "2.5".')
    services: list[PlannedService] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=_SERVICES,
        description="Services that it concerns. Unset: all.",
    )


class DemandHistory(Strict):
    """The past that the forecast is made from."""

    days: int = Field(default=42, ge=2, le=366, description="How far back is read, in days.")
    profile: Name = Field(default="default", description="Metrics profile whose Prometheus is asked.")


class OnDemandOffer(Strict):
    """Nodes by the hour."""

    price_per_gpu_hour: Amount = Field(description="USD per GPU and hour.")
    max_nodes: Nodes | None = Field(default=None, description="Most nodes at once (quota). Unset: no limit.")


class SpotOffer(Strict):
    """Nodes that the provider may reclaim; while one is lost it is bought on demand."""

    price_per_gpu_hour: Amount = Field(description="USD per GPU and hour.")
    lost_percent: Percent = Field(
        default=5, description="Share of the time, in percent, in which a spot node is not there, start-ups included."
    )
    max_percent: Percent = Field(default=50, description="Most of an hour's nodes that may be spot, in percent.")


class ReservedOffer(Strict):
    """Nodes that are paid for a whole term, used or not."""

    name: Name = Field(description="Name of the offer, such as one-year.")
    term_days: int = Field(ge=1, le=1826, description="Length of the term in days.")
    price_per_gpu_hour: Amount = Field(
        description="USD per GPU and hour, with what is paid up front spread over the term."
    )
    lead_seconds: Lead | None = Field(
        default=None, description="From the order to the first hour, in seconds. Default: the pool's leadSeconds."
    )
    min_nodes: Nodes = Field(default=0, description="Least nodes of one order.")
    max_nodes: Nodes | None = Field(default=None, description="Most nodes held at once. Unset: no limit.")


class PlannedPool(Strict):
    """What can be bought for one AcceleratorPool."""

    pool: Name = Field(description="Name of the AcceleratorPool.")
    gpus_per_node: int | None = Field(
        default=None, ge=1, le=1024, description="GPUs of one node; nodes are bought whole. Unset: as its nodes have."
    )
    lead_seconds: Lead | None = Field(
        default=None,
        description="From an order to GPUs that serve, in seconds. Default: the pool's provisioningSeconds.",
    )
    min_nodes: Nodes = Field(default=0, description="Nodes that are always held, needed or not.")
    committed_price_per_gpu_hour: Amount | None = Field(
        default=None, description="What a committed GPU-hour costs. Default: the pool's pricePerGPUHour."
    )
    on_demand: OnDemandOffer | None = Field(
        default=None, description="Nodes by the hour. Default: at the pool's pricePerGPUHour, without limit."
    )
    spot: SpotOffer | None = Field(default=None, description="Spot nodes. Unset: none are bought.")
    reserved: list[ReservedOffer] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=keyed("name"),
        description="Reserved nodes by term. Unset: none are bought.",
    )


class CapacityPlanSpec(Strict):
    """Which GPUs, how many, when, bought how: what to plan for."""

    services: list[PlannedService] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=_SERVICES,
        description="Services to plan for. Unset: every InferenceService of the cluster.",
    )
    horizon_days: int = Field(default=28, ge=1, le=366, description="How far ahead is planned, in days.")
    growth: Growth | None = Field(default=None, description="Growth beyond what the history shows. Unset: none.")
    events: list[PlannedEvent] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=ATOMIC,
        description="Times for which demand is known to be another.",
    )
    confidence: int = Field(
        default=90, ge=51, le=99, description="Share of futures, in percent, for which the GPUs shall suffice."
    )
    budget_per_month: Amount | None = Field(
        default=None, description="Most USD in any month of 730 hours, commitments included. Unset: no budget."
    )
    history: DemandHistory | None = Field(default=None, description="The past that the forecast is made from.")
    pools: list[PlannedPool] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=keyed("pool"),
        description="What can be bought, by pool. A pool that is not listed is bought on demand at its own price.",
    )
