"""Every number that decides in the forecast and at the SLO knee, with its unit and where it comes from.

Both groups are part of the planner's `Tuning`, which hands them in. Provenance as in `pertoken.planner.tuning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number

# Five points and weights that have the first moments of a standard normal variable.
NORMAL_CASES: Final = ((-1.85, 0.0444), (-0.95, 0.2889), (0.0, 0.3334), (0.95, 0.2889), (1.85, 0.0444))


@dataclass(frozen=True, slots=True)
class Forecasting:
    """Demand at the start-up lead. Spans are in seconds, whatever the length of a cycle."""

    short_seconds: float = number(120.0, "s", "guess: span of the short mean and of each half of the trend")
    long_seconds: float = number(300.0, "s", "guess: span of the long mean, and of the mean request")
    history_seconds: float = number(2400.0, "s", "guess: samples that are kept")
    settling_seconds: float = number(240.0, "s", "guess: at first demand is a step from nothing, which nobody foresees")
    proving_seconds: float = number(
        180.0, "s of forecasts that came true", "guess: before them their errors do not weigh the experts"
    )
    loss_half_life: float = number(340.0, "s", "guess: memory of the experts' losses")
    miss_half_life: float = number(690.0, "s", "guess: memory of what the mixture missed")
    sharpness: float = number(4.0, "exponent", "guess: weight of an expert = (its mean absolute error) ^ -sharpness")
    least_loss: float = number(0.001, "of mean demand", "guess: experts that hardly err weigh alike")
    trend_damping: float = number(0.7, "of the slope at the lead", "guess")
    most_growth: float = number(1.5, "times the present level", "guess: most that a trend is followed")
    most_headroom: float = number(0.5, "of the forecast", "guess: unless more was asked for within the history")
    guessed_deviation: float = number(
        0.08,
        "of the forecast, at a lead of two minutes",
        "guess: grows with the root of the lead until errors are known",
    )
    least_case: float = number(0.05, "of the forecast", "guess: demand never falls below it at once")
    growth_windows: float = number(1.5, "rate windows", "guess: a sample this old still tells how a queue grew")


@dataclass(frozen=True, slots=True)
class Knee:
    """Share of requests within the objectives over the load, and how it is learnt."""

    slope: float = number(
        9.0,
        "standard deviations per share of the knee",
        "measured on the Azure 2023 conversation trace, simulated fleets of 2 to 14 replicas (docs/adr/0005)",
    )
    prior: float = number(
        0.9,
        "of the modelled rate",
        "measured on the Azure 2023 conversation trace, simulated fleets of 2 to 14 replicas (docs/adr/0005)",
    )
    prior_deviation: float = number(0.06, "of the modelled rate", "guess: how far services differ from the prior")
    shown_deviation: float = number(0.075, "of the modelled rate", "guess: error of what one minute shows")
    drift_deviation: float = number(0.01, "of the modelled rate", "guess: traffic changes its ways within a minute")
    pull: float = number(0.008, "of the way to the prior per observed minute", "guess")
    largest_step: float = number(0.15, "of the modelled rate", "guess: most that one cycle moves it by")
    least: float = number(0.7, "of the modelled rate", "guess")
    most: float = number(1.3, "of the modelled rate", "guess")
    least_clear: float = number(0.02, "share of requests", "guess: fewer only say that the knee lies below")
    most_clear: float = number(0.995, "share of requests", "guess: more only say that the knee lies above")
    informative: float = number(0.6, "of the knee", "guess: misses at less load do not come from it")
    most_reserve: float = number(4.0, "times the busiest case", "guess: the search for capacity ends there")


FORECASTING: Final = Forecasting()
KNEE: Final = Knee()
