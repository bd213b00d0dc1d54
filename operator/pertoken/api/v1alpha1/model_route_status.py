"""Status of a ModelRoute. Only pertoken writes it; figures are decimal strings so that no float enters the API."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from pertoken.api.v1alpha1.base import MOST_INT, Name, Shown, Strict, keyed
from pertoken.api.v1alpha1.model_route import MOST_TIERS
from pertoken.api.v1alpha1.status import Figure, Message, StatusCondition

MOST_POINTS: Final = 16


class RouteTierStatus(Strict):
    """One tier's part in the split."""

    name: Name = Field(description="Name of the tier.")
    weight: Shown = Field(description="Share of the requests that it gets now, in percent.")
    target_weight: Shown = Field(description="Share that the solved split gives it, in percent.")
    measured_share: Figure | None = Field(
        default=None, description="Share of the requests that its engines took up, in percent."
    )
    quality: Figure | None = Field(default=None, description="Expected quality of its answers.")
    cost_per_thousand_answers: Figure | None = Field(
        default=None, description="USD of 1,000 answers by full replicas, or by the provider's price list."
    )
    capacity: Figure | None = Field(
        default=None, description="Requests per second that it carries within its objectives at most, pools included."
    )


class FrontierPoint(Strict):
    """The least cost at one quality."""

    quality: Figure = Field(description="Expected quality of an answer.")
    cost_per_thousand_answers: Figure = Field(description="USD of 1,000 answers.")


class ModelRouteStatus(Strict):
    """What the route does and why."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=MOST_INT, description="Generation that the last decision saw."
    )
    conditions: list[StatusCondition] | None = Field(
        default=None,
        max_length=16,
        json_schema_extra=keyed("type"),
        description="Ready, Accepted, Programmed (the HTTPRoute has the weights), Degraded, WithinCostTarget.",
    )
    tiers: list[RouteTierStatus] | None = Field(
        default=None, max_length=MOST_TIERS, json_schema_extra=keyed("name"), description="By tier."
    )
    split: str | None = Field(default=None, max_length=256, description="Weights in one line, for printing.")
    quality: Figure | None = Field(default=None, description="Expected quality of an answer at the present weights.")
    cost_per_thousand_answers: Figure | None = Field(
        default=None, description="USD of 1,000 answers at the present weights and demand."
    )
    requests_per_second: Figure | None = Field(default=None, description="Demand of the route.")
    not_carried_per_second: Figure | None = Field(
        default=None, description="Requests per second beyond what the tiers carry within the quality floor."
    )
    frontier: list[FrontierPoint] | None = Field(
        default=None,
        max_length=MOST_POINTS,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="Quality against cost: the least cost of each quality at the present demand.",
    )
    reason: str | None = Field(default=None, max_length=63, description="Why the weights are what they are.")
    message: Message | None = Field(default=None, description="The same in a sentence.")
