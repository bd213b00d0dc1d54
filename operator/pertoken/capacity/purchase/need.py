"""A pool's futures as nodes to be bought, and its offers as prices of nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.futures import PoolFutures
from pertoken.capacity.purchase.options import PoolOptions
from pertoken.units import SECONDS_PER_HOUR, TINY

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """What one pool must buy beyond its commitment.

    Attributes:
        nodes: ``[resample, hour]`` nodes that are needed, the committed GPUs and the always held ones included in this
            sense: committed GPUs are used first, and never fewer than `min_nodes` are held.
        spot: ``[resample, hour]`` most of them that may be spot.
        node_usd: USD of a node-hour on demand.
        spot_usd: expected USD of a node-hour that is spot while it lasts and on demand while it is lost; `node_usd`
            where spot is not offered or not cheaper.
        per_gpu_hour: factor from a price of a GPU-hour to one of a node-hour.
    """

    futures: PoolFutures
    options: PoolOptions
    nodes: Counts
    spot: Counts
    node_usd: float
    spot_usd: float
    per_gpu_hour: float

    @property
    def committed(self) -> int:
        """GPUs that are paid for already."""
        return self.futures.pool.committed_gpus

    @property
    def uses_spot(self) -> bool:
        """Whether spot is offered and pays."""
        return self.spot_usd < self.node_usd


def need_of(futures: PoolFutures, options: PoolOptions, cap_gpus: int | None = None) -> Need:
    """Nodes to be bought for a pool; a cap cuts what is served beyond it, but not what is always held."""
    size = futures.gpus_per_node
    gpus = futures.gpus if cap_gpus is None else np.minimum(futures.gpus, cap_gpus)
    held = np.maximum(gpus, options.min_nodes * size)
    nodes = -(-np.maximum(held - futures.pool.committed_gpus, 0) // size)
    per_gpu_hour = size * float(futures.pool.gpu_fraction)
    node_usd = float(options.on_demand.usd_per_gpu_hour) * per_gpu_hour
    spot_usd, spot = node_usd, np.zeros_like(nodes)
    if options.spot is not None:
        lost = options.spot.lost_share
        mixed = (1.0 - lost) * float(options.spot.usd_per_gpu_hour) * per_gpu_hour + lost * node_usd
        if mixed < node_usd:
            spot_usd = mixed
            spot = np.floor(nodes * options.spot.most_share + TINY).astype(np.int64)
    return Need(futures, options, nodes, spot, node_usd, spot_usd, per_gpu_hour)


def whole_hours(seconds: float) -> int:
    """Hours of a time, begun ones counted."""
    return math.ceil(seconds / SECONDS_PER_HOUR - TINY)
