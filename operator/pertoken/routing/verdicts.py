"""What a route's status says of its split, as conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import RouteSpec
from pertoken.domain.service import ServiceSpec
from pertoken.frozen import dataclass
from pertoken.routing.offers import TierState
from pertoken.units import TINY

_PRICES = 4  # significant digits of amounts in messages


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one decision that conditions are about.

    Attributes:
        quality: mean, at the weights of this cycle.
        usd_per_thousand: USD of 1,000 answers; None where it is not known.
        not_carried: requests per second beyond what the tiers carry.
    """

    quality: float | None
    usd_per_thousand: float | None
    not_carried: float


def alias_condition(route: RouteSpec, services: Mapping[ServiceKey, ServiceSpec]) -> Condition | None:
    """Why the route cannot be programmed under its alias: engines refuse a name that they do not serve."""
    if not route.served_name:
        return None
    known = [services[key] for tier in route.tiers if (key := tier.service) is not None and key in services]
    wrong = [service for service in known if service.model.served_name != route.served_name]
    if not wrong:
        return None
    told = ", ".join(f"{service.key.name} answers to {service.model.served_name}" for service in wrong)
    words = f"{told}; set model.servedName {route.served_name}, and --served-model-name of adopted engines"
    return Condition(Verdict.FALSE, Reason.ALIAS_NOT_SERVED, words)


def degraded(route: RouteSpec, states: Sequence[TierState], outcome: Outcome) -> Condition:
    """Whether the split is worse than it should be, and what for."""
    if outcome.quality is not None and outcome.quality < route.floor - TINY:
        words = f"expected quality {outcome.quality:.3f} is below the floor {route.floor:g}"
        return Condition(Verdict.TRUE, Reason.FLOOR_NOT_KEPT, f"{words}{_reasons(states)}")
    if outcome.not_carried > TINY:
        words = f"{outcome.not_carried:.2f} requests/s are more than the tiers carry within the quality floor"
        return Condition(Verdict.TRUE, Reason.TIERS_FULL, f"{words}{_reasons(states)}")
    told = [f"{state.spec.name}: {state.why}" for state in states if state.why]
    if told:
        return Condition(Verdict.TRUE, Reason.TIER_UNAVAILABLE, "; ".join(told))
    return Condition(Verdict.FALSE, Reason.NOT_DEGRADED, "every tier can take its share")


def _reasons(states: Sequence[TierState]) -> str:
    told = [f"{state.spec.name}: {state.why}" for state in states if state.why]
    return f"; {'; '.join(told)}" if told else ""


def within_cost(route: RouteSpec, outcome: Outcome) -> Condition:
    """Whether answers cost what they may cost."""
    target = route.usd_per_thousand
    if target is None:
        return Condition(Verdict.UNKNOWN, Reason.NO_COST_TARGET, "the route has no cost target")
    if outcome.usd_per_thousand is None:
        return Condition(Verdict.UNKNOWN, Reason.NO_PRICE, "what an answer costs is not known")
    words = f"1,000 answers cost {outcome.usd_per_thousand:.{_PRICES}g} USD, the target is {target}"
    if outcome.usd_per_thousand <= float(target):
        return Condition(Verdict.TRUE, Reason.WITHIN_COST_TARGET, words)
    return Condition(Verdict.FALSE, Reason.COST_ABOVE_TARGET, words)
