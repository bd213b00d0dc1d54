"""GPUs by pool, future and hour: the cheapest mix for the busiest minutes of each hour, whole nodes at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.futures import PoolFutures
from pertoken.capacity.gpus.mix import staircase
from pertoken.capacity.gpus.replicas import Replica
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nodes:
    """How a pool's nodes are cut.

    Attributes:
        gpus_per_node: units of the resource on one node; None where nobody says.
        existing: GPUs of the pool today; None where that is not known.
    """

    gpus_per_node: int | None = None
    existing: int | None = None


def busiest(rates: Floats, peaks: Floats, lead_seconds: float) -> Floats:
    """Rate that replicas must be there for in each hour.

    A replica that is to serve at the begin of the next hour exists its start-up earlier, in this one. Between the
    middles of two hours the rate is taken to move in a line, so at the end of the hour plus the lead it is
    ``rate + (next - rate) (1/2 + lead / 1 h)``; the larger of this and the hour's own rate is multiplied by the burst.

    Args:
        rates: ``[resample, hour]`` requests per second, mean of the hour.
        peaks: busiest minutes of the hour over its mean.
        lead_seconds: from a need to a replica that serves.
    """
    share = min(1.0, 1 / 2 + lead_seconds / SECONDS_PER_HOUR)
    ahead = np.diff(rates, axis=1, append=rates[:, -1:])
    ahead *= share
    np.maximum(ahead, 0.0, out=ahead)
    ahead += rates
    ahead *= peaks
    return ahead


@dataclass(slots=True)
class Needs:
    """What services need of each pool, added up service by service.

    Attributes:
        whole: GPUs by pool, ``[resample, hour]``; a replica takes so many units that it fits whole on its nodes.
    """

    pools: Mapping[str, PoolSpec]
    nodes: Mapping[str, Nodes]
    whole: dict[str, Ints]

    @classmethod
    def none(cls, pools: Sequence[PoolSpec], nodes: Mapping[str, Nodes], shape: tuple[int, int]) -> Needs:
        """Of no service."""
        return cls(
            {pool.name: pool for pool in pools},
            nodes,
            {pool.name: np.zeros(shape, dtype=np.int64) for pool in pools},
        )

    def add(self, service: ServiceSpec, replicas: Sequence[Replica], rates: Floats) -> Ints:
        """One service at these rates.

        Returns:
            Replicas by variant, the most of any future and hour.
        """
        least = [replica.variant.min_replicas for replica in replicas]
        stairs = staircase(replicas, float(rates.max()), least, service.min_replicas)
        steps = stairs.steps(rates)
        for pool in {replica.pool.name for replica in replicas}:
            units = np.array([self._units(r) if r.pool.name == pool else 0 for r in replicas])
            self.whole[pool] += (stairs.counts @ units)[steps]
        used = np.flatnonzero(np.bincount(steps.ravel()))
        most: Ints = stairs.counts[used].max(axis=0)
        return most

    def _units(self, replica: Replica) -> int:
        """GPUs that a replica keeps others from using: on nodes that it does not divide, some stay empty."""
        size = self.nodes.get(replica.pool.name, Nodes()).gpus_per_node
        if size is None:
            return replica.gpus
        if replica.gpus > size:
            return -(-replica.gpus // size) * size
        return size // (size // replica.gpus)

    def futures(self, start_s: int) -> tuple[PoolFutures, ...]:
        """What purchasing gets."""
        return tuple(self._pool(name, pool, start_s) for name, pool in self.pools.items())

    def _pool(self, name: str, pool: PoolSpec, start_s: int) -> PoolFutures:
        told = self.nodes.get(name, Nodes())
        gpus, size = self.whole[name], told.gpus_per_node or 1
        if pool.billing is Billing.PER_NODE:
            gpus = -(-gpus // size) * size
        existing = pool.capacity_gpus if told.existing is None else told.existing
        return PoolFutures(pool, gpus, start_s, size, existing)
