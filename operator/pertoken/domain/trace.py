"""The record of one decision: what each stage was given, what it handed on, why, and the numbers behind it.

Conditions, events, logs, metrics and `pertoken explain` are rendered from it; nothing else says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """A stage's finding in words."""

    words: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What kept replicas from what was asked for, as the condition ScalingLimited says it."""

    words: str


@dataclass(frozen=True, slots=True)
class ModelSizing:
    """Replicas by the performance model.

    Attributes:
        requests_per_second: expected at the lead.
        with_headroom: requests per second to be carried, with head-room and backlog.
        per_replica: requests per second that one replica sustains within the objectives.
        batch: sequences decoded together at that rate.
        bound_by: what ends the rate there.
        lead_seconds: until a replica that is ordered now would serve.
        forecast_headroom: share that what the forecast misses adds.
        knee: utilization at which the percentile is just kept.
        believed: share of the modelled capacity that full replicas were seen to deliver; None while none was full.
        aim: share of requests that shall keep their objectives, from what is left of the error budget.
        lately: share that kept them over the recent past; None where no latency has been told.
        apart: share that misses an objective whatever the load is.
        lost: replicas that get lost, per replica and hour.
    """

    requests_per_second: float
    with_headroom: float
    per_replica: float
    batch: float
    bound_by: str
    lead_seconds: float
    forecast_headroom: float
    knee: float
    believed: float | None = None
    aim: float = 0.0
    lately: float | None = None
    apart: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class MoneySizing:
    """What the money budget made of the replicas that demand asks for.

    Attributes:
        affordable_usd_per_hour: what may be spent so that the cost index of the window ends at 1.
        asked_usd_per_hour: of the replicas that keep the latency objectives.
        planned_usd_per_hour: of those that are planned.
        left_usd: of the window's tokens at the price list after its bill; negative where it was overspent.
        gives_up: what the cost target takes from latency; empty where it takes nothing.
    """

    affordable_usd_per_hour: float
    asked_usd_per_hour: float
    planned_usd_per_hour: float
    left_usd: float
    gives_up: str = ""


@dataclass(frozen=True, slots=True)
class SaturationSizing:
    """Replicas by the use of the busiest resource, where no performance model knows the engine."""

    by: str = "saturation"


@dataclass(frozen=True, slots=True)
class LatencyFeedback:
    """Measured latency above its objective, in seconds, at a utilization of the modelled capacity."""

    measure: str
    measured_seconds: float
    objective_seconds: float
    utilization: float


@dataclass(frozen=True, slots=True)
class GrowingQueue:
    """Requests that wait; None where nobody tells."""

    waiting: float | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What the pools gave less, or more, than was asked for; `coming` is what is under way to end a shortfall."""

    words: str
    coming: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Planning broke on this service: the error as Python puts it."""

    error: str


Detail = Told | Limit | ModelSizing | MoneySizing | SaturationSizing | LatencyFeedback | GrowingQueue | Shared | Fault

NO_DETAIL: Final = Told("")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's contribution to a decision.

    Attributes:
        stage: name of the planner stage, as in `planner.pipeline`.
        before: what the stage was given, as short text.
        after: what it handed on.
        reason: why.
        variant: whose; empty for the whole service.
    """

    stage: str
    before: str
    after: str
    reason: Reason
    variant: str = ""
    detail: Detail = NO_DETAIL

    def figures(self) -> Mapping[str, str]:
        """Variant and detail as texts by name; what is not known or empty is left out."""
        named: dict[str, object] = {"variant": self.variant or None}
        named.update((field.name, getattr(self.detail, field.name)) for field in fields(self.detail))
        return {name: text_of(value) for name, value in named.items() if value not in (None, "")}


def text_of(value: object) -> str:
    """A figure as text: four digits of a float, other values as they are; "" for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
