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
    factors = _factors(sums)
    recent = min(count, DAYS.shape_days)
    return DayTypes(sums / factors[types], factors, _shapes(days[-recent:], sums[-recent:]))


def _factors(sums: Floats) -> Floats:
    """Median of a type's days over the mean of the week around them, drawn towards that of the weekend or the rest."""
    weeks = len(sums) // DAYS_PER_WEEK
    if not weeks:
        return np.ones(DAYS_PER_WEEK)
    recent = sums[len(sums) - weeks * DAYS_PER_WEEK :]
    common = _weekend(_by_type(recent))
    if weeks < 2:
        return np.asarray(common / common.mean())
    beside = DAYS_PER_WEEK // 2
    around = np.convolve(np.pad(sums, beside, mode="edge"), np.ones(DAYS_PER_WEEK) / DAYS_PER_WEEK, "valid")
    ratios = (sums / np.maximum(around, TINY))[-len(recent) :]
    doubt = DAYS.type_doubt
    factors = (_by_type(ratios) * weeks + doubt * common) / (weeks + doubt)
    scaled: Floats = np.maximum(factors / factors.mean(), TINY)
    return scaled


def _by_type(days: Floats) -> Floats:
    """Median of the days of each type, type 0 (that of the last day) first; whole weeks."""
    weeks = np.sort(days.reshape(-1, DAYS_PER_WEEK), axis=0)
    count = len(weeks)
    medians: Floats = (weeks[(count - 1) // 2] + weeks[count // 2])[::-1] / 2
    return medians


_PAIRS = np.array([(first, (first + 1) % DAYS_PER_WEEK) for first in range(DAYS_PER_WEEK)])
_RESTS = np.array([[day for day in range(DAYS_PER_WEEK) if day not in pair] for pair in _PAIRS.tolist()])


def _weekend(week: Floats) -> Floats:
    """Factors of the two neighbouring days that differ from the other five, all 1 where no two clearly do.

    No calendar is asked: histories may have a clock of their own, and weekends differ from country to country.
    """
    pairs, rests = week[_PAIRS], week[_RESTS]
    means, others = pairs.mean(axis=1), rests.mean(axis=1)
    spreads = np.maximum(rests.max(axis=1) - rests.min(axis=1), np.abs(pairs[:, 0] - pairs[:, 1]))
    contrasts = np.abs(means - others) / np.maximum(spreads, TINY)
    best = int(np.argmax(contrasts))
    factors = np.ones(DAYS_PER_WEEK)
    if contrasts[best] > DAYS.weekend_contrast:
        factors[_PAIRS[best]] = max(float(means[best]) / max(float(others[best]), TINY), TINY)
    return factors


def _shapes(days: Floats, sums: Floats) -> Floats:
    """``[type, hour]`` shares of a day, those of each type drawn towards those of all."""
    shares = days / np.maximum(sums[:, None], TINY)
    usual = max(float(np.median(sums)), TINY)
    weights = np.clip(sums / usual, TINY, 1.0) * DAYS.shape_memory ** np.arange(len(days) - 1, -1, -1.0)
    every = weights @ shares / weights.sum()
    weeks = len(days) // DAYS_PER_WEEK
    shapes = np.tile(every, (DAYS_PER_WEEK, 1))
    if weeks >= 2:
        own = shares[-weeks * DAYS_PER_WEEK :].reshape(weeks, DAYS_PER_WEEK, HOURS_PER_DAY).sum(axis=0)[::-1]
        shapes = (own + every * DAYS.shape_doubt) / (weeks + DAYS.shape_doubt)
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
