"""Status of a CapacityPlan: counts, dates and money of the last plan."""

from __future__ import annotations

from pydantic import Field

from pertoken.api.v1alpha1.base import LIST_LENGTH, MOST_INT, Instant, Label, Name, Shown, Strict, keyed
from pertoken.api.v1alpha1.status import Figure, Message, StatusCondition


class PlannedPoolStatus(Strict):
    """One pool against what exists."""

    name: Name = Field(description="Name of the AcceleratorPool.")
    peak_gpus: Shown = Field(description="Most GPUs of any hour, at the plan's confidence.")
    existing_gpus: Shown | None = Field(default=None, description="GPUs of today. Unset: not known.")
    short_gpus: Shown | None = Field(default=None, description="GPUs missing in the worst hour.")
    first_shortfall: Instant | None = Field(default=None, description="First hour that needs more than exists.")
    order_by: Instant | None = Field(default=None, description="That hour less the lead time.")
    overdue: bool | None = Field(default=None, description="Whether orderBy had passed when the plan was made.")
    cost_per_month: Figure | None = Field(default=None, description="USD of an average month of 730 hours.")


class PlannedReservation(Strict):
    """One order of reserved capacity."""

    pool: Name = Field(description="Name of the AcceleratorPool.")
    offer: Name = Field(description="Name of the offer.")
    gpus: Shown = Field(description="GPUs to reserve.")
    begin_time: Instant = Field(description="First hour that is paid.")
    order_by: Instant = Field(description="Begin less the offer's lead time.")
    cost_per_month: Figure | None = Field(default=None, description="USD of a month of 730 hours while it runs.")
    idle_cost_per_day: Figure | None = Field(
        default=None, description="USD of its idle GPU-hours on an average day of the horizon."
    )


class PlannedPurchase(Strict):
    """The purchase of least expected cost; USD of an average month of 730 hours, commitments included."""

    reserved: list[PlannedReservation] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="Orders of reserved capacity, the first sixteen by date.",
    )
    reserved_orders: Shown | None = Field(default=None, description="How many orders there are in all.")
    on_demand_per_month: Figure | None = Field(default=None, description="What is bought by the hour.")
    spot_per_month: Figure | None = Field(default=None, description="What is bought as spot.")
    committed_per_month: Figure | None = Field(default=None, description="What is paid already.")
    all_on_demand_per_month: Figure | None = Field(default=None, description="Everything on demand instead.")
    peak_reserved_per_month: Figure | None = Field(default=None, description="The peak reserved instead.")
    todays_fleet_per_month: Figure | None = Field(default=None, description="Today's GPUs held instead.")


class PlannedAdvice(Strict):
    """The change of a service that keeps its objectives and saves most, by the model alone."""

    namespace: Label = Field(description="Namespace of the InferenceService.")
    name: Label = Field(description="Name of the InferenceService.")
    variant: Label = Field(description="The variant that is changed.")
    change: Message = Field(description="What is changed, from what to what.")
    saving_per_month: Figure = Field(description="USD of a month of 730 hours at the planned demand.")
    surety: Name | None = Field(default=None, description="What the figure rests on.")


class CapacityPlanStatus(Strict):
    """The last plan; written by `pertoken plan --write-status`."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=MOST_INT, description="Generation that the plan was made for."
    )
    conditions: list[StatusCondition] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=keyed("type"), description="Aspects of the state."
    )
    planned_time: Instant | None = Field(default=None, description="When the plan was made.")
    horizon_end: Instant | None = Field(default=None, description="End of the last hour that is planned.")
    services: Shown | None = Field(default=None, description="Services that were planned for.")
    unplanned_services: Shown | None = Field(default=None, description="Services of which too little is known to plan.")
    peak_gpus: Shown | None = Field(default=None, description="Sum of the pools' peaks, at the plan's confidence.")
    shortfalls: Shown | None = Field(default=None, description="Pools that need more GPUs than exist.")
    order_by: Instant | None = Field(default=None, description="Earliest date by which something must be ordered.")
    cost_per_month: Figure | None = Field(default=None, description="USD of an average month, commitments included.")
    cost_per_month_high: Figure | None = Field(
        default=None, description="USD that are not exceeded at the plan's confidence."
    )
    saving_per_month: Figure | None = Field(default=None, description="USD below buying everything on demand.")
    pools: list[PlannedPoolStatus] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=keyed("name"), description="By pool, shortfalls first."
    )
    purchase: PlannedPurchase | None = Field(default=None, description="What to buy.")
    advice: list[PlannedAdvice] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="What the services that cost most could run on instead, the largest saving first.",
    )
    message: Message | None = Field(default=None, description="The plan in a sentence.")
