"""How many requests stay within their objectives at a given load, learnt where it matters: near the knee.

A steady-state model says at which rate the percentile of a replica just meets the objective. Real traffic is no steady
state: arrivals burst inside a minute, long prompts come together, replicas differ, so the percentile is lost earlier
(or, where answers take minutes and fluctuations average out, later). Over the *utilization* (load / modelled
sustainable rate) the share of requests within the objectives is taken as

    share(u) = Phi(z + SLOPE (1 - u / knee)),    z = standard normal quantile of the objective's percentile

so that exactly the percentile is kept at ``u = knee``. The knee is learnt from the latency histograms, cycle by cycle,
with a scalar Kalman filter. Slope and prior are those of the Azure 2023 conversation trace on simulated fleets of 2 to
14 replicas: 95 % at 0.85 to 0.9, 80 % at 0.97, 40 % at 1.1 of the modelled rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

SLOPE: Final = 9.0
PRIOR_KNEE: Final = 0.9
PRIOR_VARIANCE: Final = 0.06**2
OBSERVED_VARIANCE: Final = 0.15**2  # of the knee that one cycle shows
DRIFT: Final = 0.005**2  # variance that a cycle adds: traffic changes its ways
PULL: Final = 0.002  # towards the prior, per observed cycle
LARGEST_STEP: Final = 0.15
BOUNDS: Final = (0.7, 1.3)
CLEAR: Final = (0.02, 0.995)  # shares beyond are only bounds of the knee
INFORMATIVE: Final = 0.6  # of the knee: below, misses do not come from load
ENOUGH_EVENTS: Final = 20.0
_ROUNDS: Final = 30
_NORMAL: Final = NormalDist()
_ERF: Final = np.frompyfunc(erf, 1, 1)


@dataclass(frozen=True, slots=True)
class SloKnee:
    """Utilization at which the percentile is just kept, and how sure that is."""

    value: float = PRIOR_KNEE
    variance: float = PRIOR_VARIANCE

    @property
    def rounded(self) -> float:
        """To a hundredth, so that results can be memoised and decisions do not follow noise."""
        return round(self.value, 2)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one cycle showed.

    Attributes:
        utilization: load that the requests met, over the modelled sustainable rate.
        share: of them within all objectives.
        events: how many they were.
    """

    utilization: float
    share: float
    events: float


def learn(knee: SloKnee, seen: Kept, percentile: int) -> SloKnee:
    """The knee after one cycle."""
    if seen.events < ENOUGH_EVENTS or seen.utilization < INFORMATIVE * knee.value:
        return knee
    low, high = CLEAR
    share = min(max(seen.share, low), high)
    shown = seen.utilization * SLOPE / max(SLOPE + _z(percentile) - _NORMAL.inv_cdf(share), 1.0)
    calm = knee.value + PULL * (PRIOR_KNEE - knee.value)
    if (share == high and shown < calm) or (share == low and shown > calm):
        return SloKnee(calm, knee.variance)
    gain = knee.variance / (knee.variance + OBSERVED_VARIANCE)
    value = calm + gain * min(max(shown - calm, -LARGEST_STEP), LARGEST_STEP)
    return SloKnee(min(max(value, BOUNDS[0]), BOUNDS[1]), knee.variance * (1.0 - gain) + DRIFT)


def expected_share(utilization: Floats, percentile: int) -> Floats:
    """Share within the objectives at utilizations that are relative to the knee."""
    deviations = (_z(percentile) + SLOPE * (1.0 - utilization)) / sqrt(2.0)
    return 0.5 + 0.5 * np.asarray(_ERF(deviations), dtype=np.float64)


def work_to_carry(cases: Sequence[tuple[float, float]], percentile: int, aim: float) -> float:
    """Least capacity with which a share `aim` of all requests is expected within the objectives.

    Args:
        cases: work per second that may be asked for, and the probability of each; busy cases hold more requests, so
            they count for more.
        percentile: kept at full use of the capacity.
        aim: expected share over all cases, below 1.

    Returns:
        Work per second at the knee; 0 where no work is expected.
    """
    work = np.array([one for one, _ in cases])
    requests = work * np.array([probability for _, probability in cases])
    if not requests.sum() > 0:
        return 0.0
    requests = requests / requests.sum()
    low, high = 0.0, 4.0 * float(work.max())
    for _ in range(_ROUNDS):
        middle = (low + high) / 2.0
        if float(requests @ expected_share(work / middle, percentile)) < aim:
            low = middle
        else:
            high = middle
    return high


def _z(percentile: int) -> float:
    return _NORMAL.inv_cdf(percentile / 100.0)
