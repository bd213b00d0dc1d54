"""How many requests stay within their objectives at a given load, learnt where it matters: near the knee.

A steady-state model says at which rate the percentile of a replica just meets the objective. Real traffic is no steady
state: arrivals burst inside a minute, long prompts come together, replicas differ, so the percentile is lost earlier
(or, where answers take minutes and fluctuations average out, later). Over the *utilization* (load / modelled
sustainable rate) the share of requests within the objectives is taken as

    share(u) = Phi(z + slope (1 - u / knee)),    z = standard normal quantile of the objective's percentile

so that exactly the percentile is kept at ``u = knee``. Some requests miss whatever the load is: a prompt that takes
longer than the TTFT objective on an idle engine does. With their share ``a``, ``(1 - a) share(u)`` of all requests are
within the objectives. Knee and ``a`` are learnt together from the latency histograms, cycle by cycle, with an extended
Kalman filter: misses at little load cannot move the knee, because there the curve is flat, and requests that keep their
objectives beyond it raise it. Slope and prior are those of the Azure 2023 conversation trace on simulated fleets of 2
to 14 replicas: 95 % at 0.85 to 0.9, 80 % at 0.97, 40 % at 1.1 of the modelled rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import copysign, erf, pi, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from pertoken.forecast.tuning import KNEE, Knee
from pertoken.frozen import dataclass
from pertoken.units import HALVINGS, NEIGHBOURS, NEWTON_NEAR, NEWTON_STEPS, PER_CENT, SECONDS_PER_MINUTE

Floats = np.ndarray[Any, np.dtype[np.float64]]

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class SloKnee:
    """Utilization at which the percentile is just kept, misses apart from load, and how sure both are.

    Attributes:
        value, variance: of the utilization.
        apart, apart_variance: of the share of requests that miss an objective whatever the load is.
    """

    value: float = KNEE.prior
    variance: float = KNEE.prior_deviation**2
    apart: float = KNEE.apart
    apart_variance: float = KNEE.apart_deviation**2

    def trusted(self, caution: float, tuning: Knee = KNEE) -> float:
        """The utilization to size for, to a hundredth, so that decisions do not follow noise.

        What a calm hour shows beyond the prior is not relied upon where replicas come late (`caution` 1): the bursts
        that lower it again are over before a replica helps.
        """
        beyond = max(0.0, self.value - tuning.prior)
        return round(self.value - beyond * caution, 2)


def unlearnt(tuning: Knee) -> SloKnee:
    """The knee of a service of which nothing is known yet."""
    return SloKnee(tuning.prior, tuning.prior_deviation**2, tuning.apart, tuning.apart_deviation**2)


@dataclass(frozen=True, slots=True)
class KneeEvidence:
    """What one cycle showed.

    Attributes:
        utilization: load that the requests met, over the modelled sustainable rate.
        share: of them within all objectives.
        seconds: length of the cycle: shorter ones come more often, so each of them counts for less.
        requests: in it.
        lately: share of requests that missed an objective over the recent past.
    """

    utilization: float
    share: float
    seconds: float
    requests: float
    lately: float = 0.0

    @property
    def minutes(self) -> float:
        """Length of the cycle."""
        return self.seconds / SECONDS_PER_MINUTE

    def noise(self, tuning: Knee) -> float:
        """Variance of the share about the curve: the curve's own error, and chance among few requests."""
        by_chance = self.share * (1.0 - self.share) / max(self.requests, 1.0)
        return tuning.share_deviation**2 / self.minutes + by_chance


def learn(knee: SloKnee, seen: KneeEvidence, percentile: int, tuning: Knee = KNEE) -> SloKnee:
    """Knee and misses apart from load after one cycle (extended Kalman filter, the two taken as independent).

    What the filter takes for misses apart from load may come from a curve that is not as steep as this one: few
    replicas, long prompts. So while more misses than allowed, now and over the recent past, below the knee, the knee
    goes down until it helps or its limit is reached.
    """
    deviations = _z(percentile) + tuning.slope * (1.0 - seen.utilization / knee.value)
    by_load = _NORMAL.cdf(deviations)
    per_knee = (1.0 - knee.apart) * _NORMAL.pdf(deviations) * tuning.slope * seen.utilization / knee.value**2
    variance = knee.variance + tuning.drift_deviation**2 * seen.minutes
    apart_variance = knee.apart_variance + tuning.apart_drift**2 * seen.minutes
    total = per_knee**2 * variance + by_load**2 * apart_variance + seen.noise(tuning)
    limit = tuning.most_surprise * sqrt(total)
    missing = min(max((1.0 - knee.apart) * by_load - seen.share, -limit), limit)
    gain, apart_gain = per_knee * variance / total, by_load * apart_variance / total
    calm = knee.value + tuning.pull * seen.minutes * (tuning.prior - knee.value)
    if seen.utilization < knee.value:
        owed = min(seen.lately, 1.0 - seen.share) / (1.0 - percentile / PER_CENT) - 1.0
        calm -= tuning.owed_rate * seen.minutes * min(max(owed, 0.0), 1.0)
    return SloKnee(
        min(max(calm - gain * missing, tuning.least), tuning.most),
        min(variance * (1.0 - gain * per_knee), tuning.prior_deviation**2),
        min(max(knee.apart + apart_gain * missing, 0.0), tuning.most_apart),
        min(apart_variance * (1.0 - apart_gain * by_load), tuning.apart_deviation**2),
    )


def expected_share(utilization: Floats, percentile: int, tuning: Knee = KNEE) -> Floats:
    """Share within the objectives at utilizations that are relative to the knee."""
    return _below(_z(percentile) + tuning.slope * (1.0 - utilization))


def _below(deviations: Floats) -> Floats:
    """Distribution function of a standard normal variable."""
    scaled = np.asarray(deviations / sqrt(2.0))
    errors = np.fromiter(map(erf, scaled.ravel().tolist()), np.float64, scaled.size)
    return (1.0 + errors.reshape(scaled.shape)) / 2.0


@dataclass(frozen=True, slots=True)
class Aim:
    """What capacity is for.

    Attributes:
        percentile: of requests that keep the objectives at full use of the capacity.
        share: of requests that shall keep them over all cases, below 1.
    """

    percentile: int
    share: float


def work_to_carry(cases: Sequence[tuple[float, float]] | Floats, aim: Aim, tuning: Knee = KNEE) -> float:
    """Least capacity with which the aim's share of all requests is expected within the objectives.

    Args:
        cases: work per second that may be asked for, and the probability of each; busy cases hold more requests, so
            they count for more.
        aim: the share expected.
        tuning: of the share over the load.

    Returns:
        Work per second at the knee; 0 where no work is expected.
    """
    work, probabilities = np.asarray(cases, dtype=np.float64).reshape(-1, 2).T.copy()
    requests = work * probabilities
    whole = requests.sum()
    if not whole > 0:
        return 0.0
    requests = requests / whole
    asked = _Asked(work, requests, _z(aim.percentile), tuning.slope)
    low, high = 0.0, tuning.most_reserve * float(work.max())
    too_little, enough = _around(asked, aim.share, _near(asked, aim.share, high), high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if middle <= too_little or (middle < enough and asked.kept(middle) < aim.share):
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, slots=True)
class _Asked:
    """The cases as arrays: `requests` are shares of all requests, `z` and `slope` those of the share over the load."""

    work: Floats
    requests: Floats
    z: float
    slope: float

    def kept(self, capacity: float) -> float:
        """Share of all requests within the objectives at this capacity."""
        return float(self.requests @ _below(self.z + self.slope * (1.0 - self.work / capacity)))

    def kept_and_growth(self, capacity: float) -> tuple[float, float]:
        """The same with the derivative by the capacity."""
        used = self.work / capacity
        deviations = self.z + self.slope * (1.0 - used)
        density = np.exp(deviations * deviations / -2.0) * used
        growth = float(self.requests @ density) * self.slope / (capacity * sqrt(2.0 * pi))
        return float(self.requests @ _below(deviations)), growth


def _near(asked: _Asked, share: float, most: float) -> float:
    """A capacity near the least that keeps the share, to begin a search from: the cases taken as a normal variable.

    The mean of Phi(a - b w) over w ~ N(m, v) is Phi((a - b m) / sqrt(1 + b^2 v)); with a = z + slope and b = slope /
    capacity that is a quadratic equation for b. Where it has no root between, the mean of the cases.
    """
    mean = float(asked.requests @ asked.work)
    variance = max(float(asked.requests @ (asked.work * asked.work)) - mean * mean, 0.0)
    least, whole = _NORMAL.inv_cdf(share), asked.z + asked.slope
    square = mean * mean - least * least * variance
    root = whole * whole * mean * mean - square * (whole * whole - least * least)
    if square <= 0.0 or root < 0.0:
        return mean
    per_work = (whole * mean - copysign(sqrt(root), least)) / square
    return asked.slope / per_work if per_work * most > asked.slope else mean


def _around(asked: _Asked, share: float, start: float, most: float) -> tuple[float, float]:
    """Capacities just below and just above the least that keeps the share, by Newton's method.

    The share grows with the capacity, so a search by halves need only look between the two.
    """
    low, high, at = 0.0, most, start
    for _ in range(NEWTON_STEPS):
        kept, growth = asked.kept_and_growth(at)
        low, high = (at, high) if kept < share else (low, at)
        after = at + (share - kept) / growth if growth > 0.0 else low
        if not low < after < high:
            after = (low + high) / 2.0
        near, at = abs(after - at) < NEWTON_NEAR * at, after
        if near:
            break
    below, above = at * (1.0 - NEIGHBOURS), at * (1.0 + NEIGHBOURS)
    if low < below and asked.kept(below) < share:
        low = below
    if above < high and asked.kept(above) >= share:
        high = above
    return low, high


def _z(percentile: int) -> float:
    return _NORMAL.inv_cdf(percentile / PER_CENT)
