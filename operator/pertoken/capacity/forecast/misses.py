"""How far forecasts miss: quantiles of what came over what was forecast, by lead, from back-tests and a prior.

A miss is ``log((came + c u) / (forecast + c u))``, with u the service's usual hour and c a small share of it, so that
hours of nearly nothing neither explode nor vanish. For each span of leads its quantiles are those of the service's own
back-tests, widened for their small number as in split conformal prediction, mixed with those of other services scaled
to how rough this one is (the prior): n origins count n, the prior counts `prior_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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
_TAPER: Final = 0.4  # from the median to P10 and P90


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


def ceiling_of(values: Floats, levels: Floats) -> Floats:
    """What hours of the history of which a half as many were higher came to: a bound of futures at these levels.

    Misses of on/off demand know by how much a burst exceeds a quiet forecast, not how seldom bursts are.
    """
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return np.zeros(len(levels))
    places = (1.0 - (1.0 - levels) * MISSES.ceiling_share) * (len(known) - 1)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, len(known) - 1)
    ceiling: Floats = known[below] + (places - below) * (known[above] - known[below])
    return ceiling


def bounded(values: Floats, forecast: Floats, ceiling: Floats | float) -> Floats:
    """No more than some times the larger of forecast and ceiling."""
    least: Floats = np.minimum(values, MISSES.most_seen * np.maximum(forecast, ceiling))
    return least


def prior_at(levels: Floats) -> Floats:
    """``[span, level]``: misses of other services in units of a service's mean absolute miss on the first day."""
    return np.array([np.interp(levels, np.array(PRIOR_LEVELS), np.array(row)) for row in PRIOR_MISSES])


def misses_of(miss: Floats, levels: Floats = LEVELS, prior: Floats | None = None) -> Misses:
    """Quantiles from back-tests.

    Args:
        miss: ``[origin, lead]``, NaN where not known.
        levels: for which quantiles are formed.
        prior: `prior_at` these levels, where it is at hand.
    """
    known = np.isfinite(miss)
    first = known[:, :HOURS_PER_DAY]
    days = int(first.any(axis=1).sum())
    weight = MISSES.scale_weight
    seen = float(np.abs(miss[:, :HOURS_PER_DAY][first]).mean()) if days else 0.0
    scale = (seen * days + MISSES.usual_scale * weight) / (days + weight)
    table = scale * (prior_at(levels) if prior is None else prior)
    own = np.zeros(len(table))
    for span, (begin, end) in enumerate(pairwise((0, *SPANS, miss.shape[1]))):
        told = known[:, begin:end]
        origins = int(told.any(axis=1).sum()) if end > begin else 0
        if not origins:
            continue
        outward = np.clip(_MIDDLE + (levels - _MIDDLE) * (1.0 + 1.0 / origins), 0.0, 1.0)
        own[span] = origins / (origins + MISSES.prior_weight)
        table[span] += own[span] * (_quantiles(miss[:, begin:end][told], outward) - table[span])
    return Misses(_centred(table, levels), own)


def _centred(table: Floats, levels: Floats) -> Floats:
    """Beyond some days the median miss is none, and less so the further a level is from it; P10 and P90 stay.

    What forecasts missed by in the middle says little of a coming week; shifted by it they were worse.
    """
    taper = np.clip(1.0 - np.abs(levels - _MIDDLE) / _TAPER, 0.0, 1.0)
    begins = np.array((0, *SPANS))
    for span in np.flatnonzero(begins >= MISSES.shifted_hours):
        middle = float(np.interp(_MIDDLE, levels, table[span]))
        table[span] = np.maximum.accumulate(table[span] - middle * taper)
    return table


def _quantiles(values: Floats, levels: Floats) -> Floats:
    """Of values between which nothing is interpolated: the nearest one."""
    ordered = np.sort(values)
    nearest: Floats = ordered[np.rint(levels * (len(ordered) - 1)).astype(np.int64)]
    return nearest
