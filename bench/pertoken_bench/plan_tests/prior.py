"""What `pertoken.capacity.tuning` says of services at large, measured on the series that are tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pertoken.capacity.forecast.misses import span_of
from pertoken.capacity.tuning import PRIOR_LEVELS, SPANS
from pertoken.units import HOURS_PER_DAY
from pertoken_bench.plan_tests.score import Tested
from pertoken_bench.plan_tests.series import TUNED


@dataclass(frozen=True, slots=True)
class Prior:
    """`PRIOR_MISSES` and `usual_scale` as the series have them, and how many series tell of each span."""

    rows: tuple[tuple[float, ...], ...]
    scale: float
    series: tuple[int, ...]


def prior_of(tested: Sequence[Tested]) -> Prior:
    """Mean over series of the quantiles of their misses, in units of their mean absolute miss of the first day."""
    spans: list[list[np.ndarray]] = [[] for _ in range(len(SPANS) + 1)]
    scales = []
    for each in tested:
        miss = each.outlook.miss
        first = np.abs(miss[:, :HOURS_PER_DAY])
        if each.series.split != TUNED or not np.isfinite(first).any():
            continue
        scale = float(np.nanmean(first))
        scales.append(scale)
        by_lead = span_of(miss.shape[1])
        for span, found in enumerate(spans):
            part = miss[:, by_lead == span]
            known = part[np.isfinite(part)]
            if len(known) >= HOURS_PER_DAY and scale > 0:
                found.append(np.quantile(known / scale, PRIOR_LEVELS))
    rows = tuple(tuple(round(float(value), 2) for value in np.mean(found, axis=0)) for found in spans if found)
    return Prior(rows, round(float(np.median(scales)), 3), tuple(map(len, spans)))
