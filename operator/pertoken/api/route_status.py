"""Status documents of ModelRoutes. Pure; the time is in the context."""

from __future__ import annotations

from typing import Any, Final

from pertoken.api.conditions import ROUTE_CONDITIONS, ConditionType, accepted, clip, merge, rejected
from pertoken.api.figures import fixed, money, percent
from pertoken.api.status import StatusContext
from pertoken.domain.plan import Condition, RouteDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import TierFigures

Json = dict[str, Any]
_QUALITY_PLACES: Final = 3
_RATE_PLACES: Final = 2
_MOST_SPLIT: Final = 256


def route_status(decision: RouteDecision, generation: int, context: StatusContext) -> Json:
    """The status of one route that was decided on."""
    conditions = {**decision.conditions, str(ConditionType.ACCEPTED): accepted()}
    conditions[str(ConditionType.READY)] = _ready(conditions)
    fields = {
        "observedGeneration": generation,
        "conditions": _merged(conditions, generation, context),
        "tiers": [_tier(tier) for tier in decision.tiers] or None,
        "split": " / ".join(f"{tier.name} {tier.weight}" for tier in decision.tiers)[:_MOST_SPLIT] or None,
        "quality": fixed(decision.quality, _QUALITY_PLACES),
        "costPerThousandAnswers": money(decision.usd_per_thousand),
        "requestsPerSecond": fixed(decision.requests, _RATE_PLACES),
        "notCarriedPerSecond": fixed(decision.not_carried, _RATE_PLACES) if decision.not_carried > 0 else None,
        "frontier": [
            {"quality": fixed(point.quality, _QUALITY_PLACES), "costPerThousandAnswers": money(point.usd_per_thousand)}
            for point in decision.frontier
        ]
        or None,
        "reason": decision.reason.value,
        "message": clip(decision.message),
    }
    return {name: value for name, value in fields.items() if value is not None}


def refused_route_status(reason: Reason, message: str, generation: int, context: StatusContext) -> Json:
    """The status of one route that is not accepted."""
    told = rejected(reason, message)
    conditions = {
        str(ConditionType.READY): told,
        str(ConditionType.ACCEPTED): told,
        str(ConditionType.PROGRAMMED): Condition(Verdict.FALSE, reason, "the spec is not accepted"),
    }
    return {
        "observedGeneration": generation,
        "conditions": _merged(conditions, generation, context),
        "reason": reason.value,
        "message": clip(message),
    }


def _merged(conditions: dict[str, Condition], generation: int, context: StatusContext) -> list[Json]:
    before = context.previous.get("conditions") or ()
    return merge(before, conditions, context.now, generation, ROUTE_CONDITIONS)


def _ready(conditions: dict[str, Condition]) -> Condition:
    """Ready: accepted and programmed. A split that is degraded is still the best that can be had."""
    programmed = conditions[str(ConditionType.PROGRAMMED)]
    return programmed if programmed.verdict is not Verdict.TRUE else conditions[str(ConditionType.ACCEPTED)]


def _tier(tier: TierFigures) -> Json:
    fields = {
        "name": tier.name,
        "weight": tier.weight,
        "targetWeight": round(tier.target * 100),
        "measuredShare": percent(tier.measured),
        "quality": fixed(tier.quality, _QUALITY_PLACES),
        "costPerThousandAnswers": money(tier.usd_per_thousand),
        "capacity": fixed(tier.capacity, _RATE_PLACES),
    }
    return {name: value for name, value in fields.items() if value is not None}
