"""Every number that decides in the forecast and at the SLO knee, with its unit and where it comes from.

All groups are part of the planner's `Tuning`, which hands them in. Provenance as in `pertoken.planner.tuning`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    trend_damping: float = number(0.7, "of the slope at the lead", "guess")
    most_growth: float = number(1.5, "times the present level", "guess: most that a trend is followed")
    most_headroom: float = number(0.5, "of the forecast", "guess: unless more was asked for within the history")
    guessed_deviation: float = number(
        0.08,
        "of the forecast, at a lead of two minutes",
        "guess: grows with the root of the lead until errors are known",
    )
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
    share_deviation: float = number(0.02, "share of requests, in one minute", "guess: error of the curve")
    drift_deviation: float = number(0.01, "of the modelled rate", "guess: traffic changes its ways within a minute")
    pull: float = number(0.008, "of the way to the prior per observed minute", "guess")
    owed_rate: float = number(
        0.04, "of the modelled rate, within a minute", "guess: where twice what is allowed misses"
    )
    least: float = number(0.6, "of the modelled rate", "guess")
    most: float = number(1.6, "of the modelled rate", "guess")
    most_surprise: float = number(2.0, "standard deviations", "guess: more is an accident, not the knee")
    apart: float = number(0.005, "share of requests", "guess: misses that come with no load, before any are seen")
    apart_deviation: float = number(0.015, "share of requests", "guess: how far services differ from it")
    apart_drift: float = number(0.004, "share of requests, within a minute", "guess: traffic changes its ways")
    most_apart: float = number(0.3, "share of requests", "guess")
    most_reserve: float = number(4.0, "times the busiest case", "guess: the search for capacity ends there")


@dataclass(frozen=True, slots=True)
class Budget:
    """How the requests that may miss their objectives are spent (`pertoken.forecast.error_budget`)."""

    half_life: float = number(1800.0, "s", "guess: memory of what was missed")
    prior_seconds: float = number(300.0, "s of requests", "guess: taken to have missed what they may, at first")
    most: float = number(0.1, "share of requests", "guess: less than 90 % is never aimed at")
    least: float = number(0.3, "of the misses allowed", "guess: an overspent budget is not earned back faster")
    least_late: float = number(0.45, "of the misses allowed", "guess: the same where replicas come late")
    reserve_late: float = number(0.5, "of the misses allowed", "guess: kept for ramps where replicas come late")
    late_power: float = number(3.0, "exponent of what caution leaves", "guess: spending ends before caution is full")
    soon: float = number(200.0, "s of lead", "guess: replicas come soon enough to mend an error")
    late: float = number(400.0, "s of lead", "guess: errors last for longer than most ramps")
    window_share: float = number(0.5, "of the user's window", "guess: what was missed at its start still counts")

    def within(self, window: float | None, floor: float | None) -> Budget:
        """These numbers for a service that says over which time it is owed how much.

        Args:
            window: seconds; None where the service does not say.
            floor: share of requests below which nothing is aimed at; None where the service does not say.
        """
        life = self.half_life if window is None else min(self.half_life, self.window_share * window)
        return replace(self, half_life=life, most=self.most if floor is None else 1.0 - floor)


@dataclass(frozen=True, slots=True)
class LossNumbers:
    """Replicas that get lost, and the reserve for them (`pertoken.forecast.losses`)."""

    half_life: float = number(21_600.0, "s", "guess: memory of losses; spot markets change within hours")
    prior_hours: float = number(2.0, "replica-hours", "guess: weight of what is taken for granted at first")
    spot: float = number(0.1, "losses per replica and hour", "guess: of spot nodes, before any was watched")
    other: float = number(0.005, "losses per replica and hour", "guess: of other nodes, before any was watched")
    longest_look: float = number(600.0, "s", "guess: what happened in a longer gap between two looks is not told")
    short_share: float = number(
        0.1, "of the time", "guess: fewer replicas than needed may serve for so long; while they do, some requests miss"
    )


BUDGET: Final = Budget()
LOSSES: Final = LossNumbers()
FORECASTING: Final = Forecasting()
KNEE: Final = Knee()
