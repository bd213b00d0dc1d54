"""How long requests wait for a replica: an empirical queue driven by what was recorded, not by a formula's arrivals.

Real demand is far from Poisson: with measured dispersion put into Allen-Cunneen's formula, waiting is missed by a
factor of 10 upwards and 60 downwards on real traces. So the recorded work drives Lindley's recursion itself (D. V.
Lindley, 1952; for c servers J. Kiefer and J. Wolfowitz, 1955): arrivals are rebuilt from the scrapes (`bursts`), and a
first-come-first-served queue for `servers` replicas is run over them.

One server is one replica that works off one second of work per second; what counts as work (all GPU time of a request,
or its prefill alone) is the caller's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import exp, inf, log
from typing import Final

import numpy as np

from pertoken_bench.accuracy.waiting.bursts import (
    LARGEST_VARIANCE,
    ArrivalRecord,
    Arrivals,
    Floats,
    cascade,
    levels,
    prior_burstiness,
    rebuild,
)

ENOUGH: Final = 20_000  # requests after which another course tells little more
LARGEST: Final = 200_000  # requests beyond which the queue is run on work in cells rather than on single requests
_COPIES: Final = 3
_PRIOR_SIGMA: Final = 0.7  # of the logarithm of the burstiness
_SEEN_SIGMA: Final = 0.15  # of the logarithm of an observed mean wait
_GRID: Final = 17


@dataclass(frozen=True, slots=True)
class Servers:
    """Who serves.

    Attributes:
        count: replicas.
        speed: seconds of recorded work that one replica does per second.
    """

    count: int
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Waiting as the engines measured it while the record was taken (queue time: sum / count).

    Attributes:
        servers: that served it.
        mean: seconds.
    """

    servers: Servers
    mean: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Distribution of waiting times.

    Attributes:
        seconds: waits in ascending order.
        utilization: work / capacity, 1 or more when the queue grows without end.
    """

    seconds: Floats
    utilization: float

    @property
    def mean(self) -> float:
        """Seconds; 0 without requests."""
        return float(self.seconds.mean()) if len(self.seconds) else 0.0

    def percentile(self, percent: float) -> float:
        """Seconds within which this share of requests starts; 0 without requests."""
        return float(np.percentile(self.seconds, percent)) if len(self.seconds) else 0.0


def waiting(record: ArrivalRecord, servers: Servers, burstiness: float | None = None, rate: float = 1.0) -> Waiting:
    """Waiting of the recorded demand, rescaled to a forecast.

    Args:
        record: of the arrivals.
        servers: to serve them.
        burstiness: below the scrape interval, see `fit_burstiness`; None for the prior.
        rate: forecast / recorded requests per second.

    Raises:
        ValueError: no server, a speed that is not positive, or a negative rate.
    """
    if servers.count < 1 or servers.speed <= 0 or rate < 0:
        raise ValueError(f"{servers}, rate={rate!r}: expected a server, positive speed and no negative rate")
    spread = prior_burstiness(record) if burstiness is None else burstiness
    capacity = servers.count * servers.speed
    total = sum(record.requests) * rate
    if total > LARGEST:
        waits = _in_cells(record, servers, spread, rate)
    else:
        copies = _COPIES if 0 < total < ENOUGH else 1
        courses = [rebuild(record, spread, rate, copy) for copy in range(copies)]
        waits = np.concatenate([queue(course, servers) for course in courses])
    return Waiting(np.sort(waits), record.offered * rate / capacity)


def queue(arrivals: Arrivals, servers: Servers) -> Floats:
    """Waits of single requests, first come first served, each by the first server that is free."""
    service = arrivals.work / servers.speed
    if servers.count == 1:
        return lindley(arrivals.at, service)
    free = [0.0] * servers.count
    heapify(free)
    waits = []
    for at, length in zip(arrivals.at.tolist(), service.tolist(), strict=True):
        start = max(at, free[0])
        heapreplace(free, start + length)
        waits.append(start - at)
    return np.asarray(waits, dtype=np.float64)


def lindley(at: Floats, service: Floats) -> Floats:
    """Waits at one server: ``W' = max(0, W + S - gap)``, in closed form over running minima."""
    if not len(at):
        return np.empty(0)
    steps = service[:-1] - np.diff(at)
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    return np.asarray(walk - np.minimum.accumulate(walk), dtype=np.float64)


def _in_cells(record: ArrivalRecord, servers: Servers, burstiness: float, rate: float) -> Floats:
    """The recursion on work per cell for busy services, where single requests blur; head-of-line waiting is added."""
    halvings = levels(record.interval)
    intervals = len(record.requests)
    shares = cascade(intervals, halvings, burstiness, 0)
    width = record.interval / shares.shape[1]
    work = (np.asarray(record.work)[:, None] * rate * shares).ravel() / servers.speed
    count = (np.asarray(record.requests)[:, None] * rate * shares).ravel()
    # Work of a cell comes spread over it: what is there at its start plus half of what exceeds the servers waits.
    steps = work - servers.count * width
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    level = walk - np.minimum.accumulate(walk)
    ahead = (level[:-1] + level[1:]) / 2.0 / servers.count
    mean = float(work.sum() / max(count.sum(), 1e-12))
    local = np.minimum(work / (servers.count * width), 0.95)
    extra = np.asarray([head_of_line(servers.count, load, mean, record.size_variation) for load in np.unique(local)])
    ahead = ahead + np.interp(local, np.unique(local), extra)
    order = np.argsort(ahead)
    # Equally many waits stand for each quantile of requests.
    cumulative = np.cumsum(count[order])
    picks = (np.arange(ENOUGH) + 0.5) / ENOUGH * cumulative[-1]
    return np.asarray(ahead[order][np.minimum(np.searchsorted(cumulative, picks), len(ahead) - 1)], dtype=np.float64)


def head_of_line(servers: int, utilization: float, service: float, variation: float) -> float:
    """Mean wait among Poisson arrivals: Pollaczek-Khinchine for one server, Erlang C scaled alike for several.

    Args:
        servers: replicas.
        utilization: in [0, 1).
        service: mean seconds of work of a request.
        variation: squared coefficient of variation of that work.

    Returns:
        Seconds; infinite at utilization 1 or more.
    """
    if utilization >= 1.0:
        return inf
    if utilization <= 0.0:
        return 0.0
    offered = utilization * servers
    # Erlang B by its recursion, which neither over- nor underflows.
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    delayed = blocked / (1.0 - utilization * (1.0 - blocked))
    return delayed * service / (servers * (1.0 - utilization)) * (1.0 + variation) / 2.0


def fit_burstiness(record: ArrivalRecord, seen: Seen) -> float:
    """Burstiness below the scrape interval, from how long requests really waited while the record was taken.

    The most likely value between the prior (what the scrapes say one octave up, a factor of two either way) and the
    measured mean wait. Where waiting comes from bursts that the scrapes show anyway, the measurement says little about
    finer ones and the prior stays.
    """
    prior = prior_burstiness(record)
    best, least = prior, inf
    for step in range(_GRID):
        z = 2.5 * (2.0 * step / (_GRID - 1) - 1.0)
        tried = min(prior * exp(z * _PRIOR_SIGMA), LARGEST_VARIANCE)
        modelled = waiting(record, seen.servers, tried).mean
        if modelled <= 0 or seen.mean <= 0:
            continue
        miss = (log(modelled / seen.mean) / _SEEN_SIGMA) ** 2 + (log(tried / prior) / _PRIOR_SIGMA) ** 2
        if miss < least:
            best, least = tried, miss
    return best
