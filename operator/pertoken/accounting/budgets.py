"""The two budgets of a cost window: money at the price list, and requests that may miss the latency objectives."""

from __future__ import annotations

from pertoken.accounting.cost_index import list_value
from pertoken.accounting.goodput import objectives
from pertoken.accounting.window import WindowSums
from pertoken.domain.cost import MissBudget, MoneyBudget
from pertoken.domain.service import ServiceSpec
from pertoken.domain.signal import Missing
from pertoken.units import PER_CENT


def money_budget(spec: ServiceSpec, sums: WindowSums, *, told: bool) -> MoneyBudget | Missing:
    """What the window's tokens are worth at the price list, and what they have cost, USD.

    Args:
        spec: with the price list.
        sums: the window so far.
        told: whether all finished tokens are known at present.
    """
    if spec.cost is None:
        return Missing("no cost objective is set")
    if not sums.bill.priced:
        return Missing("a pool in use has no price per GPU-hour")
    if not told:
        return Missing("finished tokens are not all told")
    prices, ends = spec.cost.prices, sums.ends
    return MoneyBudget(
        value=list_value(sums.tokens, prices),
        spent=float(sums.bill.usd),
        horizon_seconds=ends.seconds,
        leaving=list_value(ends.leaving_tokens, prices) - float(ends.leaving_bill.usd),
        latest=list_value(ends.latest_tokens, prices),
        latest_seconds=ends.latest_seconds,
    )


def miss_budget(spec: ServiceSpec, sums: WindowSums) -> MissBudget | Missing:
    """The window's finished requests against the latency objectives.

    Args:
        spec: with the objectives.
        sums: the window so far.
    """
    if not objectives(spec.latency):
        return Missing("no latency objective is set")
    kept = sums.attained
    if kept.known <= 0:
        return Missing("no latency of a finished request was told")
    unknown = max(0.0, sums.tokens.requests - kept.known)
    allowed = 1.0 - spec.latency.percentile / PER_CENT
    return MissBudget(kept.known, unknown, kept.within_low, min(kept.within_high, kept.known), allowed)
