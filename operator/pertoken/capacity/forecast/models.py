"""Point forecasts of one service by the hour. Every model is a function of the hours so far, gaps filled.

Three of them work on whole days (`pertoken.capacity.forecast.days`): the level of the days by a model of the library,
spread over the hours by day types. `combined` is the median of all, hour by hour, which on most services is better than
any single one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.days import DAYS_PER_WEEK, WEEK, DayTypes, day_types
from pertoken.capacity.forecast.library import smoothing, theta
from pertoken.capacity.forecast.seasons import seasonal_levels
from pertoken.capacity.tuning import DAYS
from pertoken.units import HOURS_PER_DAY

Floats = NDArray[np.float64]
NAIVE: Final = "seasonal naive"
COMBINED: Final = "combined"


def seasonal_naive(values: Floats, hours: int) -> Floats:
    """The same hour of the week before, or with less than a week of the day before."""
    period = WEEK if len(values) >= WEEK else HOURS_PER_DAY
    return np.resize(values[-period:], hours)


def _seasonally_smoothed(histories: Sequence[Floats]) -> list[Floats]:
    """The coming season of each by seasonal exponential smoothing: a week, of less than two weeks a day."""
    periods = [WEEK if len(values) >= 2 * WEEK else HOURS_PER_DAY for values in histories]
    seasons = [np.empty(0)] * len(histories)
    for period in set(periods):
        places = [place for place, own in enumerate(periods) if own == period]
        levels = seasonal_levels([histories[place] for place in places], period)
        for place, level in zip(places, levels, strict=True):
            seasons[place] = level
    return seasons


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
MODELS: Final = (NAIVE, "seasonal smoothing", *_DAILY, COMBINED)


def forecasts(histories: Sequence[Floats], hours: Sequence[int]) -> list[Floats]:
    """``[model, hour]`` of all `MODELS` for each history; never negative.

    Args:
        histories: hours so far, without gaps, a day of them or more.
        hours: to forecast, of each.
    """
    seasons = _seasonally_smoothed(histories)
    return [_forecasts(*each) for each in zip(histories, seasons, hours, strict=True)]


def _forecasts(values: Floats, season: Floats, hours: int) -> Floats:
    types = day_types(values)
    single = [seasonal_naive(values, hours), np.resize(season, hours)]
    single += [model(types, hours) for model in _DAILY.values()]
    paths = np.maximum(np.stack(single), 0.0)
    return np.vstack([paths, np.median(paths, axis=0)])
