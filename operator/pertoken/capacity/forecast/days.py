"""Hours as days: the level of each day, what the hours of a day and the days of a week are like.

Days are blocks of 24 hours counted back from the end of the history, so that the last one is whole whenever the plan
is made. With less than two weeks of history all days are of one type: a weekend cannot be told from a quiet day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.tuning import DAYS
from pertoken.units import HOURS_PER_DAY, TINY

Floats = NDArray[np.float64]
DAYS_PER_WEEK = 7
WEEK = DAYS_PER_WEEK * HOURS_PER_DAY


@dataclass(frozen=True, slots=True, eq=False)
class DayTypes:
    """A history taken apart. Day type ``j`` is that of the day ``j`` days before the last one.

    Attributes:
        levels: sum of each day over the factor of its type, the oldest first.
        factors: of the types: a day's sum over the level; one for each, mean 1.
        shapes: ``[type, hour]`` share of a day's sum.
    """

    levels: Floats
    factors: Floats
    shapes: Floats

    def hours(self, levels: Floats, hours: int) -> Floats:
        """The hours of coming days with these levels."""
        types = (DAYS_PER_WEEK - 1 - np.arange(len(levels))) % DAYS_PER_WEEK
        path: Floats = ((levels * self.factors[types])[:, None] * self.shapes[types]).ravel()[:hours]
        return path


def day_types(values: Floats) -> DayTypes:
    """Take whole days apart, at least one; without gaps."""
    count = len(values) // HOURS_PER_DAY
    days = values[len(values) - count * HOURS_PER_DAY :].reshape(count, HOURS_PER_DAY)
    types = (count - 1 - np.arange(count)) % DAYS_PER_WEEK
    sums = days.sum(axis=1)
    factors = _factors(sums, types)
    recent = min(count, DAYS.shape_days)
    return DayTypes(sums / factors[types], factors, _shapes(days[-recent:], sums[-recent:], types[-recent:], count))


def _factors(sums: Floats, types: NDArray[np.int64]) -> Floats:
    """Median of a type's days over the mean of the week around them, drawn towards that of the weekend or the rest."""
    if len(sums) < DAYS_PER_WEEK:
        return np.ones(DAYS_PER_WEEK)
    recent = sums[-DAYS_PER_WEEK:] if len(sums) < 2 * DAYS_PER_WEEK else _by_type(sums, types)
    common = _weekend(recent)
    if len(sums) < 2 * DAYS_PER_WEEK:
        return common
    beside = DAYS_PER_WEEK // 2
    around = np.convolve(np.pad(sums, beside, mode="edge"), np.ones(DAYS_PER_WEEK) / DAYS_PER_WEEK, "valid")
    ratios = sums / np.maximum(around, TINY)
    factors = np.ones(DAYS_PER_WEEK)
    for kind in range(DAYS_PER_WEEK):
        own = ratios[types == kind]
        doubt = DAYS.type_doubt
        factors[kind] = (float(np.median(own)) * len(own) + doubt * common[kind]) / (len(own) + doubt)
    scaled: Floats = np.maximum(factors / factors.mean(), TINY)
    return scaled


def _by_type(sums: Floats, types: NDArray[np.int64]) -> Floats:
    """Median of each type's days, in the order of a week: the oldest type first."""
    return np.array([np.median(sums[types == kind]) for kind in range(DAYS_PER_WEEK - 1, -1, -1)])


def _weekend(week: Floats) -> Floats:
    """Factors by type of the two neighbouring days that differ from the other five, 1 where no two clearly do.

    No calendar is asked: histories may have a clock of their own, and weekends differ from country to country.
    """
    factors = np.ones(DAYS_PER_WEEK)
    best = DAYS.weekend_contrast
    for first in range(DAYS_PER_WEEK):
        pair = np.array([first, (first + 1) % DAYS_PER_WEEK])
        rest = np.delete(week, pair)
        spread = max(float(np.ptp(rest)), float(np.ptp(week[pair])), TINY)
        contrast = abs(float(week[pair].mean() - rest.mean())) / spread
        if contrast > best:
            best = contrast
            factors = np.ones(DAYS_PER_WEEK)
            factors[pair] = max(float(week[pair].mean()) / max(float(rest.mean()), TINY), TINY)
    by_type = factors[::-1]  # the last day of the week is type 0
    scaled: Floats = by_type / by_type.mean()
    return scaled


def _shapes(days: Floats, sums: Floats, types: NDArray[np.int64], count: int) -> Floats:
    shares = days / np.maximum(sums[:, None], TINY)
    usual = max(float(np.median(sums)), TINY)
    ages = np.arange(len(days))[::-1]
    weights = np.maximum(np.minimum(sums / usual, 1.0), TINY) * DAYS.shape_memory**ages
    every = np.average(shares, axis=0, weights=weights)
    shapes = np.tile(every, (DAYS_PER_WEEK, 1))
    if count >= 2 * DAYS_PER_WEEK:
        for kind in range(DAYS_PER_WEEK):
            own = shares[types == kind]
            shapes[kind] = (own.sum(axis=0) + every * DAYS.shape_doubt) / (len(own) + DAYS.shape_doubt)
    totals = shapes.sum(axis=1, keepdims=True)
    even: Floats = np.where(totals > TINY, shapes / np.maximum(totals, TINY), 1.0 / HOURS_PER_DAY)
    return even


def filled(values: Floats) -> Floats:
    """Gaps filled for the models alone: mean of the known hours a week, else a day apart, else of all.

    What was filled never counts as an observation: back-tests compare with the told hours only.
    """
    known = np.isfinite(values)
    if known.all():
        return values
    result = values.copy()
    for period in (WEEK, HOURS_PER_DAY):
        missing = np.flatnonzero(~np.isfinite(result))
        if not len(missing):
            return result
        phases = np.arange(len(values)) % period
        sums = np.bincount(phases[known], weights=values[known], minlength=period)
        counts = np.bincount(phases[known], minlength=period)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[missing] = (sums / counts)[phases[missing]]
    result[~np.isfinite(result)] = float(values[known].mean()) if known.any() else 0.0
    return result
