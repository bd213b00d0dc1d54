"""Rolling-origin back-tests: what the plan would have said on days of the past, and what then came.

Origins are whole days before the end of the history, the same for all services, so that misses of one origin belong
together. What was forecast at an origin rests on hours before it alone: the model is chosen, and its P90 formed, from
misses that were known by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.days import filled
from pertoken.capacity.forecast.models import COMBINED, MODELS, NAIVE, forecasts
from pertoken.capacity.tuning import BACKTEST, SPANS
from pertoken.units import HOURS_PER_DAY, TINY

Floats = NDArray[np.float64]
_SPAN_DAYS = tuple(span // HOURS_PER_DAY for span in SPANS)


@dataclass(frozen=True, slots=True)
class Origins:
    """When back-tests begin, the oldest first.

    Attributes:
        hours: hours of the history before each.
        length: hours of the history.
        horizon: hours that each forecasts at most.
    """

    hours: tuple[int, ...]
    length: int
    horizon: int

    @property
    def leads(self) -> int:
        """Hours of the longest back-test."""
        return min(self.horizon, self.length - self.hours[0]) if self.hours else 0


def origins_of(length: int, horizon: int, most: int) -> Origins:
    """At most `most` origins, spread over the history; all that are a whole day apart where there is room.

    Args:
        length: hours of the history.
        horizon: hours to forecast.
        most: origins that may be computed.
    """
    least = BACKTEST.least_days
    days = length // HOURS_PER_DAY - least
    back = np.arange(1, max(days, 0) + 1)
    if len(back) > most:
        back = np.unique(np.round(np.linspace(1, days, most)).astype(np.int64))
    return Origins(tuple(int(length - HOURS_PER_DAY * day) for day in back[::-1]), length, horizon)


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """What was forecast at each origin for one service, and what came; NaN where nothing was forecast, or not known.

    Attributes:
        forecast: ``[origin, model, lead]`` by `MODELS`.
        actual: ``[origin, lead]``.
        errors: ``[origin, day, model]`` sum of absolute errors before each day of leads.
        hours: ``[origin, day]`` hours that were compared before it.
        usual: mean of the four weeks before each origin.
    """

    origins: Origins
    forecast: Floats
    actual: Floats
    errors: Floats
    hours: Floats
    usual: Floats

    def chosen(self, until: int | None = None) -> tuple[int, ...]:
        """Index of the model to use in each span of leads, by errors on hours that were known `until` then.

        The combination stands unless another is better by more than chance would make it.
        """
        most = self.hours.shape[1] - 1
        passed = (self.origins.length if until is None else until) - np.array(self.origins.hours, dtype=np.int64)
        # Origins are whole days apart, so that days of leads have passed whole.
        cuts = np.minimum(np.array((0, *_SPAN_DAYS, most))[:, None], np.clip(passed // HOURS_PER_DAY, 0, most))
        origins = np.arange(len(passed))
        sums = np.diff(self.errors[origins, cuts].sum(axis=1), axis=0)
        days = np.diff(self.hours[origins, cuts].sum(axis=1)) / HOURS_PER_DAY
        sums += (BACKTEST.choice_doubt * sums.mean(axis=1) / np.maximum(days, 1.0))[:, None]
        combined = MODELS.index(COMBINED)
        best = np.argmin(sums, axis=1)
        better = sums.min(axis=1) < (1.0 - BACKTEST.choice_margin) * sums[:, combined]
        return tuple(np.where(better, best, combined).tolist())

    def of_models(self, models: Sequence[int]) -> Floats:
        """``[origin, lead]``: each span's forecasts by its own model."""
        return by_span(self.forecast, models)

    def known_by(self, until: int) -> NDArray[np.bool_]:
        """``[origin, lead]``: forecasts whose hour had passed by the hour `until` of the history."""
        starts = np.array(self.origins.hours)[:, None]
        known: NDArray[np.bool_] = (starts + np.arange(self.actual.shape[1]) < until) & self.compared
        return known

    @property
    def compared(self) -> NDArray[np.bool_]:
        """``[origin, lead]``: forecasts with something that came."""
        both: NDArray[np.bool_] = np.isfinite(self.actual) & np.isfinite(self.forecast[:, 0, :])
        return both

    def wape(self, model: int) -> float | None:
        """Sum of absolute errors over the sum of what came; None where nothing came."""
        return wape(self.forecast[:, model, :], self.actual)

    @property
    def by_model(self) -> dict[str, float | None]:
        """WAPE of every model."""
        return {name: self.wape(index) for index, name in enumerate(MODELS)}

    @property
    def naive(self) -> Floats:
        """``[origin, lead]`` of the seasonal naive forecast."""
        return self.forecast[:, MODELS.index(NAIVE), :]


def by_span(forecasts: Floats, models: Sequence[int]) -> Floats:
    """Of ``[..., model, lead]`` the model of each lead's span."""
    leads = np.arange(forecasts.shape[-1])
    spans = np.searchsorted(np.array(SPANS), leads, side="right")
    chosen: Floats = forecasts[..., np.array(models, dtype=np.int64)[spans], leads]
    return chosen


def wape(forecast: Floats, actual: Floats) -> float | None:
    """Sum of absolute errors over the sum of what came, over the hours that both have; None where nothing came."""
    both = np.isfinite(forecast) & np.isfinite(actual)
    total = float(actual[both].sum())
    return float(np.abs(forecast - actual)[both].sum()) / total if total > TINY else None


def backtest(values: Floats, origins: Origins) -> Tested:
    """Forecast a service's hours at every origin that has enough of them before it."""
    leads = origins.leads
    shape = (len(origins.hours), leads)
    forecast = np.full((shape[0], len(MODELS), leads), np.nan)
    actual, usual = np.full(shape, np.nan), np.full(shape[0], np.nan)
    known = [
        (index, origin, before)
        for index, origin in enumerate(origins.hours)
        if (before := usable(values[:origin])) is not None
    ]
    hours = [min(leads, origins.length - origin) for _, origin, _ in known]
    paths = forecasts([before for _, _, before in known], hours)
    for (index, origin, before), length, path in zip(known, hours, paths, strict=True):
        forecast[index, :, :length] = path
        actual[index, :length] = values[origin : origin + length]
        usual[index] = usual_of(before)
    errors = before_days(np.nan_to_num(np.abs(forecast - actual[:, None, :])))
    hours_known = before_days((np.isfinite(actual) & np.isfinite(forecast[:, 0, :])).astype(np.float64))
    return Tested(origins, forecast, actual, errors.swapaxes(1, 2), hours_known, usual)


def before_days(values: Floats) -> Floats:
    """``[..., day]``: the sum over the leads before each day, the end included."""
    days = -(-values.shape[-1] // HOURS_PER_DAY)
    room = [(0, 0)] * (values.ndim - 1) + [(0, days * HOURS_PER_DAY - values.shape[-1])]
    by_day = np.pad(values, room).reshape(*values.shape[:-1], days, HOURS_PER_DAY).sum(axis=-1)
    before = np.zeros((*values.shape[:-1], days + 1))
    np.cumsum(by_day, axis=-1, out=before[..., 1:])
    return before


def usable(values: Floats, least_days: int | None = None) -> Floats | None:
    """The hours from the first known one on, gaps filled; None where too few are known."""
    known = np.flatnonzero(np.isfinite(values))
    least = (BACKTEST.least_days if least_days is None else least_days) * HOURS_PER_DAY
    if len(known) < least * BACKTEST.least_known or len(values) - known[0] < least:
        return None
    return filled(values[known[0] :])


def usual_of(values: Floats) -> float:
    """Mean of the last four weeks."""
    return float(values[-BACKTEST.usual_days * HOURS_PER_DAY :].mean())


def target_days(origins: Sequence[int], known: NDArray[np.bool_]) -> int:
    """Different days of the history that known forecasts are about: what the coverage's interval rests on."""
    starts = np.array(origins, dtype=np.int64)[:, None]
    hours = (starts + np.arange(known.shape[1]))[known]
    return len(np.unique(hours // HOURS_PER_DAY))
