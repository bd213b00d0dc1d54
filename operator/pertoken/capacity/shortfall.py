"""When a pool's GPUs end, and until when more must be ordered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One pool against what exists, at the plan's confidence.

    Attributes:
        peak_gpus: most GPUs that are needed in any hour.
        existing_gpus: today's, within the pool's `max_gpus`; None where it is not known.
        first_shortfall_s: begin of the first hour that needs more; None when none does, or what exists is not known.
        short_gpus: GPUs missing in the worst hour.
        order_by_s: the first shortfall less the lead time.
        overdue: whether that lies before now: what is ordered now comes too late for the first hours.
        lead_seconds: from an order to GPUs that serve.
    """

    pool: str
    peak_gpus: int
    existing_gpus: int | None
    first_shortfall_s: int | None
    short_gpus: int
    order_by_s: int | None
    overdue: bool
    lead_seconds: int


def shortfalls(futures: Futures, lead_seconds: Mapping[str, int], now_s: int) -> tuple[Shortfall, ...]:
    """Every pool's shortfall.

    Args:
        futures: GPUs that are needed.
        lead_seconds: from an order to GPUs that serve, by pool; a pool that is not named takes its provisioning time.
        now_s: the present, Unix seconds.
    """
    return tuple(
        _shortfall(pool, futures.confidence, lead_seconds.get(pool.name, pool.pool.provisioning_seconds), now_s)
        for pool in futures.pools
    )


def _shortfall(futures: PoolFutures, confidence: float, lead_seconds: int, now_s: int) -> Shortfall:
    needed = futures.quantile(confidence)
    peak, existing = int(needed.max()), _existing(futures)
    short = np.zeros(0, np.int64) if existing is None else np.flatnonzero(needed > existing)
    if existing is None or not short.size:
        return Shortfall(futures.name, peak, existing, None, 0, None, overdue=False, lead_seconds=lead_seconds)
    first = futures.start_s + int(short[0]) * SECONDS_PER_HOUR
    order_by = first - lead_seconds
    return Shortfall(
        pool=futures.name,
        peak_gpus=peak,
        existing_gpus=existing,
        first_shortfall_s=first,
        short_gpus=peak - existing,
        order_by_s=order_by,
        overdue=order_by < now_s,
        lead_seconds=lead_seconds,
    )


def _existing(futures: PoolFutures) -> int | None:
    if futures.existing is None or futures.pool.max_gpus is None:
        return futures.existing
    return min(futures.existing, futures.pool.max_gpus)
