"""What sizing hands to purchasing: the GPUs that each jointly resampled future needs, by pool and hour.

`pertoken.capacity.gpus` makes them out of the demand of all services, `pertoken.capacity.purchase` buys for them. One
row of every pool is one and the same future: what peaks together in one row is needed together, so sums and maxima over
pools are formed row by row and only then turned into quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.domain.pool import PoolSpec
from pertoken.units import PER_CENT, SECONDS_PER_HOUR

MEDIAN = 50


class FuturesError(ValueError):
    """Futures that do not belong together; the message says which pool and why."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolFutures:
    """GPUs that one pool needs.

    Attributes:
        pool: as accepted from its manifest: name, accelerator, price, billing, committed GPUs, provisioning time.
        gpus: ``[resample, hour]``, integers, in units of the pool's resource (`pool.resource_name`), as the operator
            counts them: one costs ``pool.price_per_gpu_hour * pool.gpu_fraction`` USD an hour. The most that is needed
            at any time of the hour, start-ups and the burst inside the hour included; where the pool is billed by
            the node, a multiple of `gpus_per_node`. Never negative. Not bounded by what exists.
        start_s: begin of hour 0, Unix seconds, UTC, a whole hour.
        gpus_per_node: units of the resource on one node; 1 where nobody says how large the nodes are.
        existing: GPUs of the pool today: fixed capacity or what nodes were counted to have, `max_gpus` not applied;
            None where it is not known.
        again: how many of the last rows are no forecasts but past weeks that come again: they weigh in what things
            cost, and not in what suffices at the plan's confidence.
    """

    pool: PoolSpec
    gpus: NDArray[np.int64]
    start_s: int
    gpus_per_node: int = 1
    existing: int | None = None
    again: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no count of GPUs.

        Raises:
            FuturesError: the array has not two dimensions, no cell, or a negative one; no row is a forecast; or the
                start is no whole hour.
        """
        if self.gpus.ndim != 2 or self.gpus.size == 0:
            raise FuturesError(f"pool {self.name}: GPUs of shape {self.gpus.shape}; expected resamples by hours")
        if int(self.gpus.min()) < 0:
            raise FuturesError(f"pool {self.name}: {int(self.gpus.min())} GPUs; expected 0 or more")
        if self.start_s % SECONDS_PER_HOUR:
            raise FuturesError(f"pool {self.name}: start {self.start_s} s; expected a whole hour")
        if not 0 <= self.again < len(self.gpus):
            raise FuturesError(f"pool {self.name}: {self.again} rows of the past; expected fewer than {len(self.gpus)}")
        if self.gpus_per_node < 1:
            raise FuturesError(f"pool {self.name}: {self.gpus_per_node} GPUs per node; expected 1 or more")

    @property
    def name(self) -> str:
        """Of the pool."""
        return self.pool.name

    @property
    def accelerator(self) -> str:
        """GPU of the pool, by catalog id."""
        return self.pool.accelerator

    @property
    def resamples(self) -> int:
        """How many futures."""
        return int(self.gpus.shape[0])

    @property
    def hours(self) -> int:
        """How many hours."""
        return int(self.gpus.shape[1])

    def quantile(self, per_cent: float) -> NDArray[np.int64]:
        """GPUs by hour that `per_cent` of the futures do not exceed in that hour: one of the counts, never between."""
        return self.sufficient(self.gpus, per_cent)

    def sufficient(self, counts: NDArray[np.int64], per_cent: float) -> NDArray[np.int64]:
        """The same of other ``[resample, hour]`` counts with the rows of this pool: of its forecasts alone."""
        drawn = counts[: len(counts) - self.again]
        return np.quantile(drawn, per_cent / PER_CENT, axis=0, method="inverted_cdf").astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Futures:
    """The pools of one plan over the same futures.

    Attributes:
        pools: each over the same resamples, hours and start; may be empty of demand, never missing.
        horizon_hours: hours of every array.
        confidence: per cent of the futures for which the plan shall suffice, above 50 and below 100; 90 by default.
    """

    pools: tuple[PoolFutures, ...]
    horizon_hours: int
    confidence: float = 90.0

    def __post_init__(self) -> None:
        """Refuse pools that do not belong together.

        Raises:
            FuturesError: no pool, or pools differ in resamples, hours or start; or the confidence is no such share.
        """
        if not MEDIAN < self.confidence < PER_CENT:
            raise FuturesError(f"confidence {self.confidence:g}: expected above 50 and below 100 (per cent)")
        if not self.pools:
            raise FuturesError("no pool")
        first = self.pools[0]
        for pool in self.pools:
            if (pool.gpus.shape, pool.start_s) != (first.gpus.shape, first.start_s):
                raise FuturesError(f"pool {pool.name}: other resamples, hours or start than pool {first.name}")
        if first.hours != self.horizon_hours:
            raise FuturesError(f"{first.hours} hours of GPUs for a horizon of {self.horizon_hours} hours")

    @property
    def resamples(self) -> int:
        """How many futures."""
        return self.pools[0].resamples

    @property
    def start_s(self) -> int:
        """Begin of hour 0, Unix seconds, UTC."""
        return self.pools[0].start_s

    def pool(self, name: str) -> PoolFutures | None:
        """The pool of this name; None for none."""
        return next((pool for pool in self.pools if pool.name == name), None)
