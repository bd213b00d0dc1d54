"""What can be bought for a pool: on demand, spot, reserved by term; and what is wrong with an offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from pertoken.capacity.purchase.tuning import TUNING

if TYPE_CHECKING:  # needs numpy, which `pertoken validate` shall not wait for
    from pertoken.capacity.futures import Futures, PoolFutures


@dataclass(frozen=True, slots=True)
class Reserved:
    """GPUs paid for the whole term, used or not.

    Attributes:
        name: of the offer, in the plan's output; unique within the pool.
        usd_per_gpu_hour: price of a GPU-hour, what is paid up front spread over the term.
        term_days: how long it is paid.
        lead_seconds: from the order to the first hour of use.
        min_nodes: least nodes of one order; 0 for none.
        max_nodes: most nodes that can be held at once; None for no limit.
    """

    name: str
    usd_per_gpu_hour: Decimal
    term_days: int
    lead_seconds: int = 0
    min_nodes: int = 0
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """GPUs that the provider may reclaim; what is lost is bought on demand meanwhile.

    Attributes:
        usd_per_gpu_hour: price of a GPU-hour.
        lost_share: share of the time in which a spot GPU is not there, the replacement's start-up included, 0 to 1.
        most_share: largest share of the pool's needed nodes that may be spot in any hour, 0 to 1.
    """

    usd_per_gpu_hour: Decimal
    lost_share: float = 0.0
    most_share: float = TUNING.spot_most_share


@dataclass(frozen=True, slots=True)
class OnDemand:
    """GPUs by the hour.

    Attributes:
        usd_per_gpu_hour: price of a GPU-hour.
        max_nodes: most that can be had at once (quota); None for no limit.
    """

    usd_per_gpu_hour: Decimal
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What can be bought for one pool.

    Attributes:
        min_nodes: nodes that are always held, needed or not.
        committed_usd_per_gpu_hour: what a committed GPU-hour costs; None: the pool's own price.
    """

    pool: str
    on_demand: OnDemand
    reserved: tuple[Reserved, ...] = ()
    spot: Spot | None = None
    min_nodes: int = 0
    committed_usd_per_gpu_hour: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PurchaseOptions:
    """What the plan may buy.

    Attributes:
        pools: options by pool; a pool without an entry is bought on demand at its own price.
        budget_usd_per_month: ceiling of the spend in any month of 730 hours; None for none.
    """

    pools: tuple[PoolOptions, ...] = ()
    budget_usd_per_month: Decimal | None = None

    def of(self, futures: PoolFutures) -> PoolOptions | None:
        """Options of a pool; None where neither an entry nor the pool itself has a price."""
        given = next((entry for entry in self.pools if entry.pool == futures.name), None)
        if given is not None:
            return given
        price = futures.pool.price_per_gpu_hour
        return None if price is None else PoolOptions(futures.name, OnDemand(price))


def option_mistakes(futures: Futures, options: PurchaseOptions) -> tuple[str, ...]:
    """Everything that is wrong with the options, one line each: pool, field, value, expectation."""
    return tuple(_mistakes(futures, options))


def _mistakes(futures: Futures, options: PurchaseOptions) -> Iterator[str]:
    names = [entry.pool for entry in options.pools]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"pool {name}: options given {names.count(name)} times; expected once"
    for entry in options.pools:
        if futures.pool(entry.pool) is None:
            yield f"pool {entry.pool}: not in the plan; expected one of {', '.join(p.name for p in futures.pools)}"
        yield from _pool_mistakes(entry)
    for pool in futures.pools:
        if options.of(pool) is None:
            yield f"pool {pool.name}: no price; expected pricePerGPUHour in the pool or an on-demand price in the plan"
    if options.budget_usd_per_month is not None and options.budget_usd_per_month < 0:
        yield f"budget per month: {options.budget_usd_per_month}; expected 0 or more"


def _pool_mistakes(entry: PoolOptions) -> Iterator[str]:
    where = f"pool {entry.pool}"
    yield from (f"{where}: {wrong}" for wrong in _price_mistakes(entry))
    offers = [offer.name for offer in entry.reserved]
    for name in sorted({name for name in offers if offers.count(name) > 1}):
        yield f"{where}: {name}: offered {offers.count(name)} times; expected once"
    for offer in entry.reserved:
        yield from (f"{where}: {offer.name}: {wrong}" for wrong in _offer_mistakes(offer))
    if entry.min_nodes < 0:
        yield f"{where}: least nodes {entry.min_nodes}; expected 0 or more"
    if entry.spot:
        for field, share in (("lost share", entry.spot.lost_share), ("most share", entry.spot.most_share)):
            if not 0.0 <= share <= 1.0:
                yield f"{where}: spot: {field} {share:g}; expected 0 to 1"


def _price_mistakes(entry: PoolOptions) -> Iterator[str]:
    priced = [("on demand", entry.on_demand.usd_per_gpu_hour)]
    priced += [(offer.name, offer.usd_per_gpu_hour) for offer in entry.reserved]
    priced += [("spot", entry.spot.usd_per_gpu_hour)] if entry.spot else []
    for name, price in priced:
        if not price.is_finite() or price < 0:
            yield f"{name}: price {price}; expected 0 or more USD per GPU-hour"


def _offer_mistakes(offer: Reserved) -> Iterator[str]:
    if offer.term_days < 1:
        yield f"term of {offer.term_days} days; expected 1 or more"
    if offer.lead_seconds < 0:
        yield f"lead time of {offer.lead_seconds} s; expected 0 or more"
    if offer.min_nodes < 0:
        yield f"least nodes {offer.min_nodes}; expected 0 or more"
    if offer.max_nodes is not None and offer.max_nodes < offer.min_nodes:
        yield f"at most {offer.max_nodes} nodes; expected at least its minimum of {offer.min_nodes}"
