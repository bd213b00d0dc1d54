"""The service's ceiling on spend per hour."""

from __future__ import annotations

from math import floor

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit
from pertoken.planner.proposal import Proposal, Status, step
from pertoken.units import TINY


def spend_limit(proposal: Proposal) -> Proposal:
    """Keep the spend per hour under the ceiling, dearest variants first; minimums stand."""
    cost = proposal.state.spec.cost
    if cost is None or cost.max_spend_per_hour is None:
        return proposal
    left = float(cost.max_spend_per_hour)
    variants, cut = [], 0
    for variant in proposal.variants:
        price = variant.state.usd_per_hour
        if price is None or price <= 0:
            variants.append(variant)
            continue
        affordable = max(floor(left / price + TINY), variant.state.spec.min_replicas)
        count = min(variant.replicas, affordable)
        left -= count * price
        cut += variant.replicas - count
        less = count < variant.replicas
        variants.append(variant.at(count, Reason.SPEND_CAPPED, Status.FREE) if less else variant)
    if not cut:
        return proposal.with_variants(variants)
    words = f"maxSpendPerHour {cost.max_spend_per_hour} USD leaves out {cut} replicas"
    wanted = sum(variant.replicas for variant in proposal.variants)
    return proposal.with_variants(
        variants, step("constrain", (wanted, wanted - cut), Reason.SPEND_CAPPED, Limit(words))
    )
