"""Back-tests of every series, and weeks that came after a plan was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.backtest import origins_of, usable, wape
from pertoken.capacity.forecast.models import seasonal_naive
from pertoken.capacity.forecast.outlook import MEDIAN, P90, Outlook, outlook_of
from pertoken.capacity.tuning import BACKTEST
from pertoken.units import HOURS_PER_DAY
from pertoken_bench.plan_tests.series import Recorded

Floats = NDArray[np.float64]
WEEK: Final = 7 * HOURS_PER_DAY
HISTORIES: Final = (4, 5, 7, 9, 11, 14, 21, 28, 42)  # days that a plan is made from
REDRAWN: Final = 2000
_INTERVAL: Final = (2.5, 97.5)  # per cent


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """One series with its outlook over a week."""

    series: Recorded
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Week:
    """A plan from the first `days` of a series, and the (part of a) week that came."""

    series: Recorded
    days: int
    wape: float
    naive_wape: float
    coverage: float


def back_tests(series: Sequence[Recorded], horizon: int = 4 * WEEK) -> list[Tested]:
    """Every series that is long enough."""
    tested = []
    for each in series:
        outlook = outlook_of(each.values, origins_of(len(each.values), horizon, BACKTEST.most_origins))
        if outlook is not None and outlook.score.wape is not None:
            tested.append(Tested(each, outlook))
    return tested


def weeks(series: Sequence[Recorded]) -> Iterator[Week]:
    """Plans from several lengths of history, each held against what came in the next week."""
    for each in series:
        for days in HISTORIES:
            known, came = each.values[: days * HOURS_PER_DAY], each.values[days * HOURS_PER_DAY :][:WEEK]
            if len(came) < 2 * HOURS_PER_DAY or not np.nansum(came) > 0:
                continue
            outlook = outlook_of(known, origins_of(len(known), len(came), BACKTEST.most_origins))
            before = usable(known)
            if outlook is None or before is None:
                continue
            told = np.isfinite(came)
            errors = wape(outlook.quantile(MEDIAN), came), wape(seasonal_naive(before, len(came)), came)
            if errors[0] is not None and errors[1]:
                held = float((came <= outlook.quantile(P90))[told].mean())
                yield Week(each, days, errors[0], errors[1], held)


def pooled(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float, float]:
    """Weighted mean over series with its 95 % interval; whole series are redrawn (bootstrap, seeded)."""
    value, weight = np.array(values), np.array(weights, dtype=np.float64)
    rows = np.random.default_rng(0).integers(0, len(value), (REDRAWN, len(value)))
    means = (value * weight)[rows].sum(axis=1) / weight[rows].sum(axis=1)
    low, high = np.percentile(means, _INTERVAL)
    return float(np.average(value, weights=weight)), float(low), float(high)


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Median of a WAPE over the seasonal naive one; NaN where that one never errs."""
    ratios = [own / naive for own, naive in pairs if naive > 0]
    return float(np.median(ratios)) if ratios else np.nan
