"""What each further reserved node would save, level by level: the load-duration curve of a period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.purchase.need import Need
from pertoken.capacity.purchase.orders import Period
from pertoken.capacity.purchase.tuning import TUNING

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Levels of one period, from the lowest node up.

    Attributes:
        width: nodes of each level.
        usd_per_hour: expected saving of one reserved node in the level, USD an hour; falls from level to level.
    """

    width: Floats
    usd_per_hour: Floats


def ladder_of(need: Need, period: Period) -> Ladder:
    """Levels of a period, whose hours after the horizon are like those of the horizon's last week.

    The k-th node saves the on-demand price in the hours that need k nodes without spot, and the price of spot in those
    that would hold it as spot: USD per hour = p·P(N - S >= k) + s·(P(N >= k) - P(N - S >= k)), with N nodes needed and
    S of them spot at most.
    """
    hours = need.futures.hours
    if period.begin >= hours:
        columns = slice(max(0, hours - TUNING.tail_hours), hours)
    else:
        columns = slice(period.begin, period.end)
    nodes = need.nodes[:, columns].ravel()
    firm = nodes - need.spot[:, columns].ravel()
    tops = np.unique(np.concatenate([nodes, firm]))
    tops = tops[tops > 0]
    width = np.diff(tops, prepend=0).astype(np.float64)
    needed, firmly = _share_at_least(nodes, tops), _share_at_least(firm, tops)
    usd = need.node_usd * firmly + need.spot_usd * (needed - firmly)
    return _coarser(width, usd)


def _share_at_least(counts: NDArray[np.int64], tops: NDArray[np.int64]) -> Floats:
    share: Floats = 1.0 - np.searchsorted(np.sort(counts), tops, side="left") / len(counts)
    return share


def _coarser(width: Floats, usd: Floats) -> Ladder:
    """At most `most_levels` levels: neighbours that save nearly the same are taken together at their mean."""
    if len(width) <= TUNING.most_levels:
        return Ladder(width, usd)
    step = np.floor(usd / usd.max() * (TUNING.most_levels - 1))
    begins = np.flatnonzero(np.diff(step, prepend=np.inf))
    together = np.add.reduceat(width, begins)
    return Ladder(together, np.add.reduceat(width * usd, begins) / together)
