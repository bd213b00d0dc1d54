"""What a service owes: cost, latency; and how fast it may move."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pertoken.api.cron import cron_expression, known_time_zone
from pertoken.api.v1alpha1.base import (
    ATOMIC,
    LIST_LENGTH,
    Amount,
    Instant,
    Milliseconds,
    Name,
    ReplicaCount,
    Strict,
    Text,
)


class PerMillionTokens(Strict):
    """A price list in USD per 1,000,000 tokens: either one price for all tokens, or one per kind of token."""

    blended: Amount | None = Field(
        default=None, description='One price for input, cached input and output alike, a decimal string such as "0.80".'
    )
    input: Amount | None = Field(default=None, description="Price of input (prompt) tokens that were computed.")
    cached_input: Amount | None = Field(
        default=None, description="Price of input tokens read from the prefix cache. Defaults to the input price."
    )
    output: Amount | None = Field(default=None, description="Price of output (generated) tokens.")


class CostTarget(Strict):
    """What tokens may cost.

    The cost index is the GPU bill over the window divided by the finished requests' tokens at these prices; the
    target is an index of at most 1.
    """

    per_million_tokens: PerMillionTokens = Field(description="The price list that the bill is held against, in USD.")
    window_seconds: int = Field(
        default=86_400,
        ge=60,
        le=2_592_000,
        description="Time over which bill and tokens are compared, in seconds. Default: one day.",
    )
    optimize: Literal["Cost", "Latency"] = Field(
        default="Cost",
        description="Cost: least spend that keeps the latency objective; the index is a ceiling. "
        "Latency: spend up to index 1 on head-room and smaller batches.",
    )
    when_infeasible: Literal["KeepLatency", "KeepCost"] = Field(
        default="KeepLatency",
        description="Which objective yields when both cannot hold. KeepLatency reports the missed cost with what would "
        "meet it. KeepCost gives up forecast head-room, then the percentile, then latency up to hardLimitFactor, then "
        "dearer variants whose requests cost more than they are worth.",
    )
    hard_limit_factor: Amount | None = Field(
        default=None,
        description='With KeepCost: never let latency exceed this multiple of its objective. Default: "2".',
    )
    max_spend_per_hour: Amount | None = Field(
        default=None, description="Ceiling on the service's GPU spend in USD per hour."
    )


class LatencyTarget(Strict):
    """Latency owed. Every field is optional: what is unset is not promised."""

    ttft_milliseconds: Milliseconds | None = Field(
        default=None, description="Time to first token, waiting in the queue included, in milliseconds."
    )
    inter_token_milliseconds: Milliseconds | None = Field(
        default=None, description="Mean time per output token of one request after its first token, in milliseconds."
    )
    stall_milliseconds: Milliseconds | None = Field(
        default=None,
        description="Gap between two tokens of an answer, in milliseconds; the percentile is of all gaps here, not of "
        "requests.",
    )
    percentile: int = Field(
        default=95, ge=50, le=99, description="Share of requests, in percent, that must be within the objectives."
    )
    budget_window_seconds: int = Field(
        default=86_400,
        ge=600,
        le=2_592_000,
        description="Time over which the percentile is owed. What was missed loses half of its weight in half of that "
        "time, and in half an hour at the latest.",
    )
    floor_percent: int | None = Field(
        default=None,
        ge=50,
        le=99,
        description="Share of requests, in percent, below which sizing never aims, whatever is left of the window. "
        "Default: 90, or the percentile where that is less.",
    )


class Objective(Strict):
    """Cost and latency objectives. Without a cost objective only latency is held, and costs are reported."""

    cost: CostTarget | None = Field(
        default=None,
        description="What tokens may cost. The cost index is the GPU bill over a window divided by the finished "
        "requests' tokens at these prices; the target is an index of at most 1.",
    )
    latency: LatencyTarget | None = Field(default=None, description="How long requests may take, at a percentile.")


class ScalingPolicyModel(Strict):
    """One rate limit of a scaling direction."""

    type: Literal["Pods", "Percent"] = Field(description="Unit of value: replicas, or percent of the current replicas.")
    value: int = Field(ge=1, le=10_000, description="Largest change within the period.")
    period_seconds: int = Field(ge=1, le=1800, description="Length of the period in seconds.")


class ScalingRulesModel(Strict):
    """Rate limits of one direction, as in autoscaling/v2."""

    stabilization_window_seconds: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="How long earlier recommendations are considered, in seconds. Default: 0 up; down, as long as a "
        "replica takes to serve, and at least five minutes until forecasts have proven themselves.",
    )
    select_policy: Literal["Max", "Min", "Disabled"] | None = Field(
        default=None,
        description="Which policy counts when several apply; Disabled forbids this direction. Default: Max.",
    )
    policies: list[ScalingPolicyModel] | None = Field(
        default=None,
        min_length=1,
        max_length=LIST_LENGTH,
        json_schema_extra=ATOMIC,
        description="Rate limits. Default up: 100 % or 4 pods per 15 s; down: 50 % while a replica takes to serve.",
    )


class BehaviorModel(Strict):
    """How fast replicas may move, shaped and defaulted as in autoscaling/v2."""

    scale_up: ScalingRulesModel | None = Field(default=None, description="Limits on adding replicas.")
    scale_down: ScalingRulesModel | None = Field(default=None, description="Limits on removing replicas.")


class WakeSignal(Strict):
    """What starts a replica again after scaling to zero: engines that do not run cannot report a queue."""

    source: Literal["GatewayQueue", "ProfileSignal"] = Field(
        description="GatewayQueue: requests held by the inference gateway. ProfileSignal: a signal that the "
        "administrator defined in the metrics profile (gateway.signals): above 0 it keeps one replica; a service whose "
        "signal nobody tells is not put to sleep."
    )
    name: Name | None = Field(default=None, description="Name of the profile's signal, with ProfileSignal.")


class ScheduleEntry(Strict):
    """A minimum that holds at certain times.

    It is raised before they begin, by the time that a replica takes to serve.
    """

    cron: Annotated[str, Field(min_length=9, max_length=100), AfterValidator(cron_expression)] = Field(
        description='When the minimum begins to hold, five cron fields, e.g. "0 8 * * 1-5".'
    )
    time_zone: Annotated[Name, AfterValidator(known_time_zone)] = Field(
        default="Etc/UTC",
        description='IANA time zone of the cron expression, e.g. "Europe/Berlin". Where clocks are put forward, what '
        "is left out begins right after it; where they are put back, it begins once.",
    )
    duration_seconds: int = Field(ge=60, le=604_800, description="How long the minimum holds, in seconds.")
    min_replicas: ReplicaCount = Field(description="Replicas of all variants together in that time.")


class Freeze(Strict):
    """A time in which replicas and batch caps stay as they are; what would be decided is shown."""

    start_time: Instant | None = Field(default=None, description="Begin, RFC 3339. Unset: from now on.")
    end_time: Instant = Field(description="End, RFC 3339.")
    reason: Text | None = Field(default=None, description="Shown in the status while frozen.")
