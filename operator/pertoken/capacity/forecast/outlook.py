"""One service's outlook: its forecast by the hour, the quantiles about it, and the back-tests that they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.backtest import (
    Origins,
    Tested,
    backtest,
    by_span,
    target_days,
    usable,
    usual_of,
    wape,
)
from pertoken.capacity.forecast.misses import (
    LEVELS,
    Misses,
    bounded,
    ceiling_of,
    misses_of,
    prior_at,
    restored,
    span_of,
    transformed,
)
from pertoken.capacity.forecast.models import MODELS, forecasts
from pertoken.capacity.tuning import BACKTEST, MISSES, SPANS
from pertoken.units import HOURS_PER_DAY, PER_CENT

Floats = NDArray[np.float64]
MEDIAN: Final = 50.0
P90: Final = 90.0
_TWO_SIDED_95: Final = 1.96  # standard deviations
_ASKED: Final[Floats] = np.array([MEDIAN, P90]) / PER_CENT


@dataclass(frozen=True, slots=True)
class Score:
    """How good back-tests were, over all leads or a span of them.

    Attributes:
        from_hour, to_hour: leads, hours from 1, both included.
        wape: of the P50: sum of absolute errors over the sum of what came; None where nothing came.
        naive_wape: of the seasonal naive forecast on the same hours.
        coverage: share of hours that did not exceed the P90 that was known then; None without any.
        low, high: 95 % interval of the coverage, each day of the history counted as one observation (Wilson).
        hours: forecasts that were compared.
    """

    from_hour: int
    to_hour: int
    wape: float | None
    naive_wape: float | None
    coverage: float | None
    low: float | None
    high: float | None
    hours: int


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is expected of one service.

    Attributes:
        forecast: by the hour of the horizon, in the unit of the history.
        usual: mean hour of the last four weeks.
        most: what no future exceeds.
        misses: quantiles of the forecast's misses.
        miss: ``[origin, lead]`` of the chosen models, NaN where not known: what futures are drawn from.
        models: the chosen ones, by span of leads.
        ceiling: by `LEVELS`, see `ceiling_of`.
        score: over all leads; and by span.
        by_model: WAPE of every model.
    """

    forecast: Floats
    usual: float
    most: float
    misses: Misses
    miss: Floats
    models: tuple[str, ...]
    ceiling: Floats
    score: Score
    by_span: tuple[Score, ...]
    by_model: dict[str, float | None]

    @property
    def model(self) -> str:
        """The one of the first day."""
        return self.models[0]

    def quantile(self, per_cent: float) -> Floats:
        """By the hour: what demand stays below in `per_cent` of cases."""
        value = restored(self.misses.quantile(per_cent, len(self.forecast)), self.forecast, self.usual)
        ceiling = float(np.interp(per_cent / PER_CENT, LEVELS, self.ceiling))
        return np.minimum(bounded(value, self.forecast, ceiling), self.most)


def outlook_of(values: Floats, origins: Origins) -> Outlook | None:
    """Forecast a service; None where too little of its past is known.

    Args:
        values: by the hour of the history, NaN for gaps.
        origins: of the back-tests.
    """
    before = usable(values, BACKTEST.least_history_days)
    if before is None:
        return None
    tested = backtest(values, origins)
    models = tested.chosen()
    path = by_span(forecasts([before], [origins.horizon])[0], models)
    miss = transformed(tested.actual, tested.of_models(models), tested.usual[:, None])
    p50, p90 = _as_known_then(tested, values)
    return Outlook(
        forecast=path,
        usual=usual_of(before),
        most=MISSES.most_seen * float(np.nanmax(values)),
        misses=misses_of(miss),
        miss=miss,
        models=tuple(MODELS[model] for model in models),
        ceiling=ceiling_of(_lately(values), LEVELS),
        score=_score(tested, p50, p90, (0, origins.leads)),
        by_span=tuple(_scores(tested, p50, p90)),
        by_model=tested.by_model,
    )


def _lately(values: Floats) -> Floats:
    return values[-MISSES.ceiling_days * HOURS_PER_DAY :]


def _as_known_then(tested: Tested, values: Floats) -> tuple[Floats, Floats]:
    """P50 and P90 ``[origin, lead]`` as each origin would have told them, from misses known by then."""
    p50, p90 = (np.full(tested.actual.shape, np.nan) for _ in range(2))
    spans = span_of(tested.actual.shape[1])
    prior = prior_at(_ASKED)
    misses: dict[tuple[int, ...], Floats] = {}
    for index, origin in enumerate(tested.origins.hours):
        if not np.isfinite(tested.usual[index]):
            continue
        models = tested.chosen(origin)
        if models not in misses:
            misses[models] = transformed(tested.actual, tested.of_models(models), tested.usual[:, None])
        known = tested.known_by(origin)[:index]
        table = misses_of(np.where(known, misses[models][:index], np.nan), _ASKED, prior).table
        forecast = by_span(tested.forecast[index], models)
        ceiling = ceiling_of(_lately(values[:origin]), _ASKED)
        p50[index], p90[index] = (
            bounded(restored(table[:, column][spans], forecast, float(tested.usual[index])), forecast, ceiling[column])
            for column in range(2)
        )
    return p50, p90


def _scores(tested: Tested, p50: Floats, p90: Floats) -> list[Score]:
    leads = tested.origins.leads
    ends = [*(span for span in SPANS if span < leads), leads]
    begins = [0, *ends[:-1]]
    return [_score(tested, p50, p90, span) for span in zip(begins, ends, strict=True) if span[1] > span[0]]


def _score(tested: Tested, p50: Floats, p90: Floats, leads: tuple[int, int]) -> Score:
    part = slice(*leads)
    actual, forecast, limit = tested.actual[:, part], p50[:, part], p90[:, part]
    known = np.isfinite(actual) & np.isfinite(limit)
    hours = int(known.sum())
    covered = low = high = None
    if hours:
        covered = float((actual <= limit)[known].mean())
        low, high = wilson(covered, target_days(tested.origins.hours, np.pad(known, ((0, 0), (leads[0], 0)))))
    naive = wape(tested.naive[:, part], actual)
    return Score(leads[0] + 1, leads[1], wape(forecast, actual), naive, covered, low, high, hours)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share that was observed `count` times (Wilson 1927)."""
    z2 = _TWO_SIDED_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _TWO_SIDED_95 / (1 + z2 / count) * sqrt(share * (1 - share) / count + z2 / ((2 * count) ** 2))
    return max(0.0, middle - half), min(1.0, middle + half)
