"""Point forecasts of one service by the hour. Every model is a function of the hours so far, gaps filled.

Three of them work on whole days (`pertoken.capacity.forecast.days`): the level of the days by a model of the library,
spread over the hours by day types. `combined` is the median of all, hour by hour, which on most services is better than
any single one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.days import DAYS_PER_WEEK, WEEK, DayTypes, day_types
from pertoken.capacity.forecast.library import seasonal_smoothing, smoothing, theta
from pertoken.capacity.tuning import DAYS
from pertoken.units import HOURS_PER_DAY

Floats = NDArray[np.float64]
NAIVE: Final = "seasonal naive"
COMBINED: Final = "combined"


def seasonal_naive(values: Floats, hours: int) -> Floats:
    """The same hour of the week before, or with less than a week of the day before."""
    period = WEEK if len(values) >= WEEK else HOURS_PER_DAY
    return np.resize(values[-period:], hours)


def _seasonal_smoothing(values: Floats, hours: int) -> Floats:
    period = WEEK if len(values) >= 2 * WEEK else HOURS_PER_DAY
    return seasonal_smoothing(values, period, hours)


Level = Callable[[Floats, int], Floats]


def _by_days(level: Level) -> Callable[[DayTypes, int], Floats]:
    def path(types: DayTypes, hours: int) -> Floats:
        days = -(-hours // HOURS_PER_DAY)
        recent = types.levels[-DAYS.level_days :]
        levels = level(recent, days) if len(recent) >= DAYS.least_levels else np.full(days, recent.mean())
        most = DAYS.most_growth * float(recent.max())
        return types.hours(np.clip(levels, 0.0, most), hours)

    return path


def _mean_of(days: int) -> Level:
    return lambda levels, steps: np.full(steps, levels[-days:].mean())


def _median_of(days: int) -> Level:
    return lambda levels, steps: np.full(steps, np.median(levels[-days:]))


_DAILY: Final[Mapping[str, Callable[[DayTypes, int], Floats]]] = {
    "smoothed days": _by_days(smoothing),
    "theta of days": _by_days(theta),
    "mean of four weeks": _by_days(_mean_of(4 * DAYS_PER_WEEK)),
    "median of a week": _by_days(_median_of(DAYS_PER_WEEK)),
}
_HOURLY: Final[Mapping[str, Callable[[Floats, int], Floats]]] = {
    NAIVE: seasonal_naive,
    "seasonal smoothing": _seasonal_smoothing,
}
MODELS: Final = (*_HOURLY, *_DAILY, COMBINED)


def forecasts(values: Floats, hours: int) -> Floats:
    """``[model, hour]`` of all `MODELS`; never negative.

    Args:
        values: hours so far, without gaps, a day of them or more.
        hours: to forecast.
    """
    types = day_types(values)
    single = [model(values, hours) for model in _HOURLY.values()]
    single += [model(types, hours) for model in _DAILY.values()]
    paths = np.maximum(np.stack(single), 0.0)
    return np.vstack([paths, np.median(paths, axis=0)])
