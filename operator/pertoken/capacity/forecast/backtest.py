"""Rolling-origin back-tests: what the plan would have said on days of the past, and what then came.

Origins are whole days before the end of the history, the same for all services, so that misses of one origin belong
together. What was forecast at an origin rests on hours before it alone: the model is chosen, and its P90 formed, from
misses that were known by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.days import filled
from pertoken.capacity.forecast.models import COMBINED, MODELS, NAIVE, forecasts
from pertoken.capacity.tuning import BACKTEST, SPANS
from pertoken.units import HOURS_PER_DAY, TINY

Floats = NDArray[np.float64]


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
        errors: ``[origin, model, lead]`` absolute errors, 0 where nothing can be compared.
        usual: mean of the four weeks before each origin.
    """

    origins: Origins
    forecast: Floats
    actual: Floats
    errors: Floats
    usual: Floats

    def chosen(self, until: int | None = None) -> tuple[int, ...]:
        """Index of the model to use in each span of leads, by errors on hours that were known `until` then.

        The combination stands unless another is better by more than chance would make it.
        """
        known = self.known_by(self.origins.length if until is None else until)
        return tuple(self._chosen(slice(*ends), known[:, slice(*ends)]) for ends in pairwise((0, *SPANS, None)))

    def _chosen(self, leads: slice, known: NDArray[np.bool_]) -> int:
        sums = np.einsum("oml,ol->m", self.errors[:, :, leads], known.astype(np.float64))
        days = float(known.sum()) / HOURS_PER_DAY
        sums = sums + BACKTEST.choice_doubt * float(sums.mean()) / max(days, 1.0)
        best, combined = int(np.argmin(sums)), MODELS.index(COMBINED)
        return best if sums[best] < (1.0 - BACKTEST.choice_margin) * sums[combined] else combined

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
    for index, origin in enumerate(origins.hours):
        before = usable(values[:origin])
        if before is None:
            continue
        hours = min(leads, origins.length - origin)
        forecast[index, :, :hours] = forecasts(before, hours)
        actual[index, :hours] = values[origin : origin + hours]
        usual[index] = usual_of(before)
    return Tested(origins, forecast, actual, np.nan_to_num(np.abs(forecast - actual[:, None, :])), usual)


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
