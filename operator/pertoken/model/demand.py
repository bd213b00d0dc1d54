"""Demand from what engines and gateways tell, and where it will be when a new replica is ready.

Served tokens alone are capped by capacity, so growth of the backlog and refused requests are added. Forecast, first
version: the larger of the present rate and its mean over eight cycles (two minutes), plus a shrunken linear trend over
the start-up lead. (On real traces "last value" is hard to beat at 5-20 minutes; a seasonal forecast is not claimed.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LONG_CYCLES: Final = 8  # two minutes at the usual 15 s
TREND_CYCLES: Final = 20
MAX_GROWTH: Final = 1.5  # a forecast never exceeds this multiple of the present level
MIN_TREND_SAMPLES: Final = 5
SHAPE_CYCLES: Final = 8


@dataclass(frozen=True, slots=True)
class Served:
    """One service over one rate window, summed over its pods; rates per second.

    Attributes:
        requests: prompts taken up by the engines.
        finished: requests.
        input_tokens: prompt tokens taken up, cached ones included.
        output_tokens: generated tokens.
        backlog: requests that wait, in engines and at the gateway.
        in_flight: backlog and running requests.
        rejections: refused per second, by engines or the gateway.
    """

    requests: float
    finished: float
    input_tokens: float
    output_tokens: float
    backlog: float
    in_flight: float
    rejections: float = 0.0


@dataclass(frozen=True, slots=True)
class DemandSample:
    """Demand at one instant.

    Attributes:
        at: seconds since the epoch.
        requests: per second.
        input_tokens, output_tokens: per second.
        backlog: requests waiting.
    """

    at: float
    requests: float
    input_tokens: float
    output_tokens: float
    backlog: float


def demand_of(served: Served, mean_output: float, growth: float) -> tuple[float, float, float]:
    """Requests, input and output tokens per second that are asked for.

    Args:
        served: what was taken up.
        mean_output: tokens that a request generates on average.
        growth: of the backlog, requests per second (negative when it shrinks: then it is being served, not demanded).
    """
    requests = max(0.0, served.requests + growth + served.rejections)
    taken_up = served.requests if served.requests > 0 else 1.0
    input_tokens = served.input_tokens * (requests / taken_up if served.requests > 0 else 1.0)
    # While load rises, generation lags arrivals by a request's duration; the prompts already tell.
    output_tokens = max(served.output_tokens * min(1.0, requests / taken_up), requests * mean_output)
    return requests, input_tokens, output_tokens


def backlog_growth(samples: Sequence[DemandSample], backlog: float, now: float, window: float) -> float:
    """Change of the backlog in requests per second over the last `window` seconds; 0 without history."""
    past = [sample for sample in samples if now - window * 1.5 <= sample.at < now]
    if not past:
        return 0.0
    first = past[0]
    span = now - first.at
    return (backlog - first.backlog) / span if span >= 1.0 else 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope, shrunk towards zero by its own uncertainty (positive-part James-Stein)."""
    count = len(points)
    if count < MIN_TREND_SAMPLES:
        return 0.0
    mean_t = sum(t for t, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    if spread <= 0:
        return 0.0
    raw = sum((t - mean_t) * (y - mean_y) for t, y in points) / spread
    errors = sum((y - mean_y - raw * (t - mean_t)) ** 2 for t, y in points)
    variance = errors / (count - 2) / spread
    # Successive rate windows overlap, so they carry about a quarter of the information that their number suggests.
    signal = raw * raw
    return raw * max(0.0, 1.0 - 4.0 * variance / signal) if signal > 0 else 0.0


def forecast(samples: Sequence[DemandSample], lead: float, now: float, cycle: float = 15.0) -> tuple[float, float]:
    """Requests and output tokens per second expected `lead` seconds from now; samples in order of time.

    Args:
        samples: demand so far.
        lead: seconds ahead.
        now: seconds since the epoch.
        cycle: seconds between two samples; means and trends reach back a number of cycles.

    Returns:
        (requests, output tokens); zeros without samples.
    """
    if not samples:
        return 0.0, 0.0
    requests = [(sample.at, sample.requests) for sample in samples]
    tokens = [(sample.at, sample.output_tokens) for sample in samples]
    return _ahead(requests, lead, now, cycle), _ahead(tokens, lead, now, cycle)


def _ahead(points: Sequence[tuple[float, float]], lead: float, now: float, cycle: float) -> float:
    latest = points[-1][1]
    recent = [value for at, value in points if at >= now - LONG_CYCLES * cycle]
    long_mean = sum(recent) / len(recent) if recent else latest
    past = [(at, value) for at, value in points if at >= now - TREND_CYCLES * cycle]
    # The first minutes of a service are a step from nothing, not a trend to be followed.
    long_enough = bool(past) and past[-1][0] - past[0][0] >= TREND_CYCLES * cycle / 2
    trend = slope(past) if long_enough else 0.0
    level = max(latest, long_mean)
    return min(level + max(0.0, trend) * lead, max(latest, long_mean) * MAX_GROWTH)


def blend(old: float | None, new: float, cycles: float, *, horizon: float = SHAPE_CYCLES) -> float:
    """Exponential mean whose memory is `horizon` cycles; the first value is taken as it is."""
    if old is None:
        return new
    weight = min(1.0, cycles / horizon)
    return old + weight * (new - old)
