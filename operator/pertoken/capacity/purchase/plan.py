"""The purchase of all pools: what to order, what it costs, what it saves, what stands idle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pertoken.capacity.futures import Futures
from pertoken.capacity.purchase.bill import Floats, PoolBill, bill_of, per_month, used_share
from pertoken.capacity.purchase.compare import Comparison, compare
from pertoken.capacity.purchase.need import Need, need_of
from pertoken.capacity.purchase.optimize import Bought, least_cost
from pertoken.capacity.purchase.options import PurchaseOptions, option_mistakes
from pertoken.capacity.purchase.tuning import TUNING
from pertoken.units import HOURS_PER_DAY, PER_CENT, SECONDS_PER_HOUR


class PurchaseError(ValueError):
    """Options that cannot be used; `mistakes` has one line each."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Reservation:
    """One order of reserved capacity.

    Attributes:
        begin_s, end_s: when it is paid, Unix seconds.
        order_by_s: begin less the offer's lead time.
        usd_per_month: while it runs.
        used_share: of its GPU-hours in the horizon, those that are needed, on average.
        idle_usd_per_day: what its idle GPU-hours cost on an average day.
        owed_after_horizon_usd: what is paid after the horizon's end.
    """

    offer: str
    term_days: int
    nodes: int
    gpus: int
    begin_s: int
    end_s: int
    order_by_s: int
    usd_per_gpu_hour: float
    usd_per_month: float
    used_share: float
    idle_gpus: float
    idle_usd_per_day: float
    owed_after_horizon_usd: float


@dataclass(frozen=True, slots=True)
class Committed:
    """What is paid already: shown, not decided on."""

    gpus: int
    usd_per_month: float
    idle_gpus: float
    idle_usd_per_day: float


@dataclass(frozen=True, slots=True)
class Hourly:
    """What is bought by the hour.

    Attributes:
        gpu_hours_per_month: mean of all futures.
        peak_gpus: most of any hour at the plan's confidence; without commitments, reservations and spot it is the
            pool's own peak, in whole nodes.
    """

    gpu_hours_per_month: float
    peak_gpus: int
    usd_per_month: float


@dataclass(frozen=True, slots=True)
class PoolPurchase:
    """One pool.

    Attributes:
        spot: what spot itself costs; what stands in for lost spot is in `on_demand`.
        unserved_gpu_hours_per_month: needed beyond the ceiling of on demand.
        usd_per_month: all of it, the commitment included.
        usd_per_month_high: not exceeded at the plan's confidence.
    """

    pool: str
    reserved: tuple[Reservation, ...]
    committed: Committed
    on_demand: Hourly
    spot: Hourly
    unserved_gpu_hours_per_month: float
    usd_per_month: float
    usd_per_month_high: float
    compared: Comparison


@dataclass(frozen=True, slots=True)
class PurchasePlan:
    """The purchase of least expected cost.

    Attributes:
        months: begin (Unix seconds) and expected USD of each month of 730 hours; a last part as a whole month.
    """

    pools: tuple[PoolPurchase, ...]
    usd_per_month: float
    usd_per_month_high: float
    months: tuple[tuple[int, float], ...]
    compared: Comparison

    @property
    def worst_month_usd(self) -> float:
        """Expected USD of the dearest month."""
        return max(usd for _, usd in self.months)


def purchase(futures: Futures, options: PurchaseOptions, caps: Mapping[str, int] | None = None) -> PurchasePlan:
    """Buy for all futures at least expected cost; `caps` are GPUs beyond which a pool's need is not served.

    Raises:
        PurchaseError: options are wrong (`option_mistakes`).
    """
    mistakes = option_mistakes(futures, options)
    if mistakes:
        raise PurchaseError(mistakes)
    needs = tuple(
        need_of(pool, entry, (caps or {}).get(pool.name))
        for pool in futures.pools
        if (entry := options.of(pool)) is not None
    )
    settled = tuple((need, least_cost(need, futures.confidence)) for need in needs)
    bills = tuple(bill_of(need, bought) for need, bought in settled)
    pools = tuple(_pool(bill, bought, futures.confidence) for bill, (_, bought) in zip(bills, settled, strict=True))
    usd: Floats = np.sum([bill.usd for bill in bills], axis=0)
    return PurchasePlan(
        pools=pools,
        usd_per_month=per_month(usd.mean(axis=0).sum(), futures.horizon_hours),
        usd_per_month_high=_high(usd, futures.confidence),
        months=months_of(usd.mean(axis=0), futures.start_s),
        compared=Comparison.together([pool.compared for pool in pools]),
    )


def _high(usd: Floats, confidence: float) -> float:
    totals = np.quantile(usd.sum(axis=1), confidence / PER_CENT, method="inverted_cdf")
    return per_month(float(totals), usd.shape[1])


def expected_usd(need: Need, confidence: float) -> Floats:
    """Expected USD by hour of the least cost of one pool."""
    usd: Floats = bill_of(need, least_cost(need, confidence)).usd.mean(axis=0)
    return usd


def months_of(usd: Floats, start_s: int) -> tuple[tuple[int, float], ...]:
    """Begin and USD of each month of 730 hours; a last part counts as a whole month of its kind."""
    size = TUNING.hours_per_month
    parts = [(begin, usd[begin : begin + size]) for begin in range(0, len(usd), size)]
    return tuple((start_s + begin * SECONDS_PER_HOUR, per_month(part.sum(), len(part))) for begin, part in parts)


def _pool(bill: PoolBill, bought: tuple[Bought, ...], confidence: float) -> PoolPurchase:
    need, hours = bill.need, bill.need.futures.hours
    size = need.futures.gpus_per_node
    on_demand = bill.on_demand + bill.lost * bill.spot
    return PoolPurchase(
        pool=need.futures.name,
        reserved=_reservations(need, bought),
        committed=_committed(bill),
        on_demand=Hourly(
            per_month(on_demand.mean(axis=0).sum() * size, hours),
            int(need.futures.sufficient(bill.on_demand, confidence).max()) * size,
            per_month(bill.on_demand_usd.mean(axis=0).sum(), hours),
        ),
        spot=Hourly(
            per_month(bill.spot.mean(axis=0).sum() * size * (1.0 - bill.lost), hours),
            int(need.futures.sufficient(bill.spot, confidence).max()) * size,
            per_month(bill.spot_usd.mean(axis=0).sum(), hours),
        ),
        unserved_gpu_hours_per_month=per_month(bill.unserved.mean(axis=0).sum() * size, hours),
        usd_per_month=per_month(bill.usd.mean(axis=0).sum(), hours),
        usd_per_month_high=_high(bill.usd, confidence),
        compared=compare(need, bill, confidence),
    )


def _committed(bill: PoolBill) -> Committed:
    gpus = bill.need.committed
    idle = float(np.maximum(gpus - bill.need.futures.gpus, 0).mean()) if gpus else 0.0
    hourly = bill.committed_usd / gpus if gpus else 0.0
    return Committed(gpus, bill.committed_usd * TUNING.hours_per_month, idle, idle * hourly * HOURS_PER_DAY)


def _reservations(need: Need, bought: tuple[Bought, ...]) -> tuple[Reservation, ...]:
    """Each order with its use; longer terms lie at the bottom and are used first."""
    below = np.zeros(need.futures.hours, np.int64)
    shown = {}
    for entry in sorted(bought, key=lambda entry: (-entry.order.offer.term_days, entry.order.begin)):
        running = slice(entry.order.begin, min(entry.order.end, need.futures.hours))
        share = used_share(need, below, entry.nodes, running)
        below[running] += entry.nodes
        shown[entry] = _reservation(need, entry, share)
    return tuple(shown[entry] for entry in bought)


def _reservation(need: Need, entry: Bought, share: float) -> Reservation:
    order, futures = entry.order, need.futures
    gpus = entry.nodes * futures.gpus_per_node
    price = float(order.offer.usd_per_gpu_hour) * float(futures.pool.gpu_fraction)
    begin = futures.start_s + order.begin * SECONDS_PER_HOUR
    return Reservation(
        offer=order.offer.name,
        term_days=order.offer.term_days,
        nodes=entry.nodes,
        gpus=gpus,
        begin_s=begin,
        end_s=futures.start_s + order.end * SECONDS_PER_HOUR,
        order_by_s=begin - order.offer.lead_seconds,
        usd_per_gpu_hour=float(order.offer.usd_per_gpu_hour),
        usd_per_month=gpus * price * TUNING.hours_per_month,
        used_share=share,
        idle_gpus=gpus * (1.0 - share),
        idle_usd_per_day=gpus * (1.0 - share) * price * HOURS_PER_DAY,
        owed_after_horizon_usd=gpus * price * max(0, order.end - futures.hours),
    )
