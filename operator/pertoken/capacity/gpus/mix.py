"""The cheapest whole numbers of replicas that carry a rate, for every rate at once.

A service's mixes of replicas that no other beats (none carries as much for less) form a staircase: the cheapest mix for
a rate is the first step that carries it. It is built variant by variant; beyond a number of steps per variant only the
cheapest per request is added, which loses at most one replica of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.gpus.replicas import Replica
from pertoken.capacity.tuning import MIX
from pertoken.units import TINY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Staircase:
    """Mixes by what they carry.

    Attributes:
        rates: requests per second that each mix carries, ascending; the first is 0.
        costs: of each, in the unit of `Replica.order_cost`, ascending.
        counts: ``[step, variant]`` replicas.
    """

    rates: Floats
    costs: Floats
    counts: Ints

    def steps(self, rates: Floats) -> Ints:
        """Index of the cheapest mix for each rate."""
        index = np.searchsorted(self.rates, rates * (1.0 - TINY), side="left")
        return np.minimum(index, len(self.rates) - 1)


def staircase(replicas: Sequence[Replica], most: float, least: Sequence[int], total: int = 0) -> Staircase:
    """The staircase up to a rate.

    Args:
        replicas: one of each variant.
        most: requests per second that the highest step carries at least.
        least: minimum replicas of each variant.
        total: minimum of all of them together.
    """
    order = sorted(range(len(replicas)), key=lambda index: replicas[index].order_cost / replicas[index].rate)
    cheapest = order[0]
    counts = np.zeros((1, len(replicas)), dtype=np.int64)
    for index in order[1:]:
        counts = _with(counts, index, min(MIX.most_others, ceil(most / replicas[index].rate)))
        counts = _unbeaten(counts, replicas)
    counts = _with(counts, cheapest, ceil(most / replicas[cheapest].rate))
    counts = np.maximum(counts, np.array(least, dtype=np.int64))
    short = np.maximum(total - counts.sum(axis=1), 0)
    counts[:, cheapest] += short
    counts = _unbeaten(np.unique(counts, axis=0), replicas)
    rates, costs = _figures(counts, replicas)
    return Staircase(rates, costs, counts)


def _with(counts: Ints, index: int, most: int) -> Ints:
    """Every mix with 0 to `most` replicas of one variant added."""
    added = np.arange(most + 1)
    grown = np.repeat(counts, len(added), axis=0)
    grown[:, index] += np.tile(added, len(counts))
    return grown


def _figures(counts: Ints, replicas: Sequence[Replica]) -> tuple[Floats, Floats]:
    rates = counts @ np.array([replica.rate for replica in replicas])
    costs = counts @ np.array([replica.order_cost for replica in replicas])
    return rates, costs


def _unbeaten(counts: Ints, replicas: Sequence[Replica]) -> Ints:
    """Mixes of which no other carries as much for as little, by ascending rate."""
    rates, costs = _figures(counts, replicas)
    order = np.lexsort((costs, -rates))
    cheapest = np.minimum.accumulate(costs[order])
    kept = np.concatenate([[True], costs[order][1:] < cheapest[:-1] - TINY])
    unbeaten: Ints = counts[order[kept][::-1]]
    return unbeaten
