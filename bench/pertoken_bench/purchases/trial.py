"""One trial: what to reserve is decided on the past of a series, and what then came is paid.

The decision sees what `pertoken plan` sees: jointly resampled futures of the product's forecast, and the last weeks
coming again. A GPU carries the same number of requests an hour throughout: GPUs are requests divided by it, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.again import come_again, source_hours, to_buy_for
from pertoken.capacity.forecast.backtest import origins_of
from pertoken.capacity.forecast.draw import draw, futures_of
from pertoken.capacity.forecast.outlook import outlook_of
from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.bill import bill_of
from pertoken.capacity.purchase.need import Need, need_of
from pertoken.capacity.purchase.optimize import Bought, least_cost
from pertoken.capacity.purchase.options import OnDemand, PoolOptions, Reserved
from pertoken.domain.pool import PoolSpec
from pertoken.units import HOURS_PER_DAY

Floats = NDArray[np.float64]
POOL: Final = PoolSpec("pool", "h100-sxm")
FUTURES: Final = 200
ORIGINS: Final = 28
CONFIDENCE: Final = 90.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What a decision sees of demand, ``[row, hour]`` each."""

    futures: Floats
    again: Floats
    past: Floats


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was paid, as a multiple of the least that could have been paid.

    Attributes:
        reserved: GPUs, by the plan; `hindsight` those that turned out best.
        plan, forecast_alone, past_alone: decided on both, on futures, on the last weeks.
        on_demand: nothing reserved.
        peak: the highest past hour reserved.
    """

    gpus: int
    ratio: float
    reserved: int
    hindsight: int
    plan: float
    forecast_alone: float
    past_alone: float
    on_demand: float
    peak: float


def sight_of(past: Floats, hours: int) -> Sight | None:
    """Futures and the past's return; None where the forecast cannot be made."""
    origins = origins_of(len(past), hours, ORIGINS)
    outlook = outlook_of(past, origins)
    if outlook is None:
        return None
    futures = futures_of(outlook, draw(origins, FUTURES, 0))
    if not np.isfinite(futures).all():
        return None
    return Sight(futures, come_again(past, source_hours(len(past), hours)), past[None, :])


def trial(sight: Sight, came: Floats, mean_gpus: int, ratio: float) -> Outcome:
    """Decide for one size of fleet and one price of a reservation, and pay.

    Args:
        sight: what is seen when deciding.
        came: requests by the hour that then came; the term is as long.
        mean_gpus: GPUs that the mean hour of the past needs.
        ratio: reserved price over on-demand price.
    """
    per_gpu = float(sight.past.mean()) / mean_gpus
    futures, again, real = (_pool(rows, per_gpu) for rows in (sight.futures, sight.again, came[None, :]))
    hours = real.hours
    both = to_buy_for(Futures((futures,), hours), Futures((again,), hours)).pools[0]
    offer = PoolOptions("pool", OnDemand(Decimal(1)), (Reserved("r", Decimal(str(ratio)), hours // HOURS_PER_DAY),))
    paid = need_of(real, offer)
    best = least_cost(paid, CONFIDENCE)
    least = _usd(paid, best)
    decided = least_cost(need_of(both, offer), CONFIDENCE)
    peak = int(np.ceil(sight.past.max() / per_gpu))
    nothing = _usd(paid, ())
    return Outcome(
        gpus=mean_gpus,
        ratio=ratio,
        reserved=_first(decided),
        hindsight=_first(best),
        plan=_usd(paid, decided) / least,
        forecast_alone=_usd(paid, least_cost(need_of(futures, offer), CONFIDENCE)) / least,
        past_alone=_usd(paid, least_cost(need_of(again, offer), CONFIDENCE)) / least,
        on_demand=nothing / least,
        peak=(peak * ratio * hours + float(np.maximum(paid.nodes - peak, 0).sum())) / least,
    )


def _pool(rows: Floats, per_gpu: float) -> PoolFutures:
    return PoolFutures(POOL, np.ceil(rows / per_gpu).astype(np.int64), 0)


def _usd(need: Need, bought: tuple[Bought, ...]) -> float:
    return float(bill_of(need, bought).usd.sum())


def _first(bought: tuple[Bought, ...]) -> int:
    """GPUs reserved from the first hour on."""
    return sum(entry.nodes for entry in bought if entry.order.begin == 0)
