"""Every number that decides in the capacity plan, with its unit and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class HistoryNumbers:
    """How the past is read."""

    least_told: float = number(0.5, "of an hour's bins", "guess: an hour with fewer of them is a gap")
    burst_seconds: float = number(
        300.0, "s", "guess: a stretch that replicas must carry; shorter ones wait in the queue"
    )
    request_seconds: float = number(300.0, "s", "convention: bins into which single requests are counted")


HISTORY = HistoryNumbers()


@dataclass(frozen=True, slots=True)
class DayNumbers:
    """How a history is taken apart into days."""

    type_doubt: float = number(1.0, "days", "measured on 74 series (docs/capacity.md): a day type counts as ordinary")
    weekend_contrast: float = number(
        2.0,
        "times the spread within the two kinds",
        "measured on 74 series (docs/capacity.md): two days that differ more than this from the others are a weekend",
    )
    shape_doubt: float = number(2.0, "days", "measured on 74 series (docs/capacity.md): as much of the common shape")
    shape_days: int = number(28, "days", "guess: older days do not shape the hours")
    shape_memory: float = number(0.93, "weight of a day over the next one's", "guess")
    level_days: int = number(56, "days", "guess: older days do not tell the level")
    most_growth: float = number(3.0, "times the highest recent day", "guess: most that a trend is followed")


@dataclass(frozen=True, slots=True)
class BacktestNumbers:
    """What is back-tested, and how a model is chosen."""

    least_history_days: int = number(2, "days", "guess: a forecast needs them before it")
    least_days: int = number(3, "days", "guess: a back-test needs them before it")
    least_known: float = number(0.5, "of the hours", "guess: with fewer of them known nothing is forecast")
    week_days: int = number(14, "days", "by definition: each day of the week twice")
    long_days: int = number(42, "days", "by contract: six weeks of history")
    usual_days: int = number(28, "days", "convention: four weeks")
    choice_margin: float = number(0.05, "of the combination's error", "guess: a model must be better by as much")
    choice_doubt: float = number(5.0, "days", "guess: back-tests that count for all models alike")
    most_origins: int = number(28, "origins", "by definition: four weeks of days")
    origin_budget: int = number(5000, "origins of all services", "measured on 500 services: 15 s of one CPU")
    least_origins: int = number(7, "origins", "guess: each day of the week once")


@dataclass(frozen=True, slots=True)
class MissNumbers:
    """How far forecasts miss."""

    small_share: float = number(
        0.5, "of the usual hour", "measured on 37 series (docs/capacity.md): least pinball loss"
    )
    prior_weight: float = number(10.0, "origins", "measured on 37 series (docs/capacity.md): least pinball loss")
    scale_weight: float = number(3.0, "origins", "guess: as many say how rough other services are")
    usual_scale: float = number(0.28, "mean absolute miss of the first day", "measured on 37 series (docs/capacity.md)")
    most_seen: float = number(1.5, "times the busiest hour of the history", "guess: nothing beyond is planned for")


@dataclass(frozen=True, slots=True)
class FutureNumbers:
    """How futures are drawn."""

    resamples: int = number(200, "futures", "guess: 20 of them lie beyond the P90")
    block_days: int = number(7, "days", "guess: misses of one week belong together")
    least_weeks: int = number(3, "weeks of history", "guess: with less, days are drawn one by one")
    own_weight: float = number(4.0, "origins", "guess: as many for misses that are common to all services")
    day_memory: float = number(0.7, "correlation of one day's common miss with the next one's", "guess")


# Spans of leads in hours: a day, to three days, a week, two weeks, longer. A span begins where the one before it ends.
SPANS = (24, 72, 168, 336)
# Quantiles of misses in units of a service's mean absolute miss on the first day, by span. Measured on every second of
# 74 series (docs/capacity.md says which), with `small_share` as below.
PRIOR_LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
PRIOR_MISSES = (
    (-3.2, -2.3, -1.64, -0.71, -0.14, 0.43, 1.11, 1.73, 3.0),
    (-3.4, -2.5, -1.84, -0.95, -0.22, 0.48, 1.34, 2.02, 3.4),
    (-3.4, -2.5, -1.82, -0.94, -0.32, 0.45, 1.39, 2.44, 4.0),
    (-3.4, -2.5, -1.66, -0.82, -0.24, 0.53, 1.36, 2.58, 4.2),
    (-3.6, -2.8, -2.0, -1.1, -0.3, 0.55, 1.5, 2.7, 4.4),
)


@dataclass(frozen=True, slots=True)
class DemandNumbers:
    """What the past says of requests and of the minutes inside an hour."""

    request_days: int = number(14, "days", "guess: they tell the mean request")
    usual_peak: float = number(
        1.25, "times the hour's mean", "measured on 13 series (docs/capacity.md): where bins are whole hours"
    )


DEMAND = DemandNumbers()
DAYS = DayNumbers()
BACKTEST = BacktestNumbers()
MISSES = MissNumbers()
FUTURES = FutureNumbers()


@dataclass(frozen=True, slots=True)
class AgainNumbers:
    """How the last weeks come again beside the futures when capacity is bought."""

    share: float = number(0.5, "of what is bought for", "measured on 176 clients' series (docs/purchase.md)")
    most_weeks: int = number(8, "weeks", "guess: older ones say little of the next term")


AGAIN = AgainNumbers()


@dataclass(frozen=True, slots=True)
class MixNumbers:
    """How replicas of several variants are mixed."""

    most_others: int = number(8, "replicas", "guess: of a variant that is dearer per request, to fill the last gap")


MIX = MixNumbers()
