"""ARIMA(p, d, q) point forecasts, fitted by Hannan and Rissanen's two regressions.

Source: E. J. Hannan, J. Rissanen, "Recursive estimation of mixed autoregressive-moving average order", Biometrika 69
(1982). A long autoregression yields residuals; a second regression on lags of series and residuals yields both parts.
Peers use maximum likelihood (statsmodels, pmdarima); the order is theirs, the estimator is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]
RIDGE = 1e-6  # keeps the regressions solvable on flat series, relative to the series' own power
BOUND = 10.0  # forecasts beyond this multiple of the largest value seen are not believed


def least_points(order: tuple[int, int, int]) -> int:
    """Samples below which no fit is tried."""
    p, d, q = order
    return d + 2 * (p + q) + 8


def forecast(series: Sequence[float], order: tuple[int, int, int], steps: int) -> list[float]:
    """The next `steps` values of a non-negative series.

    Falls back to the last value when the series is too short or the fit explodes.

    Raises:
        ValueError: the series is empty or an order is negative.
    """
    values = np.asarray(series, dtype=np.float64)
    p, d, q = order
    if values.size == 0 or min(order) < 0:
        raise ValueError(f"series of {values.size} points, order {order}: need a point and orders >= 0")
    last = [float(values[-1])] * steps
    if values.size < least_points(order) or float(np.ptp(values)) == 0.0:
        return last
    differenced: Series = np.asarray(np.diff(values, d) if d else values, dtype=np.float64)
    mean = 0.0 if d else float(differenced.mean())
    centred: Series = np.asarray(differenced - mean, dtype=np.float64)
    fitted = _fit(centred, p, q)
    if fitted is None:
        return last
    path: Series = np.asarray(_extend(centred, fitted, steps) + mean, dtype=np.float64)
    for level in range(d - 1, -1, -1):
        base = np.diff(values, level) if level else values
        path = np.asarray(base[-1] + np.cumsum(path), dtype=np.float64)
    top = BOUND * float(values.max())
    if not np.all(np.isfinite(path)) or float(np.abs(path).max()) > top:
        return last
    return [max(0.0, float(value)) for value in path]


def _lags(values: Series, count: int, start: int) -> Series:
    """Columns ``values[t-1] … values[t-count]`` for t from `start` on."""
    if count == 0:
        return np.empty((values.size - start, 0))
    return np.column_stack([values[start - lag : values.size - lag] for lag in range(1, count + 1)])


def _solve(design: Series, target: Series) -> Series:
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += RIDGE * (float(np.trace(gram)) / max(len(gram), 1) + RIDGE)
    return np.asarray(np.linalg.solve(gram, design.T @ target), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Coefficients of the autoregressive and of the moving-average part, and the residuals of the fit."""

    autoregressive: Series
    moving_average: Series
    residuals: Series


def _fit(values: Series, p: int, q: int) -> _Fitted | None:
    """The least-squares fit (Hannan-Rissanen); None when there are too few points."""
    if q == 0:
        if p == 0:
            return _Fitted(np.empty(0), np.empty(0), values)
        phi = _solve(_lags(values, p, p), values[p:])
        return _Fitted(phi, np.empty(0), values)
    long = min(max(p, q) + 4, values.size // 3)
    if long < 1 or values.size - long <= p + q:
        return None
    first = _solve(_lags(values, long, long), values[long:])
    residuals = np.zeros_like(values)
    residuals[long:] = values[long:] - _lags(values, long, long) @ first
    start = long + q
    if values.size - start <= p + q:
        return None
    design = np.hstack((_lags(values, p, start), _lags(residuals, q, start)))
    both = _solve(design, values[start:])
    return _Fitted(both[:p], both[p:], residuals)


def _extend(values: Series, fitted: _Fitted, steps: int) -> Series:
    path, noise = list(values), list(fitted.residuals)
    for _ in range(steps):
        value = sum(float(c) * path[-lag] for lag, c in enumerate(fitted.autoregressive, 1))
        value += sum(float(c) * noise[-lag] for lag, c in enumerate(fitted.moving_average, 1))
        path.append(value)
        noise.append(0.0)
    return np.array(path[values.size :])


CANDIDATES = (
    (0, 0, 0),
    (1, 0, 0),
    (2, 0, 0),
    (1, 0, 1),
    (0, 1, 0),
    (1, 1, 0),
    (0, 1, 1),
    (1, 1, 1),
    (2, 1, 0),
    (2, 1, 1),
)


def best_order(series: Sequence[float]) -> tuple[int, int, int]:
    """The order of `CANDIDATES` with the least one-step squared error plus AIC's penalty, (0, 1, 0) of short series."""
    values = np.asarray(series, dtype=np.float64)
    best, least = (0, 1, 0), float("inf")
    for order in CANDIDATES:
        p, d, q = order
        if values.size < least_points(order):
            continue
        differenced = np.diff(values, d) if d else values - values.mean()
        fitted = _fit(differenced, p, q)
        if fitted is None:
            continue
        start = max(p, q, 1) + (max(p, q) + 4 if q else 0)
        guess = _lags(differenced, p, start) @ fitted.autoregressive
        guess += _lags(fitted.residuals, q, start) @ fitted.moving_average
        errors = differenced[start:] - guess
        if errors.size == 0:
            continue
        variance = float(errors @ errors) / errors.size + 1e-12
        score = errors.size * log(variance) + 2 * (p + q + (d == 0))
        score *= values.size / errors.size  # orders lose unlike numbers of points
        if isfinite(score) and score < least:
            best, least = order, score
    return best
