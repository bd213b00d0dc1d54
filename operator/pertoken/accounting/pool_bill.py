"""A pool's bill: what the provider charges, who held it, and what nobody held.

Two things are charged beyond the GPUs that pods hold: the rest of a node where whole nodes are billed, and committed
capacity that stands unused. Reports show that money (amortised: used or not) and can share it out over the holders;
decisions price it at its opportunity, see `next_gpu_price`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise

from pertoken.accounting.bill import EXACT, Bill, held_within, micros, time_bill, total_bill
from pertoken.domain.cluster import PodFact
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """GPUs that somebody held on a node.

    Attributes:
        holder: who pays, e.g. ``namespace/service``.
        gpus: units of the pool's resource.
        start, end: microseconds since the epoch.
    """

    holder: str
    node: str
    gpus: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PoolBill:
    """A pool over an interval.

    Attributes:
        charged: what the provider charges; the sum of the other two.
        held: by holder.
        unallocated: charged and held by nobody.
    """

    charged: Bill
    held: Mapping[str, Bill]
    unallocated: Bill

    def shares_of_unallocated(self) -> Mapping[str, Bill]:
        """Each holder's part of what nobody held, by GPU time; all parts add up. Empty while nobody holds anything."""
        names = sorted(self.held)
        weights = [Decimal(self.held[name].gpu_microseconds) for name in names]
        if not any(weights):
            return {}
        return dict(zip(names, self.unallocated.split(weights), strict=True))


def holdings(pods: Iterable[tuple[str, PodFact]], pool: PoolSpec, start: float, end: float) -> tuple[Holding, ...]:
    """What (holder, pod) pairs held of the pool's resource within [start, end)."""
    spans = []
    for holder, pod in pods:
        units = pod.requests.get(pool.resource_name, 0)
        first, last = held_within(pod, start, end)
        if units > 0 and last > first:
            spans.append(Holding(holder, pod.node or "", units, first, last))
    return tuple(spans)


def pool_bill(
    pool: PoolSpec, held: Iterable[Holding], node_gpus: Mapping[str, int], start: float, end: float
) -> PoolBill:
    """The pool's bill over [start, end).

    Under `PerNode` a node is charged whole while anybody holds GPUs on it (a node that stands empty is the node
    autoscaler's to remove; it is charged only as far as it is committed). Committed capacity is charged always.

    Args:
        pool: with its price and how it is billed.
        held: see `holdings`.
        node_gpus: GPUs by node; a node that is not listed counts what is held on it.
        start: seconds since the epoch.
        end: likewise.
    """
    spans = tuple(held)
    first, last = micros(start), micros(end)
    edges = sorted({first, max(first, last), *(e for h in spans for e in (h.start, h.end) if first < e < last)})
    by_holder: defaultdict[str, int] = defaultdict(int)
    unallocated = 0
    for left, right in pairwise(edges):
        on_node: defaultdict[str, int] = defaultdict(int)
        for holding in spans:
            if holding.start <= left and holding.end >= right:
                on_node[holding.node] += holding.gpus
                by_holder[holding.holder] += holding.gpus * (right - left)
        busy = sum(on_node.values())
        charged = busy
        if pool.billing is Billing.PER_NODE:
            charged = sum(max(units, node_gpus.get(node, 0)) for node, units in on_node.items())
        unallocated += (max(charged, pool.committed_gpus) - busy) * (right - left)
    bills = {holder: time_bill(time, pool) for holder, time in sorted(by_holder.items())}
    rest = time_bill(unallocated, pool)
    return PoolBill(total_bill((*bills.values(), rest)), bills, rest)


def next_gpu_price(pool: PoolSpec, held: int, shadow_price: Decimal = Decimal(0)) -> Decimal | None:
    """USD per hour that taking one more GPU unit costs, for decisions; None without a price.

    Committed capacity that nobody holds is paid for anyway: it costs what others would pay for it (the pool's shadow
    price), at most its list price. Beyond the commitment the list price counts.
    """
    if pool.price_per_gpu_hour is None:
        return None
    price = EXACT.multiply(pool.price_per_gpu_hour, pool.gpu_fraction)
    return min(price, max(shadow_price, Decimal(0))) if held < pool.committed_gpus else price
