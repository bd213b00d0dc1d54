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
from dataclasses import field
from itertools import takewhile
from math import sqrt
from typing import Any, Final

import numpy as np

from pertoken.forecast.slo_knee import Aim, work_to_carry
from pertoken.forecast.tuning import FORECASTING, KNEE, NORMAL_CASES, Forecasting, Knee
from pertoken.frozen import dataclass, replace
from pertoken.units import MICROSECONDS, SECONDS_PER_MINUTE, TINY

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_GUESSES: Final = np.array(NORMAL_CASES)


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


def _no_cases() -> Floats:
    return np.empty((0, 2))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Demand expected at the lead.

    Attributes:
        work: generated tokens and weighted prompt tokens per second.
        present: the same of now, below which nobody should plan.
        cases: work that may be asked for instead, and the probability of each; one row per case.
        trust: weight in them of what was learnt; the rest is guessed from the lead.
        ceiling: most to be ready for.
    """

    work: float = 0.0
    present: float = 0.0
    cases: Floats = field(default_factory=_no_cases, compare=False)
    trust: float = 0.0
    ceiling: float = 0.0

    def needed(self, least_headroom: float, aim: Aim, knee: Knee = KNEE) -> float:
        """Work to be ready for.

        Args:
            least_headroom: added to the forecast in any case.
            aim: share of the requests that shall keep the objectives.
            knee: numbers of the share over the load.
        """
        cases = self._reachable()
        by_cases = min(work_to_carry(cases, aim, knee), self.ceiling) if len(cases) else 0.0
        return max(self.work * (1.0 + least_headroom), self.present, by_cases)

    def raised(self, work: float) -> Forecast:
        """The same with so much more in every case: traffic that is about to be sent here. The present stays."""
        if work <= 0:
            return self
        cases = self.cases + np.array([work, 0.0]) if len(self.cases) else self.cases
        return replace(self, work=self.work + work, cases=cases, ceiling=self.ceiling + work)

    def _reachable(self) -> Floats:
        """The cases up to the ceiling. Work beyond it is not prepared for, so it must not drive the rest up to it.

        After one large step the miss of it stays among the cases for as long as misses are remembered. Its requests
        are late at the ceiling, too: being ready for the others is what can be bought.
        """
        within = self.cases[:, 0] <= self.ceiling
        return self.cases[within] if within.any() else self.cases


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


def growth_of(
    samples: Sequence[DemandSample],
    waits: tuple[float, float],
    now: float,
    window: float,
    tuning: Forecasting = FORECASTING,
) -> Growth:
    """Change over the last `window` seconds of what waits and of what is in flight (both `waits`, in this order).

    None without history.
    """
    backlog, in_flight = waits
    oldest = now - window * tuning.growth_windows
    late = takewhile(lambda sample: sample.at >= oldest, reversed(samples))
    past = [sample for sample in late if sample.at < now][::-1]
    if not past:
        return Growth()
    first = min(past, key=lambda sample: abs(now - window - sample.at))
    span = now - first.at
    if span < 1.0:
        return Growth()
    return Growth((backlog - first.backlog) / span, (in_flight - first.in_flight) / span)


def recent(samples: Sequence[DemandSample], cycle: float, tuning: Forecasting = FORECASTING) -> Sequence[DemandSample]:
    """Samples of the last `long_seconds`, `cycle` seconds apart."""
    return samples[-_count(tuning.long_seconds, cycle) :]


def mean_request(
    samples: Sequence[DemandSample], cycle: float, tuning: Forecasting = FORECASTING
) -> tuple[float, float, float]:
    """Requests in the last `long_seconds`, and their mean input and output tokens (sums over sums, so lags cancel)."""
    latest = recent(samples, cycle, tuning)
    requests = sum(sample.requests for sample in latest)
    if requests <= 0:
        return 0.0, 0.0, 0.0
    inputs = sum(sample.input_tokens for sample in latest) / requests
    outputs = sum(sample.output_tokens for sample in latest) / requests
    return requests * cycle, inputs, outputs


@dataclass(frozen=True, slots=True)
class Horizon:
    """What a forecast is made for.

    Attributes:
        lead: seconds ahead.
        cycle: seconds between two samples.
        residence: seconds that a request is in the system. Fluctuations that are shorter average out in the batch, so
            experts see, forecasts are judged by, and the present is, a mean over it.
    """

    lead: float
    cycle: float
    residence: float = 0.0


def forecast(
    samples: Sequence[DemandSample], horizon: Horizon, weight: float, tuning: Forecasting = FORECASTING
) -> Forecast:
    """Work expected at the lead after the last sample.

    Args:
        samples: demand so far, in order of time.
        horizon: lead, and the pace of samples and requests.
        weight: GPU time of a prompt token in units of a generated token's.
        tuning: the numbers that decide.
    """
    if not samples:
        return Forecast()
    times = np.array([sample.at for sample in samples])
    inputs = np.array([sample.input_tokens for sample in samples])
    series = inputs * weight + np.array([sample.output_tokens for sample in samples])
    sums, ends = _sums(series), np.arange(1, len(series) + 1)
    felt = _means(sums, _count(horizon.residence, horizon.cycle))
    experts = _experts(felt, horizon, tuning)
    said, true = _outcomes(times, horizon, tuning)
    mixed = experts @ _weights(experts, (said, true), series, _Memory(horizon.cycle, tuning))
    # Misses are relative to the level lately, not to the forecast alone: after a lull any burst would be infinite.
    level = np.maximum(mixed, sums[1:] / ends)
    before = level[said]
    judged = before > 0
    misses = ((felt[true] - mixed[said])[judged] / before[judged]) * level[-1]
    work = float(mixed[-1])
    ceiling = max(work * (1.0 + tuning.most_headroom), float(felt.max()))
    cases, trust = _cases(work, misses, horizon, tuning)
    return Forecast(work, float(felt[-1]), cases, trust, ceiling)


def _count(seconds: float, cycle: float) -> int:
    """Samples in a span of time, at least one."""
    return max(1, round(seconds / cycle))


@dataclass(frozen=True, slots=True)
class _Memory:
    """How fast the past is forgotten, with one sample per cycle."""

    cycle: float
    tuning: Forecasting

    def of(self, count: int, half_life: float) -> Floats:
        """Weights of `count` values, the newest (1) last."""
        weights: Floats = 2.0 ** (-self.cycle / half_life * np.arange(count - 1, -1, -1.0))
        return weights


def _cases(work: float, misses: Floats, horizon: Horizon, tuning: Forecasting) -> tuple[Floats, float]:
    """What may come, with probabilities, and how much of them is learnt.

    Forecasts that overlap miss alike: as many count as independent as leads fit into the time that is remembered.
    """
    weights = _Memory(horizon.cycle, tuning).of(len(misses), tuning.miss_half_life)
    whole = float(weights.sum())
    independent = whole / max(horizon.lead / horizon.cycle, 1.0)
    trust = independent / (independent + 1.0)
    spread = tuning.guessed_deviation * sqrt(horizon.lead / (2 * SECONDS_PER_MINUTE))
    deviation = min(spread, tuning.most_headroom)
    guesses = len(NORMAL_CASES)
    cases = np.empty((guesses + len(misses), 2))
    cases[:guesses, 0] = np.maximum(work + work * deviation * _GUESSES[:, 0], 0.0)
    cases[:guesses, 1] = (1.0 - trust) * _GUESSES[:, 1]
    if len(misses):
        cases[guesses:, 0] = np.maximum(work + misses, 0.0)
        cases[guesses:, 1] = trust * weights / whole
    return cases, trust


def _experts(series: Floats, horizon: Horizon, tuning: Forecasting) -> Floats:
    """What each expert said at each instant of the value a lead later; one row per instant."""
    cycles, span, count = horizon.lead / horizon.cycle, _count(tuning.short_seconds, horizon.cycle), len(series)
    sums = _sums(series)
    short, long = _means(sums, span), _means(sums, _count(tuning.long_seconds, horizon.cycle))
    slope = short - short[0]
    slope[span:] = short[span:] - short[: max(count - span, 0)]
    slope /= span
    ahead = short + slope * (span / 2 + tuning.trend_damping * cycles)
    trend = np.minimum(np.maximum(ahead, 0.0), np.maximum(series, short) * tuning.most_growth)
    # The first minutes of a service are a step from nothing, not a trend to be followed.
    trend[: 2 * span - 1] = series[: 2 * span - 1]
    columns = (series, short, long, trend)
    experts = np.empty((count, len(columns)))
    for column, expert in enumerate(columns):
        experts[:, column] = expert
    return experts


def _sums(series: Floats) -> Floats:
    """Sums of the first values of a series, of none to all of them."""
    sums = np.zeros(len(series) + 1)
    np.cumsum(series, out=sums[1:])
    return sums


def _means(sums: Floats, span: int) -> Floats:
    """Means over the `span` values up to each value, from a series' `_sums`; over fewer at the start."""
    count = len(sums) - 1
    fewer = min(span, count)
    means: Floats = np.empty(count)
    np.divide(sums[1 : fewer + 1], np.arange(1, fewer + 1), out=means[:fewer])
    np.subtract(sums[fewer + 1 :], sums[1 : count - fewer + 1], out=means[fewer:])
    means[fewer:] /= fewer
    return means


def _outcomes(times: Floats, horizon: Horizon, tuning: Forecasting) -> tuple[slice, Integers]:
    """The span of instants whose forecasts have come true, and the instants at which each did."""
    came_true = np.searchsorted(times, times + horizon.lead - 1.0 / MICROSECONDS)
    said = slice(_count(tuning.settling_seconds, horizon.cycle), int(np.searchsorted(came_true, len(times))))
    return said, came_true[said]


def _weights(experts: Floats, judged: tuple[slice, Integers], series: Floats, memory: _Memory) -> Floats:
    """By discounted mean absolute error; before enough came true, last value and short mean."""
    (said, true), tuning = judged, memory.tuning
    if len(true) < _count(tuning.proving_seconds, memory.cycle):
        return np.array([1.0, 1.0, 0.0, 0.0]) / 2.0
    ages = memory.of(len(true), tuning.loss_half_life)
    losses = ages @ np.abs(experts[said] - series[true][:, None]) / ages.sum()
    scores = (losses + TINY * (1.0 + series.sum())) ** -tuning.sharpness
    weights: Floats = scores / scores.sum()
    return weights


def blend(old: float | None, new: float, weight: float) -> float:
    """Exponential mean; the first value is taken as it is, and no weight counts for more than 1."""
    return new if old is None else old + min(1.0, weight) * (new - old)
