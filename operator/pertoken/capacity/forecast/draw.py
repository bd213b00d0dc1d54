"""Which misses of the past each future repeats: the same for all services, so that what peaks together stays together.

A future is made of blocks (a week; a day while the history is short). Each block repeats the misses that one back-test
origin made at the same leads, for every service at once. Where no back-test reaches that far, the leads of the last
block that one reached stand in. What a service's own past cannot tell, being short, is a miss that is common to all
services: the careful assumption, since it makes their peaks fall together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.backtest import Origins
from pertoken.capacity.forecast.days import WEEK
from pertoken.capacity.forecast.misses import LEVELS, SCORES, bounded, restored, span_of
from pertoken.capacity.forecast.outlook import Outlook
from pertoken.capacity.tuning import FUTURES, SPANS
from pertoken.units import HOURS_PER_DAY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Scores are looked up among so many: nearer to each other than a future's demand tells.
_FINE: Final = np.linspace(SCORES[0], SCORES[-1], FUTURES.fine_scores)


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What all services repeat.

    Attributes:
        origin: ``[resample, hour]`` index of the back-test origin; all -1 without back-tests.
        lead: ``[hour]`` lead of it whose miss is repeated.
        common: ``[resample, hour]`` standard normal score that is common to all services.
        own: ``[hour]`` share of the variance of a score that is the origin's.
        source: ``[resample, hour]`` index of the history's hour that is repeated; None without back-tests.
    """

    origin: Ints
    lead: Ints
    common: Floats
    own: Floats
    source: Ints | None

    @property
    def resamples(self) -> int:
        """How many futures."""
        return int(self.common.shape[0])


def draw(origins: Origins, resamples: int, seed: int) -> Draws:
    """Draw what futures repeat. Equal arguments give equal draws."""
    generator = np.random.default_rng(seed)
    hours = origins.horizon
    long = origins.length >= FUTURES.least_weeks * WEEK
    block = (FUTURES.block_days if long else 1) * HOURS_PER_DAY
    starts = np.array(origins.hours, dtype=np.int64)
    origin = np.full((resamples, hours), -1, dtype=np.int64)
    lead, own = np.zeros(hours, dtype=np.int64), np.zeros(hours)
    reached = origins.length - starts  # hours that each origin can be compared over
    last = int(reached.max(initial=0)) // block
    if last == 0:
        return Draws(origin, lead, _common(generator, resamples, hours), own, None)
    for begin in range(0, hours, block):
        end = min(begin + block, hours)
        source = min(begin // block, last - 1)
        usable = np.flatnonzero(reached >= (source + 1) * block)
        origin[:, begin:end] = generator.choice(usable, size=resamples)[:, None]
        lead[begin:end] = source * block + np.arange(end - begin)
        own[begin:end] = len(usable) / (len(usable) + FUTURES.own_weight)
    return Draws(origin, lead, _common(generator, resamples, hours), own, starts[origin] + lead)


def _common(generator: np.random.Generator, resamples: int, hours: int) -> Floats:
    """One score a day, correlated from day to day."""
    days = -(-hours // HOURS_PER_DAY)
    fresh = generator.standard_normal((resamples, days))
    memory = FUTURES.day_memory
    for day in range(1, days):
        fresh[:, day] = memory * fresh[:, day - 1] + np.sqrt(1.0 - memory * memory) * fresh[:, day]
    return np.repeat(fresh, HOURS_PER_DAY, axis=1)[:, :hours]


def futures_of(outlook: Outlook, draws: Draws) -> Floats:
    """``[resample, hour]``: the demand of one service in every future, in the unit of its history."""
    score = _combined(_scores(outlook), draws) if draws.source is not None else draws.common
    places = _places(score)
    miss = np.empty(score.shape)
    for table, (begin, end) in zip(outlook.misses.table, pairwise((0, *SPANS, score.shape[1])), strict=True):
        if begin < end:
            miss[:, begin:end] = np.interp(_FINE, SCORES, table)[places[:, begin:end]]
    values = bounded(
        restored(miss, outlook.forecast, outlook.usual),
        outlook.forecast,
        np.interp(_FINE, SCORES, outlook.ceiling)[places],
    )
    return np.minimum(values, outlook.most, out=values)


def _places(score: Floats) -> Ints:
    """Index of the nearest of the `_FINE` scores; scores beyond them are like the last."""
    place: Floats = score - _FINE[0]
    place *= (FUTURES.fine_scores - 1) / (_FINE[-1] - _FINE[0])
    np.rint(place, out=place)
    np.clip(place, 0, FUTURES.fine_scores - 1, out=place)
    places: Ints = place.astype(np.int64)
    return places


def _combined(scores: Floats, draws: Draws) -> Floats:
    """The repeated score and the common one, weighed by how much the service's own past tells."""
    gaps = bool(np.isnan(scores[:, np.unique(draws.lead)]).any())
    repeated = scores[draws.origin, draws.lead]
    if not gaps:
        repeated *= np.sqrt(draws.own)
        repeated += np.sqrt(1.0 - draws.own) * draws.common
        return repeated
    own = np.where(np.isfinite(repeated), draws.own, 0.0)
    return np.asarray(np.sqrt(own) * np.nan_to_num(repeated) + np.sqrt(1.0 - own) * draws.common)


def _scores(outlook: Outlook) -> Floats:
    """``[origin, lead]``: each miss as a standard normal score among those of its span."""
    scores = np.full(outlook.miss.shape, np.nan)
    spans = span_of(outlook.miss.shape[1])
    for span in range(len(outlook.misses.table)):
        part = outlook.miss[:, spans == span]
        known = part[np.isfinite(part)]
        if len(known):
            ranks = np.searchsorted(np.sort(known), part, side="right") - 1 / 2
            scores[:, spans == span] = np.where(
                np.isfinite(part), np.interp(ranks / len(known), LEVELS, SCORES), np.nan
            )
    return scores
