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
    most_years: int = number(20, "years", "guess: a longer span is a slip in a time")
    latest: float = number(1e11, "s", "convention: Unix seconds; what is later is in milliseconds")
    most_amount: float = number(1e15, "requests or tokens of a bin", "guess: no service of the world is asked for more")


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
    least_levels: int = number(4, "days", "by contract: a model of the library cannot be fitted to fewer")
    level_days: int = number(56, "days", "guess: older days do not tell the level")
    most_growth: float = number(3.0, "times the highest recent day", "guess: most that a trend is followed")


@dataclass(frozen=True, slots=True)
class SeasonNumbers:
    """How each phase of a season is smoothed."""

    least_weight: float = number(0.01, "weight of the newest value", "convention: as statsforecast")
    most_weight: float = number(0.99, "weight of the newest value", "convention: as statsforecast")
    tolerance: float = number(1e-3, "of the weight", "guess: forecasts move by less than a thousandth")


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
    choice_doubt: float = number(
        15.0, "days", "measured on 37 series (docs/capacity.md): back-tests that count for all models alike"
    )
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
    usual_scale: float = number(0.29, "mean absolute miss of the first day", "measured on 37 series (docs/capacity.md)")
    most_seen: float = number(1.5, "times the busiest hour of the history", "guess: nothing beyond is planned for")
    ceiling_days: int = number(56, "days", "guess: as far back as levels of days are told")
    shifted_hours: int = number(
        72, "h", "measured on 37 series (docs/capacity.md): beyond, the P50 is the forecast, unshifted by past misses"
    )
    ceiling_share: float = number(
        0.5, "of the share of hours beyond", "measured on 37 series (docs/capacity.md): P90 coverage stays what it is"
    )


@dataclass(frozen=True, slots=True)
class FutureNumbers:
    """How futures are drawn."""

    resamples: int = number(200, "futures", "guess: 20 of them lie beyond the P90")
    block_days: int = number(7, "days", "guess: misses of one week belong together")
    least_weeks: int = number(3, "weeks of history", "guess: with less, days are drawn one by one")
    own_weight: float = number(4.0, "origins", "guess: as many for misses that are common to all services")
    fine_scores: int = number(4096, "scores", "guess: two of them differ by a thousandth of a standard deviation")
    day_memory: float = number(0.7, "correlation of one day's common miss with the next one's", "guess")


# Spans of leads in hours: a day, to three days, a week, two weeks, longer. A span begins where the one before it ends.
SPANS = (24, 72, 168, 336)
# Quantiles of misses in units of a service's mean absolute miss on the first day, by span. Measured on every second of
# 74 series (docs/capacity.md says which). No span is taken narrower than the one before it; the longest leads, which
# one series reaches, are a tenth wider.
PRIOR_LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
PRIOR_MISSES = (
    (-5.06, -3.42, -1.67, -0.74, -0.14, 0.44, 1.15, 1.82, 3.39),
    (-5.17, -3.58, -1.85, -0.88, -0.21, 0.49, 1.29, 2.02, 3.94),
    (-5.36, -3.84, -1.89, -1.01, -0.27, 0.49, 1.42, 2.78, 3.94),
    (-5.36, -3.84, -1.89, -1.01, -0.29, 0.49, 1.42, 2.78, 3.94),
    (-5.36, -3.84, -2.1, -1.15, -0.32, 0.54, 1.56, 2.9, 4.1),
)


@dataclass(frozen=True, slots=True)
class DemandNumbers:
    """What the past says of requests and of the minutes inside an hour."""

    input_tokens: float = number(1000.0, "tokens", "convention: of `pertoken curve`, where nobody tells")
    output_tokens: float = number(200.0, "tokens", "convention: of `pertoken curve`, where nobody tells")
    least_growth: float = number(-0.9, "per 30 days", "guess: less than a tenth left is no growth but an end")
    most_growth: float = number(10.0, "per 30 days", "guess: more is a slip of the keyboard")
    request_days: int = number(14, "days", "guess: they tell the mean request")
    most_tokens: float = number(1e7, "tokens of the mean request", "convention: of `pertoken advise --input-tokens`")
    usual_peak: float = number(
        1.2, "times the hour's mean", "measured on 13 recorded series of short bins (1.07 to 2.6): their median"
    )


DEMAND = DemandNumbers()
DAYS = DayNumbers()
SEASONS = SeasonNumbers()
BACKTEST = BacktestNumbers()
MISSES = MissNumbers()
FUTURES = FutureNumbers()


@dataclass(frozen=True, slots=True)
class AgainNumbers:
    """How the last weeks come again beside the futures when capacity is bought."""

    share: float = number(0.5, "of what is bought for", "measured on 172 clients' series (docs/purchase.md)")
    most_weeks: int = number(8, "weeks", "guess: older ones say little of the next term")


AGAIN = AgainNumbers()


@dataclass(frozen=True, slots=True)
class BurstNumbers:
    """How single requests come inside the hour, and how far fleets are tried on them."""

    stretch_seconds: float = number(1500.0, "s", "guess: some bursts, and no trend of the day")
    stretch_levels: tuple[float, ...] = (0.1, 0.5, 0.9)  # which stretches are kept, of all from quiet to busy
    least_requests: int = number(100, "requests of a stretch", "guess: fewer tell no percentile")
    most_requests: int = number(6000, "requests of a stretch", "guess: a percentile to half a point, in milliseconds")
    drawn_requests: int = number(2000, "requests", "guess: 130 bursts")
    usual_size: int = number(
        15, "requests of a burst", "measured on 12 recorded services (docs/capacity.md): as bursty as nine of ten"
    )
    usual_gap: float = number(0.1, "s between two requests of a burst", "measured on the same 12 services")
    input_spread: float = number(
        1.0, "squared coefficient of variation", "measured on 5 recorded traces (0.1 to 1.4): about their median"
    )
    output_spread: float = number(
        2.0, "squared coefficient of variation", "measured on 5 recorded traces (0.6 to 4.6): about their median"
    )
    fleets: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16)  # replicas that are tried
    usual_fleets: tuple[int, ...] = (1, 2, 4, 8, 16)  # the same on bursts as usual
    step: float = number(0.05, "of the fleet's sustainable rate", "guess: what one replica more would change")
    least_share: float = number(
        0.05, "of the fleet's sustainable rate", "guess: bursts alone, without load, call for no more replicas"
    )
    most_batch: float = number(1024.0, "sequences", "convention: vLLM's largest default of max_num_seqs")
    beside: float = number(4.0, "sequences", "guess: they decode while prompts are computed")


BURSTS = BurstNumbers()


@dataclass(frozen=True, slots=True)
class AdviceNumbers:
    """On what a plan gives advice."""

    most_services: int = number(16, "services", "convention: entries of a list of the status; a tenth of a second each")
    most_changes: int = number(3, "changes of a service", "guess: `pertoken advise` tells the others")
    least_saving: float = number(1.0, "USD per month", "guess: less is not worth a reader's time")


ADVICE = AdviceNumbers()


@dataclass(frozen=True, slots=True)
class MixNumbers:
    """How replicas of several variants are mixed."""

    most_others: int = number(8, "replicas", "guess: of a variant that is dearer per request, to fill the last gap")


MIX = MixNumbers()
