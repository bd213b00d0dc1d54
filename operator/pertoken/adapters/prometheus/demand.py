"""What services were asked for, out of Prometheus' range queries in bounded chunks: the history of `pertoken plan`.

Finished requests and their tokens, found by namespace and served name as in `pertoken.adapters.prometheus.history`. A
step without any series is not known, which is not the same as no traffic. Where engines and the gateway tell it, what
was refused is added, and by how much the requests in the system grew: served alone is never more than what replicas
could carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from pertoken.adapters.prometheus import gateway
from pertoken.adapters.prometheus.engines import ENGINES
from pertoken.adapters.prometheus.history import (
    MODEL_LABEL,
    TRAFFIC,
    HistoryQuery,
    HistoryUnavailable,
    Ranges,
    gauge_query,
    traffic_query,
)
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.promql import INSTANCE, duration, selector
from pertoken.capacity.history.bins import Bins, hourly
from pertoken.capacity.history.value import Floats, History, HistoryError
from pertoken.domain.service import ServiceSpec
from pertoken.domain.signal import Signal
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
    finished, inputs, outputs, rejected = (
        _sum([_series(source, service, (engine, signal), ends) for engine in _engines(service)])
        for signal in (*TRAFFIC, Signal.REJECTIONS_PER_SECOND)
    )
    refused = np.nan_to_num(rejected) + np.nan_to_num(_chunks(source, _refused_query(service), ends))
    inside = _sum([_chunks(source, _inside_query(service, engine), ends) for engine in _engines(service)])
    requests = asked_for(finished, refused, inside)
    asked = requests, _of_all(inputs, finished, requests), _of_all(outputs, finished, requests)
    return Bins(str(service.key), ends - STEP, asked)


def asked_for(finished: Floats, refused: Floats, inside: Floats) -> Floats:
    """Requests that arrived in each step: those that left it, and by how many more are in the system at its end.

    Args:
        finished: in the step, NaN where not known; then what arrived is not known either.
        refused: in the step.
        inside: running and waiting at the step's end, NaN where not known: taken not to have changed.
    """
    growth = np.nan_to_num(np.diff(inside, prepend=np.nan))
    arrived: Floats = np.maximum(finished + refused + growth, 0.0)
    return arrived


def _of_all(tokens: Floats, finished: Floats, requests: Floats) -> Floats:
    """Tokens of everything that arrived, from those of what was finished; where nothing was, from the usual request."""
    told = np.isfinite(tokens) & np.isfinite(finished) & (finished > 0)
    if not told.any():
        return tokens
    usual = float(tokens[told].sum() / finished[told].sum())
    per_request = np.where(told, tokens / np.where(told, finished, 1.0), usual)
    all_tokens: Floats = requests * per_request
    return all_tokens


def _engines(service: ServiceSpec) -> list[str]:
    return sorted({variant.engine.value for variant in service.variants})


def _asked(service: ServiceSpec, engine: str) -> HistoryQuery:
    return HistoryQuery(service.key.namespace, service.key.name, service.model.served_name, engine, {}, 0.0)


def _series(source: Ranges, service: ServiceSpec, asked: tuple[str, Signal], ends: Floats) -> Floats:
    engine, signal = asked
    if signal not in ENGINES[engine].rates:
        return np.full(len(ends), np.nan)
    return _chunks(source, traffic_query(ENGINES[engine], _asked(service, engine), signal, STEP), ends)


def _inside_query(service: ServiceSpec, engine: str) -> str:
    return gauge_query(ENGINES[engine], _asked(service, engine), (Signal.RUNNING, Signal.WAITING))


def _refused_query(service: ServiceSpec) -> str:
    """Refusals of the inference gateway; it exports them under an older and a newer name."""
    matchers = [("namespace", "=", service.key.namespace), (MODEL_LABEL, "=", service.model.served_name)]
    names = [selector(name, [*matchers, gateway.REFUSED]) for name in gateway.REFUSALS]
    grown = (f"sum(max by ({INSTANCE}, pod, outcome) (increase({name}[{duration(STEP)}])))" for name in names)
    return " or ".join(grown)


def _chunks(source: Ranges, query: str, ends: Floats) -> Floats:
    if not query:
        return np.full(len(ends), np.nan)
    size = int(CHUNK // STEP)
    parts = [source.values(query, ends[at : at + size].tolist(), STEP) for at in range(0, len(ends), size)]
    return np.array([value for part in parts for value in part])


def _sum(series: Sequence[Floats]) -> Floats:
    """Of several engines: what none of them tells is not known."""
    stacked = np.stack(series)
    total: Floats = np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)
    return total
