"""The purchase as the command line prints it: plain values, money in USD rounded to cents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pertoken.capacity.purchase.budget import Budget
from pertoken.capacity.purchase.compare import Comparison
from pertoken.capacity.purchase.plan import Hourly, PoolPurchase, PurchasePlan, Reservation

CENTS = 2
SHARE_PLACES = 4
Json = dict[str, Any]


def purchase_document(plan: PurchasePlan, budget: Budget | None = None) -> Json:
    """The part `purchase` of the plan's output.

    ``usd_per_month`` is of an average month of 730 hours of the horizon and holds the commitments, as do the figures
    beside it: a commitment is paid whatever is bought. Savings are what the plan costs less.
    """
    document: Json = {
        "reserved": [_reservation(pool, entry) for pool in plan.pools for entry in pool.reserved],
        "on_demand": [_hourly(pool.pool, pool.on_demand) for pool in plan.pools],
        "spot": [_hourly(pool.pool, pool.spot) for pool in plan.pools if pool.spot.gpu_hours_per_month > 0],
        "committed": [
            {"pool": pool.pool, **_rounded(asdict(pool.committed))} for pool in plan.pools if pool.committed.gpus
        ],
        "unserved": [
            {"pool": pool.pool, "gpu_hours_per_month": round(pool.unserved_gpu_hours_per_month, CENTS)}
            for pool in plan.pools
            if pool.unserved_gpu_hours_per_month > 0
        ],
        "usd_per_month": round(plan.usd_per_month, CENTS),
        "usd_per_month_high": round(plan.usd_per_month_high, CENTS),
        "months": [{"begin_s": begin, "usd": round(usd, CENTS)} for begin, usd in plan.months],
        **_comparison(plan.compared, plan.usd_per_month),
    }
    if budget is not None:
        document["budget"] = budget_document(budget)
    return document


def budget_document(budget: Budget) -> Json:
    """The answer to a budget."""
    caps = budget.caps
    return {
        "usd_per_month": round(budget.usd_per_month, CENTS),
        "worst_month_usd": round(budget.worst_month_usd, CENTS),
        "fits": budget.fits,
        "over_usd": round(max(0.0, budget.over_usd), CENTS),
        "infeasible": budget.infeasible,
        "least_usd": round(budget.least_usd, CENTS),
        "caps": None
        if caps is None
        else {
            "gpus": dict(caps.gpus),
            "short_share": round(caps.short_share, SHARE_PLACES),
            "unserved_share": round(caps.unserved_share, SHARE_PLACES),
            "worst_month_usd": round(caps.worst_month_usd, CENTS),
        },
        "alternatives": [_rounded(asdict(entry)) for entry in budget.alternatives],
        "message": budget.message,
    }


def _reservation(pool: PoolPurchase, entry: Reservation) -> Json:
    return {"pool": pool.pool, **_rounded(asdict(entry)), "used_share": round(entry.used_share, SHARE_PLACES)}


def _hourly(pool: str, bought: Hourly) -> Json:
    return {"pool": pool, **_rounded(asdict(bought))}


def _comparison(compared: Comparison, usd: float) -> Json:
    named = {
        "all_on_demand": compared.all_on_demand,
        "peak_reserved": compared.peak_reserved,
        "todays_fleet": compared.todays_fleet,
    }
    document: Json = {}
    for name, other in named.items():
        document[f"{name}_usd_per_month"] = None if other is None else round(other, CENTS)
        document[f"saving_against_{name}_usd_per_month"] = None if other is None else round(other - usd, CENTS)
    return document


def _rounded(values: Json) -> Json:
    return {name: round(value, CENTS) if isinstance(value, float) else value for name, value in values.items()}
