"""One recorded series: planned on its first days, simulated in pieces of the day that followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.asked import Asked
from pertoken.capacity.bursts.carried import AS_MODELLED, Carried, carried_of
from pertoken.capacity.bursts.stream import Stretch
from pertoken.capacity.foresight import foresee
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.plan import plan
from pertoken.capacity.spec import PlanSpec
from pertoken.capacity.tuning import BURSTS
from pertoken.catalog.lookup import SHIPPED
from pertoken.performance.results import Results
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
        usual: the same where the history has no single requests, and bursts are taken as usual.
        sized: the same for what came, without the forecast.
        of_p90: requests per second that came over those of the plan's P90.
        kept: share of requests within the objectives on them.
        kept_usual: the share on the `usual` ones.
        least: fewest replicas that keep the objectives; None beyond `MOST_REPLICAS`.
        kept_less: the share on one replica fewer than the least; None where that is none.
    """

    hour: int
    requests: int
    planned: int
    usual: int
    sized: int
    of_p90: float
    kept: float
    kept_usual: float
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
        return self._share([piece.kept for piece in self.pieces])

    @property
    def kept_usual(self) -> float:
        """The same on fleets that are planned without single requests in the history."""
        return self._share([piece.kept_usual for piece in self.pieces])

    @property
    def oversized(self) -> float:
        """Replicas that the sizing gives for what came, over the fewest that suffice."""
        return sum(piece.sized for piece in self.pieces) / sum(piece.least or MOST_REPLICAS for piece in self.pieces)

    def _share(self, shares: Sequence[float]) -> float:
        requests = [piece.requests for piece in self.pieces]
        return sum(share * count for share, count in zip(shares, requests, strict=True)) / sum(requests)


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """One plan of the day.

    Attributes:
        replicas: by the hour, at the plan's P90.
        rates: requests per second of that P90.
        carried: what fleets carry, and the rate of one replica.
    """

    replicas: NDArray[np.int64]
    rates: NDArray[np.float64]
    carried: Carried
    rate: float

    def enough(self, rate: float) -> int:
        """Replicas for requests per second that came."""
        return max(1, ceil(float(self.carried.needed(np.array([rate]))[0]) / self.rate))


def trial(name: str, scenario: Scenario, days: int, hours: Sequence[int]) -> Trial:
    """Plan for the day after the first `days`, and simulate its given hours."""
    past = _past(scenario, days, hours)
    plans = _planned(scenario, past), _planned(scenario, _without_requests(past))
    pieces = tuple(_piece(_alone(scenario, days, hour), hour, plans) for hour in hours)
    return Trial(name, days, scenario.services[0].latency.percentile / 100.0, pieces)


def _planned(scenario: Scenario, past: History) -> Sized:
    """The plan of the next day."""
    service = scenario.services[0]
    spec = PlanSpec("", horizon_days=1, confidence=CONFIDENCE)
    key = str(service.key)
    asked = Asked(spec, (service,), scenario.pools, past, {key: past.services[0]}, SHIPPED)
    planned = plan(asked, foresee(asked))
    counts: NDArray[np.int64] = planned.futures.pools[0].quantile(CONFIDENCE)
    own = planned.services[0]
    (replica,) = own.replicas
    rates = own.p90 / (own.load.input_tokens + own.load.output_tokens)
    carried = AS_MODELLED
    if replica.carrier is not None:
        carried = carried_of(replica.carrier, past.services[0].stretches, MOST_REPLICAS * replica.rate, Results())
    return Sized(counts // replica.gpus, rates, carried, replica.rate)


def _past(scenario: Scenario, days: int, hours: Sequence[int]) -> History:
    """The first days, at the scenario's scale, with single requests drawn on the last of them."""
    source = scenario.traffic[scenario.services[0].key.name]
    told = read_history_file(Path(source.path), "series").services[0]
    count = days * HOURS_PER_DAY
    requests = told.requests[:count] * source.cut.rate_scale
    stretches = [_stretch(_alone(scenario, days - 1, hour)) for hour in hours]
    drawn = sum(len(stretch.arrival) for stretch in stretches)
    inputs = sum(float(stretch.input_tokens.sum()) for stretch in stretches) / drawn
    outputs = sum(float(stretch.output_tokens.sum()) for stretch in stretches) / drawn
    enough = tuple(stretch for stretch in stretches if len(stretch.arrival) >= BURSTS.least_requests)
    service = ServiceHistory("series", requests, requests * inputs, requests * outputs, told.peak[:count], enough)
    return History(0, (service,))


def _without_requests(past: History) -> History:
    return replace(past, services=tuple(replace(each, stretches=()) for each in past.services))


def _stretch(traffic: SingleVariant) -> Stretch:
    arrival = np.asarray(traffic.trace.arrival, np.float64) - WARM_UP_SECONDS
    places = np.flatnonzero(arrival >= 0)
    inputs, outputs = (
        np.asarray(each, np.float64) for each in (traffic.trace.input_tokens, traffic.trace.output_tokens)
    )
    return Stretch(arrival, inputs, outputs, PIECE_SECONDS).taken(places[: BURSTS.most_requests])


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


def _piece(traffic: SingleVariant, hour: int, plans: tuple[Sized, Sized]) -> Piece:
    own, usual = plans
    planned, without = int(own.replicas[hour]), int(usual.replicas[hour])
    scored = traffic.trace.arrival >= WARM_UP_SECONDS
    least = smallest(traffic, keeps_overall, MOST_REPLICAS)
    counts = {planned, without, *(() if least is None else (least - 1,))} - {0}
    kept = {count: float(good(traffic, count)[scored].mean()) for count in counts}
    requests = int(scored.sum())
    came = requests / PIECE_SECONDS
    return Piece(
        hour=hour,
        requests=requests,
        planned=planned,
        usual=without,
        sized=own.enough(came),
        of_p90=came / float(own.rates[hour]),
        kept=kept.get(planned, 0.0),
        kept_usual=kept.get(without, 0.0),
        least=least,
        kept_less=None if least is None else kept.get(least - 1),
    )
