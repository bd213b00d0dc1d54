"""What services were asked for, out of Prometheus' range queries in bounded chunks: the history of `pertoken plan`.

Finished requests and their tokens, found by namespace and served name as in `pertoken.adapters.prometheus.history`, of
dozens of services by one query. A
step without any series is not known, which is not the same as no traffic. Where engines and the gateway tell it, what
was refused is added, and by how much the requests in the system grew: served alone is never more than what replicas
could carry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

import numpy as np

from pertoken.adapters.prometheus import gateway
from pertoken.adapters.prometheus.engines import ENGINES, EngineMetrics
from pertoken.adapters.prometheus.history import MODEL_LABEL, TRAFFIC, HistoryUnavailable, Ranges
from pertoken.adapters.prometheus.profile import REPLICA_LABELS, MetricsProfile
from pertoken.adapters.prometheus.promql import INSTANCE, JOB, duration, selector
from pertoken.capacity.history.bins import Bins, hourly
from pertoken.capacity.history.value import Floats, History, HistoryError
from pertoken.domain.service import ServiceSpec
from pertoken.domain.signal import Signal
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Match = tuple[str, str, str]
STEP: Final = 300.0  # seconds
CHUNK: Final = 7 * HOURS_PER_DAY * SECONDS_PER_HOUR  # seconds of one query: 2,016 points of each service
SERVICES: Final = 50  # of one query: 100,800 points, some megabytes
LETTERS: Final = 1_000  # of their names: a query repeats them up to four times, and VictoriaMetrics takes 16 KiB
NAMED_ENGINES: Final = frozenset({"vllm", "sglang"})  # whose series have the model's name


def read_demand(profile: MetricsProfile, services: Sequence[ServiceSpec], days: int, timeout: float = 120.0) -> History:
    """The last `days` days of every service, up to the last whole hour of Prometheus' own clock.

    Raises:
        HistoryUnavailable: Prometheus does not answer, or tells nothing of any service.
    """
    source = Ranges(profile, timeout)
    end = math.floor(source.now() / SECONDS_PER_HOUR) * SECONDS_PER_HOUR
    begin = end - days * HOURS_PER_DAY * SECONDS_PER_HOUR
    told = _Told(source, services, np.arange(begin + STEP, end + STEP / 2, STEP))
    bins = told.bins()
    if not any(np.isfinite(values).any() for each in bins for values in each.values):
        raise HistoryUnavailable(f"{profile.url}: no finished requests of any service in {days} days")
    try:
        return hourly(bins, STEP)
    except HistoryError as error:
        raise HistoryUnavailable(f"{profile.url}: {error}") from error


class _Told:
    """Answers about all services, by figure: one query for as many services as its length and its answer allow."""

    def __init__(self, source: Ranges, services: Sequence[ServiceSpec], ends: Floats) -> None:
        self._source = source
        self._services = services
        self._ends = ends

    def bins(self) -> list[Bins]:
        """Of every service, in their order."""
        finished, inputs, outputs, rejected = (
            self._of_engines(partial(_traffic_query, signal=signal))
            for signal in (*TRAFFIC, Signal.REJECTIONS_PER_SECOND)
        )
        inside = self._of_engines(_inside_query)
        held = self._ask(self._services, _refused_query, named=True)
        bins = []
        for place, service in enumerate(self._services):
            refused = np.nan_to_num(rejected[place]) + np.nan_to_num(held[place])
            requests = asked_for(finished[place], refused, inside[place])
            prompts, answers = (_of_all(each[place], finished[place], requests) for each in (inputs, outputs))
            bins.append(Bins(str(service.key), self._ends - STEP, (requests, prompts, answers)))
        return bins

    def _of_engines(self, query: Callable[[EngineMetrics, Asked], str]) -> list[Floats]:
        """By service, the sum over its engines; what none of them tells is not known."""
        totals = [np.full(len(self._ends), np.nan) for _ in self._services]
        for name in sorted({engine for service in self._services for engine in _engines(service)}):
            places = [index for index, service in enumerate(self._services) if name in _engines(service)]
            group = [self._services[index] for index in places]
            row = ENGINES[name]
            answers = self._ask(group, partial(query, row), named=name in NAMED_ENGINES)
            for place, values in zip(places, answers, strict=True):
                totals[place] = _sum([totals[place], values])
        return totals

    def _ask(self, services: Sequence[ServiceSpec], query: Callable[[Asked], str], *, named: bool) -> list[Floats]:
        """By service; engines whose series have no model's name are asked by namespace."""
        keys = [(each.key.namespace, each.model.served_name if named else "") for each in services]
        values = {key: np.full(len(self._ends), np.nan) for key in keys}
        size = int(CHUNK // STEP)
        for asked in _groups(sorted(values), named=named):
            text = query(asked)
            for at in range(0, len(self._ends) if text else 0, size):
                moments = self._ends[at : at + size].tolist()
                for labels, told in self._source.series(text, moments, STEP):
                    key = labels.get("namespace", ""), labels.get(MODEL_LABEL, "") if named else ""
                    if key in values:
                        values[key][at : at + size] = told
        return [values[key] for key in keys]


@dataclass(frozen=True, slots=True)
class Asked:
    """Services of one query.

    Attributes:
        matchers: that select them, by namespace and, where engines tell it, the model's name.
        labels: that tell them apart.
    """

    matchers: tuple[Match, ...]
    labels: str


def _groups(keys: Sequence[tuple[str, str]], *, named: bool) -> Iterator[Asked]:
    """As many services at once as the points of an answer and the letters of a query allow."""
    labels = f"namespace, {MODEL_LABEL}" if named else "namespace"
    for group in batched(keys, SERVICES):
        namespaces, names = (_any_of(sorted(set(column))) for column in zip(*group, strict=True))
        models: tuple[Match, ...] = ((MODEL_LABEL, "=~", names),) if named else ()
        yield Asked((("namespace", "=~", namespaces), *models), labels)


def batched(keys: Sequence[tuple[str, str]], most: int) -> Iterator[Sequence[tuple[str, str]]]:
    """Consecutive groups of at most `most` keys and `LETTERS` letters."""
    group: list[tuple[str, str]] = []
    for key in keys:
        if group and (len(group) == most or sum(map(len, (*key, *chain(*group)))) > LETTERS):
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def _any_of(texts: Sequence[str]) -> str:
    return "|".join(re.escape(text) for text in texts)


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


def _servers(asked: Asked, expression: str) -> str:
    """The sum over all servers of each service, each scraped once or several times."""
    server = f"{asked.labels}, pod, {INSTANCE}"
    scrape = ", ".join((server, JOB, *REPLICA_LABELS))
    return f"max by ({server}) (sum by ({scrape}) ({expression}))"


def _traffic_query(row: EngineMetrics, asked: Asked, signal: Signal) -> str:
    """What services finished, or refused, in a step; empty where the engine does not tell."""
    grown = [
        _servers(asked, f"increase({selector(metric.name, (*metric.matchers, *asked.matchers))}[{duration(STEP)}])")
        for metric in row.rates.get(signal, ())
    ]
    return f"sum by ({asked.labels}) ({' or '.join(grown)})" if grown else ""


def _inside_query(row: EngineMetrics, asked: Asked) -> str:
    """Running and waiting requests at the step's end; empty where the engine has none of them."""
    sums = []
    for signal in (Signal.RUNNING, Signal.WAITING):
        gauges = [gauge.metric for gauge in row.gauges.get(signal, ())]
        shown = [_servers(asked, selector(metric.name, (*metric.matchers, *asked.matchers))) for metric in gauges]
        if shown:
            sums.append(f"sum by ({asked.labels}) ({' or '.join(shown)})")
    return " + ".join(sums)


def _refused_query(asked: Asked) -> str:
    """Refusals of the inference gateway; it exports them under an older and a newer name."""
    names = [selector(name, [*asked.matchers, gateway.REFUSED]) for name in gateway.REFUSALS]
    by = f"{asked.labels}, {INSTANCE}, pod, outcome"
    window = duration(STEP)
    return " or ".join(f"sum by ({asked.labels}) (max by ({by}) (increase({name}[{window}])))" for name in names)


def _sum(series: Sequence[Floats]) -> Floats:
    """Of several engines: what none of them tells is not known."""
    stacked = np.stack(series)
    total: Floats = np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)
    return total
