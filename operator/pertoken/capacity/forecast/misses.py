"""How far forecasts miss: quantiles of what came over what was forecast, by lead, from back-tests and a prior.

A miss is ``log((came + c u) / (forecast + c u))``, with u the service's usual hour and c a small share of it, so that
hours of nearly nothing neither explode nor vanish. For each span of leads its quantiles are those of the service's own
back-tests, widened for their small number as in split conformal prediction, mixed with those of other services scaled
to how rough this one is (the prior): n origins count n, the prior counts `prior_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.tuning import MISSES, PRIOR_LEVELS, PRIOR_MISSES, SPANS
from pertoken.units import HOURS_PER_DAY, PER_CENT

Floats = NDArray[np.float64]
_NORMAL: Final = NormalDist()
LEVELS: Final[Floats] = np.array([0.005, 0.01, 0.02, *np.arange(0.04, 0.97, 0.03), 0.98, 0.99, 0.995])
SCORES: Final[Floats] = np.array([_NORMAL.inv_cdf(level) for level in LEVELS])
_MIDDLE: Final = 1 / 2


def span_of(leads: int) -> NDArray[np.int64]:
    """Index of the span for each lead, hours from 0."""
    return np.searchsorted(np.array(SPANS), np.arange(leads), side="right").astype(np.int64)


def transformed(values: Floats, forecast: Floats, usual: Floats | float) -> Floats:
    """The miss of each value."""
    small = MISSES.small_share * np.maximum(usual, np.finfo(np.float64).tiny)
    miss: Floats = np.log((values + small) / (forecast + small))
    return miss


def restored(miss: Floats, forecast: Floats, usual: float) -> Floats:
    """The value that misses a forecast by this much; never negative."""
    small = MISSES.small_share * usual
    value = np.exp(miss)
    value *= forecast + small
    value -= small
    restored_value: Floats = np.maximum(value, 0.0, out=value)
    return restored_value


@dataclass(frozen=True, slots=True, eq=False)
class Misses:
    """Quantiles of one service's misses.

    Attributes:
        table: ``[span, level]`` by `SPANS` and `LEVELS`.
        own: by span, the share that rests on the service's own back-tests.
    """

    table: Floats
    own: Floats

    def quantile(self, per_cent: float, leads: int) -> Floats:
        """By lead."""
        by_span = np.array([np.interp(per_cent / PER_CENT, LEVELS, row) for row in self.table])
        return by_span[span_of(leads)]


def prior_at(levels: Floats) -> Floats:
    """``[span, level]``: misses of other services in units of a service's mean absolute miss on the first day."""
    return np.array([np.interp(levels, np.array(PRIOR_LEVELS), np.array(row)) for row in PRIOR_MISSES])


def misses_of(miss: Floats, levels: Floats = LEVELS) -> Misses:
    """Quantiles from back-tests.

    Args:
        miss: ``[origin, lead]``, NaN where not known.
        levels: for which quantiles are formed.
    """
    spans = span_of(miss.shape[1]) if miss.size else np.zeros(0, np.int64)
    first = np.abs(miss[:, :HOURS_PER_DAY])
    days = int(np.isfinite(first).any(axis=1).sum())
    weight = MISSES.scale_weight
    seen = float(np.nanmean(first)) if days else 0.0
    scale = (seen * days + MISSES.usual_scale * weight) / (days + weight)
    table = scale * prior_at(levels)
    own = np.zeros(len(table))
    for span in range(len(table)):
        part = miss[:, spans == span]
        known = np.isfinite(part)
        origins = int(known.any(axis=1).sum())
        if not origins:
            continue
        outward = np.clip(_MIDDLE + (levels - _MIDDLE) * (1.0 + 1.0 / origins), 0.0, 1.0)
        own[span] = origins / (origins + MISSES.prior_weight)
        table[span] += own[span] * (_quantiles(part[known], outward) - table[span])
    return Misses(table, own)


def _quantiles(values: Floats, levels: Floats) -> Floats:
    """Of values between which nothing is interpolated: the nearest one."""
    ordered = np.sort(values)
    nearest: Floats = ordered[np.rint(levels * (len(ordered) - 1)).astype(np.int64)]
    return nearest
