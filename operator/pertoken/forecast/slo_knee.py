"""How many requests stay within their objectives at a given load, learnt where it matters: near the knee.

A steady-state model says at which rate the percentile of a replica just meets the objective. Real traffic is no steady
state: arrivals burst inside a minute, long prompts come together, replicas differ, so the percentile is lost earlier
(or, where answers take minutes and fluctuations average out, later). Over the *utilization* (load / modelled
sustainable rate) the share of requests within the objectives is taken as

    share(u) = Phi(z + slope (1 - u / knee)),    z = standard normal quantile of the objective's percentile

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

from pertoken.forecast.tuning import KNEE, Knee
from pertoken.units import HALVINGS, PER_CENT, SECONDS_PER_MINUTE

Floats = np.ndarray[Any, np.dtype[np.float64]]

_NORMAL: Final = NormalDist()
_ERF: Final = np.frompyfunc(erf, 1, 1)


@dataclass(frozen=True, slots=True)
class SloKnee:
    """Utilization at which the percentile is just kept, and how sure that is."""

    value: float = KNEE.prior
    variance: float = KNEE.prior_deviation**2

    @property
    def rounded(self) -> float:
        """To a hundredth, so that results can be memoised and decisions do not follow noise."""
        return round(self.value, 2)


def unlearnt(tuning: Knee) -> SloKnee:
    """The knee of a service of which nothing is known yet."""
    return SloKnee(tuning.prior, tuning.prior_deviation**2)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one cycle showed.

    Attributes:
        utilization: load that the requests met, over the modelled sustainable rate.
        share: of them within all objectives.
        seconds: length of the cycle: shorter ones come more often, so each of them counts for less.
    """

    utilization: float
    share: float
    seconds: float


def learn(knee: SloKnee, seen: Kept, percentile: int, tuning: Knee = KNEE) -> SloKnee:
    """The knee after one cycle."""
    if seen.utilization < tuning.informative * knee.value:
        return knee
    low, high, minutes = tuning.least_clear, tuning.most_clear, seen.seconds / SECONDS_PER_MINUTE
    share = min(max(seen.share, low), high)
    slope = tuning.slope
    shown = seen.utilization * slope / max(slope + _z(percentile) - _NORMAL.inv_cdf(share), 1.0)
    calm = knee.value + tuning.pull * minutes * (tuning.prior - knee.value)
    if (share == high and shown < calm) or (share == low and shown > calm):
        return SloKnee(calm, knee.variance)
    gain = knee.variance / (knee.variance + tuning.shown_deviation**2 / minutes)
    value = calm + gain * min(max(shown - calm, -tuning.largest_step), tuning.largest_step)
    variance = knee.variance * (1.0 - gain) + tuning.drift_deviation**2 * minutes
    return SloKnee(min(max(value, tuning.least), tuning.most), variance)


def expected_share(utilization: Floats, percentile: int, tuning: Knee = KNEE) -> Floats:
    """Share within the objectives at utilizations that are relative to the knee."""
    deviations = (_z(percentile) + tuning.slope * (1.0 - utilization)) / sqrt(2.0)
    return (1.0 + np.asarray(_ERF(deviations), dtype=np.float64)) / 2.0


@dataclass(frozen=True, slots=True)
class Aim:
    """What capacity is for.

    Attributes:
        percentile: of requests that keep the objectives at full use of the capacity.
        share: of requests that shall keep them over all cases, below 1.
    """

    percentile: int
    share: float


def work_to_carry(cases: Sequence[tuple[float, float]], aim: Aim, tuning: Knee = KNEE) -> float:
    """Least capacity with which the aim's share of all requests is expected within the objectives.

    Args:
        cases: work per second that may be asked for, and the probability of each; busy cases hold more requests, so
            they count for more.
        aim: the share expected.
        tuning: of the share over the load.

    Returns:
        Work per second at the knee; 0 where no work is expected.
    """
    work = np.array([asked for asked, _ in cases])
    requests = work * np.array([probability for _, probability in cases])
    if not requests.sum() > 0:
        return 0.0
    requests = requests / requests.sum()
    low, high = 0.0, tuning.most_reserve * float(work.max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if float(requests @ expected_share(work / middle, aim.percentile, tuning)) < aim.share:
            low = middle
        else:
            high = middle
    return high


def _z(percentile: int) -> float:
    return _NORMAL.inv_cdf(percentile / PER_CENT)
