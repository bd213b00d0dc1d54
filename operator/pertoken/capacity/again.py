"""The last weeks as they were, coming again: what purchases weigh beside the futures.

A reservation pays or not by how many hours of its whole term need it. For that the hours of the last weeks are as good
a witness as a forecast, whose futures spread the wider the worse demand can be foretold; a mean of both beats either
(forecasts are combined: J. M. Bates, C. W. J. Granger, *The Combination of Forecasts*, OR Quarterly 20(4), 1969).
`docs/purchase.md` has what it is worth. What suffices at the plan's confidence is asked of the futures alone
(`PoolFutures.sufficient`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.tuning import AGAIN
from pertoken.units import HOURS_PER_DAY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DAYS_PER_WEEK = 7


def source_hours(history_hours: int, horizon_hours: int) -> Ints:
    """``[row, hour]`` index of the hour of the history that comes again in each hour of the horizon.

    Each row begins with another of the last weeks and goes round through all of them, so that days of the week stay
    what they are; with less than a week, days do. The horizon begins where the history ends.
    """
    week = DAYS_PER_WEEK * HOURS_PER_DAY
    block = next((size for size in (week, HOURS_PER_DAY) if history_hours >= size), history_hours)
    rows = min(history_hours // block, AGAIN.most_weeks)
    span = rows * block
    offsets = np.arange(rows)[:, None] * block + np.arange(horizon_hours)[None, :]
    return history_hours - span + offsets % span


def come_again(values: Floats, sources: Ints) -> Floats:
    """``[row, hour]``: the history's values in their new order; unknown hours are like the mean of the rest."""
    known = values[np.isfinite(values)]
    usual = float(known.mean()) if len(known) else 0.0
    filled: Floats = np.where(np.isfinite(values), values, usual)[sources]
    return filled


def to_buy_for(futures: Futures, past: Futures) -> Futures:
    """Futures and the past that comes again, each with its weight; pools as in the futures."""
    share = AGAIN.share
    rows = max(1, round(futures.resamples * share / (1.0 - share)))
    chosen = np.arange(rows) % past.resamples
    pools = tuple(_both(pool, again, chosen) for pool, again in zip(futures.pools, past.pools, strict=True))
    return replace(futures, pools=pools)


def _both(futures: PoolFutures, past: PoolFutures, rows: Ints) -> PoolFutures:
    return replace(futures, gpus=np.concatenate([futures.gpus, past.gpus[rows]]), again=len(rows))
