"""What services were asked for, out of Prometheus' range queries in bounded chunks: the history of `pertoken plan`.

Finished requests and their tokens, found by namespace and served name as in `pertoken.adapters.prometheus.history`. A
step without any series is not known, which is not the same as no traffic. What was queued counts when it is finished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from pertoken.adapters.prometheus.engines import ENGINES
from pertoken.adapters.prometheus.history import TRAFFIC, HistoryQuery, HistoryUnavailable, Ranges, traffic_query
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.capacity.history.bins import Bins, hourly
from pertoken.capacity.history.value import Floats, History, HistoryError
from pertoken.domain.service import ServiceSpec
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

STEP: Final = 300.0  # seconds
CHUNK: Final = 7 * HOURS_PER_DAY * SECONDS_PER_HOUR  # seconds of one query: 2,016 points


def read_demand(profile: MetricsProfile, services: Sequence[ServiceSpec], days: int, timeout: float = 120.0) -> History:
    """The last `days` days of every service, up to the last whole hour of Prometheus' own clock.

    Raises:
        HistoryUnavailable: Prometheus does not answer, or tells nothing of any service.
    """
    source = Ranges(profile, timeout)
    end = math.floor(source.now() / SECONDS_PER_HOUR) * SECONDS_PER_HOUR
    begin = end - days * HOURS_PER_DAY * SECONDS_PER_HOUR
    bins = [_bins(source, service, begin, end) for service in services]
    if not any(np.isfinite(values).any() for each in bins for values in each.values):
        raise HistoryUnavailable(f"{profile.url}: no finished requests of any service in {days} days")
    try:
        return hourly(bins, STEP)
    except HistoryError as error:
        raise HistoryUnavailable(f"{profile.url}: {error}") from error


def _bins(source: Ranges, service: ServiceSpec, begin: float, end: float) -> Bins:
    ends = np.arange(begin + STEP, end + STEP / 2, STEP)
    requests, inputs, outputs = (
        _sum([_series(source, service, engine, index, ends) for engine in _engines(service)])
        for index in range(len(TRAFFIC))
    )
    return Bins(str(service.key), ends - STEP, (requests, inputs, outputs))


def _engines(service: ServiceSpec) -> list[str]:
    return sorted({variant.engine.value for variant in service.variants})


def _series(source: Ranges, service: ServiceSpec, engine: str, index: int, ends: Floats) -> Floats:
    asked = HistoryQuery(service.key.namespace, service.key.name, service.model.served_name, engine, {}, 0.0)
    query = traffic_query(ENGINES[engine], asked, TRAFFIC[index], STEP)
    size = int(CHUNK // STEP)
    parts = [source.values(query, ends[at : at + size].tolist(), STEP) for at in range(0, len(ends), size)]
    return np.array([value for part in parts for value in part])


def _sum(series: Sequence[Floats]) -> Floats:
    """Of several engines: what none of them tells is not known."""
    stacked = np.stack(series)
    total: Floats = np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)
    return total
