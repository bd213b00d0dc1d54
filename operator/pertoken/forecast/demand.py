"""Demand from what engines and gateways tell, and where it will be when a new replica is ready.

Demand is work, not requests: on real traces the mix of lengths moves against the request rate (when many short answers
are asked for, tokens per second may stand still), so prompt tokens and generated tokens are followed as two flows and
weighed by the GPU time of each. Served tokens alone are capped by capacity, so what piles up is added.

Forecast at the start-up lead: four experts (last value, mean over two minutes, mean over five, damped trend) weighted
by how they did lately on this very series at this very lead. No expert wins everywhere: on real traces "last value" is
hard to beat at 5-20 minutes, means win on noisy ones, trends on ramps. What the mixture missed so far makes the cases
to be ready for: the capacity is the least with which the expected share of requests within the objectives, over all
cases, is what the percentile asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np

from pertoken.forecast.slo_knee import work_to_carry

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

SHORT_CYCLES: Final = 8  # two minutes at the usual 15 s
LONG_CYCLES: Final = 20
HISTORY_CYCLES: Final = 160  # kept: 40 minutes
MAX_GROWTH: Final = 1.5  # a forecast never exceeds this multiple of the present level
SETTLING_CYCLES: Final = 16  # at first demand is a step from nothing: no forecast is judged by it
MIN_ERRORS: Final = 12  # forecasts that came true before their errors weigh the experts
MAX_HEADROOM: Final = 0.5  # over the forecast, unless more was asked for within the history
GUESSED_DEVIATION: Final = 0.08  # standard deviation of the relative error at a lead of two minutes; see `_cases`
LEAST_CASE: Final = 0.05  # of the forecast
TREND_DAMPING: Final = 0.7
SHARPNESS: Final = 4.0  # weight of an expert = (its mean absolute error) ^ -SHARPNESS
MEMORY_OF_LOSSES: Final = 0.97  # per cycle, for the experts' weights
MEMORY_OF_MISSES: Final = 0.985  # per cycle, for the cases
# Five points and weights that have the first moments of a standard normal variable.
NORMAL_CASES: Final = ((-1.85, 0.0444), (-0.95, 0.2889), (0.0, 0.3334), (0.95, 0.2889), (1.85, 0.0444))
INPUT_WEIGHT: Final = 0.08  # GPU time of a prompt token / of a generated one, where no model tells


@dataclass(frozen=True, slots=True)
class ServedFlow:
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
        present: the same of now, below which nobody should plan.
        cases: work that may be asked for instead, and the probability of each.
        trust: weight in them of what was learnt; the rest is guessed from the lead.
        ceiling: most to be ready for.
    """

    work: float = 0.0
    present: float = 0.0
    cases: tuple[tuple[float, float], ...] = ()
    trust: float = 0.0
    ceiling: float = 0.0

    def needed(self, least_headroom: float, percentile: int, margin: float) -> float:
        """Work to be ready for.

        Args:
            least_headroom: added to the forecast in any case.
            percentile: of requests that shall keep the objectives.
            margin: share of the misses allowed that planning leaves unused.
        """
        aim = (percentile + margin * (100 - percentile)) / 100.0
        found = min(work_to_carry(self.cases, percentile, aim), self.ceiling) if self.cases else 0.0
        return max(self.work * (1.0 + least_headroom), self.present, found)


def demand_of(served: ServedFlow, mean: tuple[float, float], growth: Growth) -> tuple[float, float, float]:
    """Requests, input and output tokens per second that are asked for.

    Args:
        served: what was taken up.
        mean: input and output tokens of a request.
        growth: of requests in the system. Negative while they become fewer: then they are being served, not demanded.
            Generated tokens lag arrivals by a request's duration; the growth of what is in flight is that lag. It
            cannot exceed what arrives: gauges that jump within a rate window say more than the rates beside them.
    """
    arriving = max(0.0, served.requests + growth.backlog)
    requests = max(0.0, served.requests + growth.backlog + served.rejections)
    input_tokens = max(0.0, served.input_tokens + (growth.backlog + served.rejections) * mean[0])
    lag = min(growth.in_flight, arriving)
    output_tokens = max(0.0, served.output_tokens + (lag + served.rejections) * mean[1])
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
    samples: Sequence[DemandSample],
    lead: float,
    cycle: float = 15.0,
    *,
    weight: float = INPUT_WEIGHT,
    stay: float = 0.0,
) -> Forecast:
    """Work expected `lead` seconds after the last sample.

    Args:
        samples: demand so far, in order of time.
        lead: seconds ahead.
        cycle: seconds between two samples; the experts reach back a number of cycles.
        weight: GPU time of a prompt token in units of a generated token's.
        stay: seconds that a request is in the system. Fluctuations that are shorter average out in the batch, so
            forecasts are judged by, and the present is, a mean over it.
    """
    if not samples:
        return Forecast()
    series = np.array([sample.input_tokens * weight + sample.output_tokens for sample in samples])
    ahead = lead / cycle
    experts = _experts(series, ahead)
    said, true = _outcomes(np.array([sample.at for sample in samples]), lead)
    mixed = experts @ _weights(experts, said, true, series)
    felt = _mean(series, np.arange(1, len(series) + 1), max(1, round(stay / cycle)))
    # Misses are relative to the level lately, not to the forecast alone: after a lull any burst would be infinite.
    level = np.maximum(mixed, np.cumsum(series) / np.arange(1, len(series) + 1))
    judged = level[said] > 0
    misses = ((felt[true] - mixed[said])[judged] / level[said][judged]) * level[-1]
    work = float(mixed[-1])
    ceiling = max(work * (1.0 + MAX_HEADROOM), float(felt.max()))
    cases, trust = _cases(work, misses, ahead)
    return Forecast(work, float(felt[-1]), cases, trust, ceiling)


def _cases(work: float, misses: Floats, ahead: float) -> tuple[tuple[tuple[float, float], ...], float]:
    """What may come, with probabilities, and how much of them is learnt.

    Forecasts that overlap miss alike: as many count as independent as leads fit into the time that is remembered.
    """
    weights = MEMORY_OF_MISSES ** np.arange(len(misses) - 1, -1, -1.0)
    independent = float(weights.sum()) / max(ahead, 1.0)
    trust = independent / (independent + 1.0)
    deviation = min(GUESSED_DEVIATION * sqrt(ahead / SHORT_CYCLES), MAX_HEADROOM)
    found = [(work * deviation * z, (1.0 - trust) * share) for z, share in NORMAL_CASES]
    if len(misses):
        found += zip(misses.tolist(), (trust * weights / weights.sum()).tolist(), strict=True)
    return tuple((max(work + miss, LEAST_CASE * work), probability) for miss, probability in found), trust


def _experts(series: Floats, cycles: float) -> Floats:
    """What each expert said at each instant of the value `cycles` later; one row per instant."""
    ends = np.arange(1, len(series) + 1)
    short, long = _mean(series, ends, SHORT_CYCLES), _mean(series, ends, LONG_CYCLES)
    slope = (short - _mean(series, np.maximum(ends - SHORT_CYCLES, 1), SHORT_CYCLES)) / SHORT_CYCLES
    ahead = short + slope * (SHORT_CYCLES / 2 + TREND_DAMPING * cycles)
    trend = np.clip(ahead, 0.0, np.maximum(series, short) * MAX_GROWTH)
    # The first minutes of a service are a step from nothing, not a trend to be followed.
    trend = np.where(ends >= 2 * SHORT_CYCLES, trend, series)
    return np.stack((series, short, long, trend), axis=1)


def _mean(series: Floats, ends: Integers, span: int) -> Floats:
    """Means over the `span` values before each end; fewer at the start."""
    sums = np.concatenate(([0.0], np.cumsum(series)))
    begins = np.maximum(0, ends - span)
    found: Floats = (sums[ends] - sums[begins]) / np.maximum(ends - begins, 1)
    return found


def _outcomes(times: Floats, lead: float) -> tuple[Integers, Integers]:
    """Instants at which something was forecast that has come true, and the instants at which it did."""
    came_true = np.searchsorted(times, times + lead - 1e-6)
    said = np.flatnonzero(came_true < len(times))[SETTLING_CYCLES:]
    return said, came_true[said]


def _weights(experts: Floats, said: Integers, true: Integers, series: Floats) -> Floats:
    """By discounted mean absolute error; before enough came true, last value and short mean."""
    if len(said) < MIN_ERRORS:
        return np.array([0.5, 0.5, 0.0, 0.0])
    ages = MEMORY_OF_LOSSES ** np.arange(len(said) - 1, -1, -1.0)
    losses = ages @ np.abs(experts[said] - series[true][:, None]) / ages.sum()
    scores = (losses + 1e-3 * series.mean() + 1e-9) ** -SHARPNESS
    weights: Floats = scores / scores.sum()
    return weights


def blend(old: float | None, new: float, cycles: float, *, horizon: float = SHORT_CYCLES) -> float:
    """Exponential mean whose memory is `horizon` cycles; the first value is taken as it is."""
    if old is None:
        return new
    weight = min(1.0, cycles / horizon)
    return old + weight * (new - old)
