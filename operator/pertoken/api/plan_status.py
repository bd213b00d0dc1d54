"""The status of a CapacityPlan, from what was planned. Written by `pertoken plan`, never by the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pertoken.api.conditions import clip, rfc3339
from pertoken.api.figures import fixed
from pertoken.api.v1alpha1.base import LIST_LENGTH
from pertoken.capacity.purchase.budget import Budget
from pertoken.capacity.purchase.plan import PoolPurchase, PurchasePlan, Reservation
from pertoken.capacity.shortfall import Shortfall
from pertoken.capacity.spec import PlanSpec
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

if TYPE_CHECKING:  # it loads scipy, an extra of the plan
    from pertoken.capacity.advice import ServiceAdvice

CENTS = 2
Json = dict[str, Any]


class PlanCondition(StrEnum):
    """Conditions of a CapacityPlan, in the order in which they are shown."""

    READY = "Ready"
    CAPACITY_SUFFICES = "CapacitySuffices"
    WITHIN_BUDGET = "WithinBudget"


@dataclass(frozen=True, slots=True)
class Planned:
    """What one run of the plan came to.

    Attributes:
        planned_s: when, Unix seconds.
        start_s: begin of the horizon.
        services: that were planned for.
        unplanned: services of which too little is known.
        budget: None where the plan has none.
        advice: what saves, by service.
    """

    spec: PlanSpec
    planned_s: int
    start_s: int
    services: int
    unplanned: int
    shortfalls: tuple[Shortfall, ...]
    purchase: PurchasePlan
    budget: Budget | None
    advice: tuple[ServiceAdvice, ...] = ()


def plan_status(planned: Planned, previous: Mapping[str, Any]) -> Json:
    """The whole status; `previous` is the one that the object shows, for the times at which conditions changed."""
    plan = planned.purchase
    short = sorted(planned.shortfalls, key=lambda entry: (entry.first_shortfall_s is None, entry.order_by_s or 0))
    order_by = min(_order_dates(planned), default=None)
    end = planned.start_s + planned.spec.horizon_days * HOURS_PER_DAY * SECONDS_PER_HOUR
    status: Json = {
        "observedGeneration": planned.spec.generation,
        "conditions": _conditions(planned, previous),
        "plannedTime": rfc3339(planned.planned_s),
        "horizonEnd": rfc3339(end),
        "services": planned.services,
        "unplannedServices": planned.unplanned,
        "peakGPUs": sum(entry.peak_gpus for entry in planned.shortfalls),
        "shortfalls": sum(entry.first_shortfall_s is not None for entry in planned.shortfalls),
        "orderBy": None if order_by is None else rfc3339(order_by),
        "costPerMonth": fixed(plan.usd_per_month, CENTS),
        "costPerMonthHigh": fixed(plan.usd_per_month_high, CENTS),
        "savingPerMonth": fixed(plan.compared.all_on_demand - plan.usd_per_month, CENTS),
        "pools": [_pool(entry, plan) for entry in short[:LIST_LENGTH]],
        "purchase": _purchase(plan),
        "advice": [_advice(entry) for entry in planned.advice[:LIST_LENGTH]] or None,
        "message": clip(_message(planned)),
    }
    return _present(status)


def _advice(entry: ServiceAdvice) -> Json:
    best = entry.rows[0]
    change = best.change
    return {
        "namespace": entry.service.namespace,
        "name": entry.service.name,
        "variant": entry.variant,
        "change": clip(f"{change.words}: {change.before} -> {change.after}"),
        "savingPerMonth": fixed(best.saved_usd_per_month, CENTS),
        "surety": best.surety.value,
    }


def failed_plan_status(generation: int, planned_s: int, why: str, previous: Mapping[str, Any]) -> Json:
    """The status of a plan that could not be made: why; earlier figures would mislead, so they go."""
    conditions = [(PlanCondition.READY, "False", "PlanFailed", why)]
    return {
        "observedGeneration": generation,
        "conditions": [_condition(entry, (planned_s, generation), previous) for entry in conditions],
        "plannedTime": rfc3339(planned_s),
        "message": clip(why),
    }


def _present(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _order_dates(planned: Planned) -> Iterator[int]:
    yield from (entry.order_by_s for entry in planned.shortfalls if entry.order_by_s is not None)
    yield from (order.order_by_s for pool in planned.purchase.pools for order in pool.reserved)


def _pool(entry: Shortfall, plan: PurchasePlan) -> Json:
    bought = next((pool for pool in plan.pools if pool.pool == entry.pool), None)
    short = entry.first_shortfall_s is not None
    return _present(
        {
            "name": entry.pool,
            "peakGPUs": entry.peak_gpus,
            "existingGPUs": entry.existing_gpus,
            "shortGPUs": entry.short_gpus if short else None,
            "firstShortfall": None if entry.first_shortfall_s is None else rfc3339(entry.first_shortfall_s),
            "orderBy": None if entry.order_by_s is None else rfc3339(entry.order_by_s),
            "overdue": entry.overdue if short else None,
            "costPerMonth": None if bought is None else fixed(bought.usd_per_month, CENTS),
        }
    )


def _purchase(plan: PurchasePlan) -> Json:
    orders = sorted(
        ((pool, order) for pool in plan.pools for order in pool.reserved), key=lambda entry: entry[1].order_by_s
    )
    compared = plan.compared
    return _present(
        {
            "reserved": [_order(pool, order) for pool, order in orders[:LIST_LENGTH]],
            "reservedOrders": len(orders),
            "onDemandPerMonth": fixed(sum(pool.on_demand.usd_per_month for pool in plan.pools), CENTS),
            "spotPerMonth": fixed(sum(pool.spot.usd_per_month for pool in plan.pools), CENTS),
            "committedPerMonth": fixed(sum(pool.committed.usd_per_month for pool in plan.pools), CENTS),
            "allOnDemandPerMonth": fixed(compared.all_on_demand, CENTS),
            "peakReservedPerMonth": fixed(compared.peak_reserved, CENTS),
            "todaysFleetPerMonth": fixed(compared.todays_fleet, CENTS),
        }
    )


def _order(pool: PoolPurchase, order: Reservation) -> Json:
    return _present(
        {
            "pool": pool.pool,
            "offer": order.offer,
            "gpus": order.gpus,
            "beginTime": rfc3339(order.begin_s),
            "orderBy": rfc3339(order.order_by_s),
            "costPerMonth": fixed(order.usd_per_month, CENTS),
            "idleCostPerDay": fixed(order.idle_usd_per_day, CENTS),
        }
    )


def _conditions(planned: Planned, previous: Mapping[str, Any]) -> list[Json]:
    judged = [_ready(planned), _suffices(planned.shortfalls), _within(planned.budget)]
    return [_condition(entry, (planned.planned_s, planned.spec.generation), previous) for entry in judged]


def _condition(entry: tuple[PlanCondition, str, str, str], said: tuple[int, int], previous: Mapping[str, Any]) -> Json:
    kind, status, reason, message = entry
    now, generation = said
    shown = (each for each in previous.get("conditions") or () if each.get("type") == kind.value)
    before: Mapping[str, Any] = next(shown, {})
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind.value,
        "status": status,
        "reason": reason,
        "message": clip(message),
        "lastTransitionTime": since or rfc3339(now),
        "observedGeneration": generation,
    }


def _ready(planned: Planned) -> tuple[PlanCondition, str, str, str]:
    if planned.unplanned:
        words = f"planned for {planned.services} services; too little is known of {planned.unplanned} more"
        return PlanCondition.READY, "True", "ServicesLeftOut", words
    return PlanCondition.READY, "True", "Planned", f"planned for {planned.services} services"


def _suffices(shortfalls: Sequence[Shortfall]) -> tuple[PlanCondition, str, str, str]:
    short = [entry for entry in shortfalls if entry.first_shortfall_s is not None]
    unknown = [entry.pool for entry in shortfalls if entry.existing_gpus is None]
    if short:
        words = "; ".join(_short_words(entry) for entry in short)
        return PlanCondition.CAPACITY_SUFFICES, "False", "Shortfall", words
    if unknown:
        words = f"not known how many GPUs exist in {', '.join(unknown)}"
        return PlanCondition.CAPACITY_SUFFICES, "Unknown", "CapacityUnknown", words
    return PlanCondition.CAPACITY_SUFFICES, "True", "CapacitySuffices", "no pool needs more GPUs than exist"


def _short_words(entry: Shortfall) -> str:
    first, order_by = rfc3339(entry.first_shortfall_s or 0), rfc3339(entry.order_by_s or 0)
    late = ", which has passed" if entry.overdue else ""
    return f"{entry.pool} lacks {entry.short_gpus} GPUs, from {first} on; order by {order_by}{late}"


def _within(budget: Budget | None) -> tuple[PlanCondition, str, str, str]:
    kind = PlanCondition.WITHIN_BUDGET
    if budget is None:
        return kind, "Unknown", "NoBudget", "the plan has no budgetPerMonth"
    if budget.fits:
        return kind, "True", "WithinBudget", budget.message
    return kind, "False", "BudgetCannotHold" if budget.infeasible else "OverBudget", budget.message


def _message(planned: Planned) -> str:
    plan = planned.purchase
    orders = sum(len(pool.reserved) for pool in plan.pools)
    saved = plan.compared.all_on_demand - plan.usd_per_month
    words = f"{plan.usd_per_month:,.0f} USD a month with {orders} reservations, {saved:,.0f} below all on demand"
    short = [entry for entry in planned.shortfalls if entry.first_shortfall_s is not None]
    return "; ".join([words, *(_short_words(entry) for entry in short)])
