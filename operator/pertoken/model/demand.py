"""Demand from what engines and gateways tell, and where it will be when a new replica is ready.

Demand is work, not requests: on real traces the mix of lengths moves against the request rate (when many short answers
are asked for, tokens per second may stand still), so prompt tokens and generated tokens are followed as two flows and
weighed by the GPU time of each. Served tokens alone are capped by capacity, so what piles up is added.

Forecast at the start-up lead: four experts (last value, mean over two minutes, mean over five, damped trend) weighted
by how they did lately on this very series at this very lead, and a head-room that is the quantile of what the mixture
missed (split conformal). No expert wins everywhere: on real traces "last value" is hard to beat at 5-20 minutes, means
win on noisy ones, trends on ramps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

SHORT_CYCLES: Final = 8  # two minutes at the usual 15 s
LONG_CYCLES: Final = 20
HISTORY_CYCLES: Final = 80  # kept: 20 minutes
MAX_GROWTH: Final = 1.5  # a forecast never exceeds this multiple of the present level
SETTLING_CYCLES: Final = 16  # at first demand is a step from nothing: no forecast is judged by it
MIN_ERRORS: Final = 12  # forecasts that came true before their errors say anything
MAX_HEADROOM: Final = 0.5
GUESSED_HEADROOM: Final = 0.1  # at a lead of two minutes
TREND_DAMPING: Final = 0.7
SHARPNESS: Final = 4.0  # weight of an expert = (its mean absolute error) ^ -SHARPNESS
MEMORY_OF_ERRORS: Final = 0.97  # per cycle
INPUT_WEIGHT: Final = 0.08  # GPU time of a prompt token / of a generated one, where no model tells


@dataclass(frozen=True, slots=True)
class Served:
    """One service over one rate window, summed over its pods; rates per second.

    Attributes:
        requests: prompts taken up by the engines.
        input_tokens: prompt tokens taken up, cached ones included.
        output_tokens: generated tokens.
        rejections: refused per second, by engines or the gateway.
    """

    requests: float
    input_tokens: float
    output_tokens: float
    rejections: float = 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """Change over the rate window, requests per second: of those that wait, and of those that wait or run."""

    backlog: float = 0.0
    in_flight: float = 0.0


@dataclass(frozen=True, slots=True)
class DemandSample:
    """Demand at one instant.

    Attributes:
        at: seconds since the epoch.
        requests: per second.
        input_tokens, output_tokens: per second.
        backlog: requests waiting.
        in_flight: requests waiting or running.
    """

    at: float
    requests: float
    input_tokens: float
    output_tokens: float
    backlog: float
    in_flight: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Demand expected at the lead.

    Attributes:
        work: generated tokens and weighted prompt tokens per second.
        headroom: relative error to be ready for, learnt; None before enough forecasts have come true.
        present: the same of the latest sample, below which nobody should plan.
        guess: head-room for as long as none is learnt: errors of a random walk grow with the root of the lead.
    """

    work: float = 0.0
    headroom: float | None = None
    present: float = 0.0
    guess: float = 0.0

    def needed(self, least_headroom: float) -> float:
        """Work to be ready for, with at least this head-room."""
        headroom = self.guess if self.headroom is None else self.headroom
        return max(self.work * (1.0 + max(headroom, least_headroom)), self.present)


def demand_of(served: Served, mean: tuple[float, float], growth: Growth) -> tuple[float, float, float]:
    """Requests, input and output tokens per second that are asked for.

    Args:
        served: what was taken up.
        mean: input and output tokens of a request.
        growth: of requests in the system. Negative while they become fewer: then they are being served, not demanded.
            Generated tokens lag arrivals by a request's duration; the growth of what is in flight is that lag.
    """
    extra = growth.backlog + served.rejections
    requests = max(0.0, served.requests + extra)
    input_tokens = max(0.0, served.input_tokens + extra * mean[0])
    output_tokens = max(0.0, served.output_tokens + (growth.in_flight + served.rejections) * mean[1])
    return requests, input_tokens, output_tokens


def growth_of(samples: Sequence[DemandSample], backlog: float, in_flight: float, now: float, window: float) -> Growth:
    """Change of what waits and of what is in flight over the last `window` seconds; none without history."""
    past = [sample for sample in samples if now - window * 1.5 <= sample.at < now]
    if not past:
        return Growth()
    first = min(past, key=lambda sample: abs(now - window - sample.at))
    span = now - first.at
    if span < 1.0:
        return Growth()
    return Growth((backlog - first.backlog) / span, (in_flight - first.in_flight) / span)


def mean_request(samples: Sequence[DemandSample], cycle: float) -> tuple[float, float, float]:
    """Requests in the last `LONG_CYCLES`, and their mean input and output tokens (sums over sums, so lags cancel)."""
    recent = samples[-LONG_CYCLES:]
    requests = sum(sample.requests for sample in recent)
    if requests <= 0:
        return 0.0, 0.0, 0.0
    inputs = sum(sample.input_tokens for sample in recent) / requests
    outputs = sum(sample.output_tokens for sample in recent) / requests
    return requests * cycle, inputs, outputs


def forecast(
    samples: Sequence[DemandSample], lead: float, cycle: float = 15.0, *, weight: float = INPUT_WEIGHT, q: float = 0.9
) -> Forecast:
    """Work expected `lead` seconds after the last sample.

    Args:
        samples: demand so far, in order of time.
        lead: seconds ahead.
        cycle: seconds between two samples; the experts reach back a number of cycles.
        weight: GPU time of a prompt token in units of a generated token's.
        q: share of forecasts that the head-room shall cover.
    """
    if not samples:
        return Forecast()
    series = np.array([sample.input_tokens * weight + sample.output_tokens for sample in samples])
    experts = _experts(series, lead / cycle)
    said, true = _outcomes(np.array([sample.at for sample in samples]), lead)
    mixed = experts @ _weights(experts, said, true, series)
    judged = mixed[said] > 0
    misses = series[true][judged] / mixed[said][judged] - 1.0
    guess = min(GUESSED_HEADROOM * sqrt(lead / cycle / SHORT_CYCLES), MAX_HEADROOM)
    return Forecast(float(mixed[-1]), _quantile(misses, q), float(series[-1]), guess)


def _experts(series: Floats, cycles: float) -> Floats:
    """What each expert said at each instant of the value `cycles` later; one row per instant."""
    ends = np.arange(1, len(series) + 1)
    sums = np.concatenate(([0.0], np.cumsum(series)))

    def mean(end: Integers, span: int) -> Floats:
        begin = np.maximum(0, end - span)
        found: Floats = (sums[end] - sums[begin]) / np.maximum(end - begin, 1)
        return found

    short, long = mean(ends, SHORT_CYCLES), mean(ends, LONG_CYCLES)
    slope = (short - mean(np.maximum(ends - SHORT_CYCLES, 1), SHORT_CYCLES)) / SHORT_CYCLES
    ahead = short + slope * (SHORT_CYCLES / 2 + TREND_DAMPING * cycles)
    trend = np.clip(ahead, 0.0, np.maximum(series, short) * MAX_GROWTH)
    # The first minutes of a service are a step from nothing, not a trend to be followed.
    trend = np.where(ends >= 2 * SHORT_CYCLES, trend, series)
    return np.stack((series, short, long, trend), axis=1)


def _outcomes(times: Floats, lead: float) -> tuple[Integers, Integers]:
    """Instants at which something was forecast that has come true, and the instants at which it did."""
    came_true = np.searchsorted(times, times + lead - 1e-6)
    said = np.flatnonzero(came_true < len(times))[SETTLING_CYCLES:]
    return said, came_true[said]


def _weights(experts: Floats, said: Integers, true: Integers, series: Floats) -> Floats:
    """By discounted mean absolute error; before enough came true, last value and short mean."""
    if len(said) < MIN_ERRORS:
        return np.array([0.5, 0.5, 0.0, 0.0])
    ages = _discounts(len(said))
    losses = ages @ np.abs(experts[said] - series[true][:, None]) / ages.sum()
    scores = (losses + 1e-3 * series.mean() + 1e-9) ** -SHARPNESS
    weights: Floats = scores / scores.sum()
    return weights


def _discounts(count: int) -> Floats:
    """Weights of `count` errors, latest last."""
    found: Floats = MEMORY_OF_ERRORS ** np.arange(count - 1, -1, -1.0)
    return found


def _quantile(misses: Floats, q: float) -> float | None:
    """Split-conformal quantile, never negative; misses count less the longer ago they were (latest last)."""
    if len(misses) < MIN_ERRORS:
        return None
    order = np.argsort(misses, kind="stable")
    reached = np.cumsum(_discounts(len(misses))[order])
    # The forecast that is about to be made counts as one more error, of unknown size.
    place = int(np.searchsorted(reached, q * (reached[-1] + 1.0)))
    miss = float(misses[order[min(place, len(misses) - 1)]])
    return min(max(miss, 0.0), MAX_HEADROOM)


def blend(old: float | None, new: float, cycles: float, *, horizon: float = SHORT_CYCLES) -> float:
    """Exponential mean whose memory is `horizon` cycles; the first value is taken as it is."""
    if old is None:
        return new
    weight = min(1.0, cycles / horizon)
    return old + weight * (new - old)
