"""A budget per month: whether the plan fits, and what staying inside takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.bill import Floats
from pertoken.capacity.purchase.need import need_of
from pertoken.capacity.purchase.options import PurchaseOptions
from pertoken.capacity.purchase.plan import PurchasePlan, expected_usd, months_of, purchase
from pertoken.capacity.purchase.tuning import TUNING
from pertoken.units import PER_CENT, TINY


@dataclass(frozen=True, slots=True)
class Caps:
    """What fits when pools are capped.

    Attributes:
        gpus: most GPUs by pool.
        short_share: share of the pool-hours in which a need lies above its cap.
        unserved_share: of the needed GPU-hours, those above the caps.
        worst_month_usd: of the capped plan.
    """

    gpus: tuple[tuple[str, int], ...]
    short_share: float
    unserved_share: float
    worst_month_usd: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """The same demand served otherwise: a cheaper variant, another GPU, a shorter context."""

    name: str
    worst_month_usd: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """The answer.

    Attributes:
        over_usd: dearest month less the budget; 0 or less when it fits.
        caps: None when it fits, or when no cap fits.
        least_usd: dearest month of what is always paid: commitments and least nodes; above the budget, nothing fits.
        alternatives: cheapest first.
    """

    usd_per_month: float
    worst_month_usd: float
    over_usd: float
    caps: Caps | None
    least_usd: float
    alternatives: tuple[Alternative, ...]

    @property
    def fits(self) -> bool:
        """Whether the plan stays inside."""
        return self.over_usd <= TINY

    @property
    def infeasible(self) -> bool:
        """Whether no cap helps: what is always paid exceeds the budget."""
        return not self.fits and self.caps is None

    @property
    def message(self) -> str:
        """The answer in a sentence."""
        spent = f"the dearest month costs {self.worst_month_usd:,.0f} USD"
        if self.fits:
            return f"{spent}, within the budget of {self.usd_per_month:,.0f}"
        words = f"{spent}, {self.over_usd:,.0f} above the budget of {self.usd_per_month:,.0f}"
        cheaper = next((entry for entry in self.alternatives if entry.fits), None)
        if cheaper is not None:
            words += f"; {cheaper.name} fits at {cheaper.worst_month_usd:,.0f}"
        if self.caps is None:
            return f"{words}; no cap helps: commitments and least nodes alone cost {self.least_usd:,.0f}"
        caps = ", ".join(f"{pool} {gpus}" for pool, gpus in self.caps.gpus)
        share = self.caps.unserved_share * PER_CENT
        return f"{words}; it fits with GPUs capped at {caps}, which leaves {share:.1f} % of the GPU-hours unserved"


def within_budget(
    futures: Futures, options: PurchaseOptions, plan: PurchasePlan, others: Mapping[str, Futures] | None = None
) -> Budget | None:
    """Hold the plan against the budget of the options; None without one.

    Every pool is capped so that it is short in the same share of its hours, the smallest with which the dearest month
    fits; then pool by pool, in the plan's order, by as many nodes more as the budget still holds. Purchases are chosen
    anew under the caps.

    Args:
        futures: what `plan` was bought for.
        options: what it was bought from; they hold the budget.
        plan: without caps.
        others: futures of the same demand served otherwise, by what is different.
    """
    if options.budget_usd_per_month is None:
        return None
    budget = float(options.budget_usd_per_month)
    over = plan.worst_month_usd - budget
    capped = _Capped(futures, options)
    least = capped.worst_month(dict.fromkeys(capped.names, 0))
    fits = over <= TINY
    return Budget(
        budget,
        plan.worst_month_usd,
        over,
        None if fits or least > budget + TINY else _caps(capped, budget),
        least,
        () if fits else _alternatives(options, budget, others or {}),
    )


def _alternatives(options: PurchaseOptions, budget: float, others: Mapping[str, Futures]) -> tuple[Alternative, ...]:
    told = []
    for name, futures in others.items():
        usd = purchase(futures, options).worst_month_usd
        told.append(Alternative(name, usd, usd <= budget + TINY))
    return tuple(sorted(told, key=lambda entry: entry.worst_month_usd))


@dataclass(slots=True)
class _Capped:
    """Least costs under caps; what one pool costs under one cap is worked out once."""

    futures: Futures
    options: PurchaseOptions
    known: dict[tuple[str, int], Floats] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Pools, in the plan's order."""
        return tuple(pool.name for pool in self.futures.pools)

    def worst_month(self, caps: Mapping[str, int]) -> float:
        """Expected USD of the dearest month under caps."""
        usd = np.sum([self._usd(pool, caps[pool.name]) for pool in self.futures.pools], axis=0)
        return max(month for _, month in months_of(usd, 0))

    def _usd(self, pool: PoolFutures, cap: int) -> Floats:
        entry = self.options.of(pool)
        if entry is None:  # `purchase` has refused such options
            return np.zeros(pool.hours)
        key = (pool.name, cap)
        if key not in self.known:
            self.known[key] = expected_usd(need_of(pool, entry, cap), self.futures.confidence)
        return self.known[key]


def _caps(capped: _Capped, budget: float) -> Caps:
    """The same share of short hours in every pool, then single nodes where the budget still holds them."""
    pools = capped.futures.pools
    low, high = 0.0, 1.0
    best, above = dict.fromkeys(capped.names, 0), {pool.name: _quantile(pool, 0.0) for pool in pools}
    for _ in range(TUNING.cap_steps):
        share = (low + high) / 2.0
        caps = {pool.name: _quantile(pool, share) for pool in pools}
        if capped.worst_month(caps) <= budget + TINY:
            high, best = share, caps
        else:
            low, above = share, caps
    for pool in pools:
        best = best | {pool.name: _raised(capped, best, pool, (above[pool.name], budget))}
    cut = [np.maximum(pool.gpus - best[pool.name], 0) for pool in pools]
    needed = sum(int(pool.gpus.sum()) for pool in pools)
    return Caps(
        tuple(best.items()),
        sum(float((part > 0).mean()) for part in cut) / len(cut),
        sum(int(part.sum()) for part in cut) / needed if needed else 0.0,
        capped.worst_month(best),
    )


def _quantile(pool: PoolFutures, share: float) -> int:
    """GPUs, in whole nodes, that are exceeded in at most this share of the hours."""
    gpus = int(np.quantile(pool.gpus, 1.0 - share, method="inverted_cdf"))
    return gpus // pool.gpus_per_node * pool.gpus_per_node


def _raised(capped: _Capped, caps: Mapping[str, int], pool: PoolFutures, limits: tuple[int, float]) -> int:
    """The largest cap of one pool, up to a limit, that the budget holds beside the others' caps."""
    above, budget = limits
    size = pool.gpus_per_node
    low, high = caps[pool.name] // size, above // size
    while low < high:
        middle = (low + high + 1) // 2
        if capped.worst_month({**caps, pool.name: middle * size}) <= budget + TINY:
            low = middle
        else:
            high = middle - 1
    return low * size
