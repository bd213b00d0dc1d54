"""Seasonal exponential smoothing of many series at once: each phase of the season smoothed by itself.

As `SeasonalExponentialSmoothingOptimized` of statsforecast, which takes one phase after another; back-tests smooth 168
phases at every origin of every service.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.tuning import SEASONS

Floats = NDArray[np.float64]
_GOLDEN: Final = (sqrt(5.0) - 1.0) / 2.0


def seasonal_levels(series: Sequence[Floats], period: int) -> list[Floats]:
    """The last season of each series, smoothed: its phases in the order in which they come next.

    Args:
        series: without gaps, a whole season or more each; what precedes the last whole season is left out.
        period: length of the season.
    """
    depth = max(len(values) // period for values in series)
    columns = np.concatenate([_columns(values, period, depth) for values in series], axis=1)
    levels = _smoothed(columns, _weights(columns))
    return np.split(levels, len(series))


def _columns(values: Floats, period: int, depth: int) -> Floats:
    """``[season, phase]``, the last one at the end; seasons before the first are like it, which adds no error."""
    seasons = len(values) // period
    rows = values[len(values) - seasons * period :].reshape(seasons, period)
    return np.concatenate([np.broadcast_to(rows[0], (depth - seasons, period)), rows])


def _smoothed(columns: Floats, weights: Floats) -> Floats:
    level: Floats = columns[0].copy()
    for row in columns[1:]:
        level += weights * (row - level)
    return level


def _errors(columns: Floats, weights: Floats) -> Floats:
    """Sum of squared errors of one step ahead, by column."""
    level: Floats = columns[0].copy()
    total = np.zeros(columns.shape[1])
    for row in columns[1:]:
        error = row - level
        total += error * error
        error *= weights
        level += error
    return total


def _weights(columns: Floats) -> Floats:
    """Weight of the newest value with the least squared error, by column: golden-section search."""
    low, high = (np.full(columns.shape[1], bound) for bound in (SEASONS.least_weight, SEASONS.most_weight))
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    inner_errors, outer_errors = _errors(columns, inner), _errors(columns, outer)
    flat = inner_errors == outer_errors  # two seasons: the one step ahead misses by the same, whatever the weight
    while float(high[0] - low[0]) > SEASONS.tolerance:
        left = inner_errors < outer_errors
        low, high = np.where(left, low, inner), np.where(left, outer, high)
        kept, kept_errors = np.where(left, inner, outer), np.where(left, inner_errors, outer_errors)
        tried = low + high - kept
        tried_errors = _errors(columns, tried)
        inner, outer = np.where(left, tried, kept), np.where(left, kept, tried)
        inner_errors = np.where(left, tried_errors, kept_errors)
        outer_errors = np.where(left, kept_errors, tried_errors)
    return np.where(flat, (SEASONS.least_weight + SEASONS.most_weight) / 2, (low + high) / 2)
