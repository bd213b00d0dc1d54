"""One recorded series: planned on its first days, simulated in pieces of the day that followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.asked import Asked
from pertoken.capacity.foresight import foresee
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.plan import plan
from pertoken.capacity.spec import PlanSpec
from pertoken.catalog.lookup import SHIPPED
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR
from pertoken_bench.policies.static import SingleVariant, alone, good, keeps_overall, smallest
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import Scenario

CONFIDENCE: Final = 90.0
WARM_UP_SECONDS: Final = 300.0
DRAWN_BEFORE_SECONDS: Final = 7200.0  # clients that all begin at once crowd the first minutes: those are left out
PIECE_SECONDS: Final = 1500.0
FROM_HOUR_SECONDS: Final = 900.0  # pieces lie about the middle of their hour
MOST_REPLICAS: Final = 96
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """25 minutes of one hour of the day.

    Attributes:
        planned: replicas at the plan's P90 in that hour.
        of_p90: requests per second that came over those of the plan's P90.
        kept: share of requests within the objectives on them.
        least: fewest replicas that keep the objectives; None beyond `MOST_REPLICAS`.
        kept_less: the share on one replica fewer than the least; None where that is none.
    """

    hour: int
    requests: int
    planned: int
    of_p90: float
    kept: float
    least: int | None
    kept_less: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A series with its pieces; `required` is the share that the objective asks for."""

    name: str
    days: int
    required: float
    pieces: tuple[Piece, ...]

    @property
    def kept(self) -> float:
        """Share of all pieces' requests within the objectives."""
        return sum(piece.kept * piece.requests for piece in self.pieces) / sum(piece.requests for piece in self.pieces)


def trial(name: str, scenario: Scenario, days: int, hours: Sequence[int]) -> Trial:
    """Plan for the day after the first `days`, and simulate its given hours."""
    replicas, rates = _planned(scenario, days)
    pieces = tuple(
        _piece(_alone(scenario, days, hour), hour, (int(replicas[hour]), float(rates[hour]))) for hour in hours
    )
    return Trial(name, days, scenario.services[0].latency.percentile / 100.0, pieces)


def _planned(scenario: Scenario, days: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Replicas, and requests per second, by the hour of the day at the plan's P90."""
    service = scenario.services[0]
    past = _past(scenario, days)
    spec = PlanSpec("", horizon_days=1, confidence=CONFIDENCE)
    key = str(service.key)
    asked = Asked(spec, (service,), scenario.pools, past, {key: past.services[0]}, SHIPPED)
    planned = plan(asked, foresee(asked))
    counts: NDArray[np.int64] = planned.futures.pools[0].quantile(CONFIDENCE)
    own = planned.services[0]
    return counts // service.variants[0].parallelism.gpus, own.p90 / (own.load.input_tokens + own.load.output_tokens)


def _past(scenario: Scenario, days: int) -> History:
    """The first days, at the scenario's scale, with the mean lengths of requests drawn on the last of them."""
    source = scenario.traffic[scenario.services[0].key.name]
    told = read_history_file(Path(source.path), "series").services[0]
    hours = days * HOURS_PER_DAY
    requests = told.requests[:hours] * source.cut.rate_scale
    trace = _alone(scenario, days - 1, HOURS_PER_DAY // 2).trace
    inputs, outputs = float(trace.input_tokens.mean()), float(trace.output_tokens.mean())
    service = ServiceHistory("series", requests, requests * inputs, requests * outputs, told.peak[:hours])
    return History(0, (service,))


def _alone(scenario: Scenario, day: int, hour: int) -> SingleVariant:
    """The traffic of one piece on the scenario's only variant."""
    service = scenario.services[0]
    begin = (day * HOURS_PER_DAY + hour) * SECONDS_PER_HOUR + FROM_HOUR_SECONDS - WARM_UP_SECONDS - DRAWN_BEFORE_SECONDS
    source = scenario.traffic[service.key.name]
    cut = replace(
        source.cut, start_seconds=begin, duration_seconds=DRAWN_BEFORE_SECONDS + WARM_UP_SECONDS + PIECE_SECONDS
    )
    traffic = {service.key.name: replace(source, cut=cut)}
    prepared = prepare(replace(scenario, traffic=traffic, warmup=WARM_UP_SECONDS), SEED)
    whole = alone(prepared, 0, service.variants[0])
    kept = whole.trace.take(np.flatnonzero(whole.trace.arrival >= DRAWN_BEFORE_SECONDS))
    return replace(whole, trace=replace(kept, arrival=kept.arrival - DRAWN_BEFORE_SECONDS))


def _piece(traffic: SingleVariant, hour: int, plan_says: tuple[int, float]) -> Piece:
    planned, rate = plan_says
    scored = traffic.trace.arrival >= WARM_UP_SECONDS
    least = smallest(traffic, keeps_overall, MOST_REPLICAS)
    fewer = None if least is None or least <= 1 else float(good(traffic, least - 1)[scored].mean())
    kept = float(good(traffic, planned)[scored].mean())
    count = int(scored.sum())
    return Piece(hour, count, planned, count / PIECE_SECONDS / rate, kept, least, fewer)
