"""What a pool costs in every future once its reservations stand: committed, reserved, spot, on demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.purchase.need import Need
from pertoken.capacity.purchase.optimize import Bought
from pertoken.capacity.purchase.tuning import TUNING

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PoolBill:
    """One pool's nodes and money by resample and hour, or by hour where every future has the same.

    Attributes:
        reserved: nodes reserved, by hour.
        spot: nodes that spot is asked for, lost ones included; ``[resample, hour]``.
        on_demand: nodes bought on demand, without those that stand in for lost spot.
        unserved: nodes needed beyond the ceiling of on demand.
        reserved_usd: USD of the reservations, by hour.
        committed_usd: USD of an hour of the commitment.
    """

    need: Need
    reserved: Counts
    spot: Counts
    on_demand: Counts
    unserved: Counts
    reserved_usd: Floats
    committed_usd: float

    @property
    def lost(self) -> float:
        """Share of the time in which a spot node is lost."""
        offer = self.need.options.spot
        return offer.lost_share if offer is not None else 0.0

    @property
    def spot_usd(self) -> Floats:
        """USD paid for spot itself, by resample and hour."""
        offer = self.need.options.spot
        if offer is None:
            return np.zeros(self.spot.shape)
        price = float(offer.usd_per_gpu_hour) * self.need.per_gpu_hour
        usd: Floats = self.spot.astype(np.float64) * (price * (1.0 - self.lost))
        return usd

    @property
    def on_demand_usd(self) -> Floats:
        """USD paid on demand, for lost spot too, by resample and hour."""
        usd: Floats = (self.on_demand + self.lost * self.spot) * self.need.node_usd
        return usd

    @property
    def usd(self) -> Floats:
        """All of it by resample and hour."""
        usd: Floats = self.spot_usd + self.on_demand_usd + self.reserved_usd + self.committed_usd
        return usd


def bill_of(need: Need, bought: tuple[Bought, ...]) -> PoolBill:
    """Use what is reserved first, then spot, then on demand."""
    hours = need.futures.hours
    reserved, reserved_usd = np.zeros(hours, np.int64), np.zeros(hours)
    for entry in bought:
        running = slice(entry.order.begin, min(entry.order.end, hours))
        reserved[running] += entry.nodes
        reserved_usd[running] += entry.nodes * float(entry.order.offer.usd_per_gpu_hour) * need.per_gpu_hour
    beyond = np.maximum(need.nodes - reserved, 0)
    spot = np.minimum(need.spot, beyond)
    rest = beyond - spot
    ceiling = need.options.on_demand.max_nodes
    on_demand = rest if ceiling is None else np.minimum(rest, ceiling)
    return PoolBill(need, reserved, spot, on_demand, rest - on_demand, reserved_usd, committed_usd(need))


def committed_usd(need: Need) -> float:
    """USD of an hour of the committed GPUs; 0 where no price is known."""
    price = need.options.committed_usd_per_gpu_hour or need.futures.pool.price_per_gpu_hour
    pool = need.futures.pool
    return 0.0 if price is None else pool.committed_gpus * float(price) * float(pool.gpu_fraction)


def per_month(usd: Floats | float, hours: int) -> float:
    """A sum over the horizon's hours as a month of 730 hours."""
    return float(usd) / hours * TUNING.hours_per_month


def used_share(need: Need, below: Counts, nodes: int, hours: slice) -> float:
    """Share of the node-hours in which `nodes` reserved nodes that stand on `below` others are needed."""
    over = np.clip(need.nodes[:, hours] - below[hours], 0, nodes)
    return float(over.mean()) / nodes if over.size else 0.0
