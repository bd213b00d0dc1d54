"""The purchase beside simpler ones: all on demand, the peak reserved, today's fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pertoken.capacity.purchase.bill import PoolBill, per_month
from pertoken.capacity.purchase.need import Need


@dataclass(frozen=True, slots=True)
class Comparison:
    """USD of an average month of the horizon, the commitment included in each.

    Attributes:
        all_on_demand: everything beyond the commitment on demand.
        peak_reserved: the highest need at the plan's confidence reserved at the cheapest offer that can be had in that
            number, what exceeds it on demand; None without an offer.
        todays_fleet: today's GPUs held all the time at the pool's price, what exceeds them on demand; None where it is
            not known how many there are, or what they cost.
    """

    all_on_demand: float
    peak_reserved: float | None
    todays_fleet: float | None

    @classmethod
    def together(cls, parts: Sequence[Comparison]) -> Comparison:
        """Sums over pools; a figure that one pool lacks is lacking."""
        return cls(
            sum(part.all_on_demand for part in parts),
            _sum([part.peak_reserved for part in parts]),
            _sum([part.todays_fleet for part in parts]),
        )


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def compare(need: Need, bill: PoolBill, confidence: float) -> Comparison:
    """The same need, bought in simpler ways."""
    hours = need.futures.hours
    on_demand = need.nodes.mean(axis=0).sum() * need.node_usd + bill.committed_usd * hours
    return Comparison(
        per_month(on_demand, hours),
        _peak_reserved(need, bill, confidence),
        _todays_fleet(need, bill),
    )


def _peak_reserved(need: Need, bill: PoolBill, confidence: float) -> float | None:
    peak = int(need.futures.sufficient(need.nodes, confidence).max())
    prices = [
        float(offer.usd_per_gpu_hour)
        for offer in need.options.reserved
        if offer.min_nodes <= peak and (offer.max_nodes is None or offer.max_nodes >= peak)
    ]
    if not prices:
        return None
    hours = need.futures.hours
    beyond = np.maximum(need.nodes - peak, 0).mean(axis=0).sum() * need.node_usd
    held = (peak * min(prices) * need.per_gpu_hour + bill.committed_usd) * hours
    return per_month(beyond + held, hours)


def _todays_fleet(need: Need, bill: PoolBill) -> float | None:
    pool, existing = need.futures.pool, need.futures.existing
    if existing is None or pool.price_per_gpu_hour is None:
        return None
    hours, size = need.futures.hours, need.futures.gpus_per_node
    held = max(existing, pool.committed_gpus)
    uncommitted = (held - pool.committed_gpus) * float(pool.price_per_gpu_hour) * float(pool.gpu_fraction)
    beyond = -(-np.maximum(need.futures.gpus - held, 0) // size) * need.node_usd
    return per_month(beyond.mean(axis=0).sum() + (uncommitted + bill.committed_usd) * hours, hours)
