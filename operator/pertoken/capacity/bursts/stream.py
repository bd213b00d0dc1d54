"""Single requests at a given rate: recorded ones repeated, or drawn as bursty as services usually are.

A rate by the hour or by five minutes says nothing of seconds. Where the history has single requests, stretches of it
tell how they come; they are thinned or laid over one another to the rate in question (independent sources add up:
W. Whitt, *Approximating a point process by a renewal process*, Operations Research 30(1), 1982), never sped up. Else
requests come in bursts that begin as a Poisson process and have a geometric number of requests each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.tuning import BURSTS
from pertoken.performance.steady import Load

Floats = NDArray[np.float64]
_SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Single requests of some minutes.

    Attributes:
        arrival: seconds from the begin of the stretch, ascending.
        input_tokens, output_tokens: of each request.
        seconds: length of the stretch.
    """

    arrival: Floats
    input_tokens: Floats
    output_tokens: Floats
    seconds: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.arrival) / self.seconds

    def taken(self, places: NDArray[np.int64]) -> Stretch:
        """Some of its requests."""
        return Stretch(self.arrival[places], self.input_tokens[places], self.output_tokens[places], self.seconds)


def stretches_of(arrival: Floats, input_tokens: Floats, output_tokens: Floats) -> tuple[Stretch, ...]:
    """Stretches from quiet to busy out of a record of single requests; none of too few requests."""
    seconds = BURSTS.stretch_seconds
    places = (arrival // seconds).astype(np.int64)
    bounds = np.flatnonzero(np.diff(places, prepend=places[0] - 1, append=places[-1] + 1))
    pieces = [
        (begin, end)
        for begin, end in pairwise(bounds)
        if end - begin >= BURSTS.least_requests and begin > 0 and end < len(arrival)
    ]
    pieces.sort(key=lambda piece: piece[1] - piece[0])
    chosen = sorted({round(share * (len(pieces) - 1)) for share in BURSTS.stretch_levels}) if pieces else []
    cut = []
    for begin, last in (pieces[index] for index in chosen):
        start = places[begin] * seconds
        end = min(last, begin + BURSTS.most_requests)
        length = seconds if end == last else arrival[end - 1] - start
        lengths = np.nan_to_num(input_tokens[begin:end]), np.nan_to_num(output_tokens[begin:end])
        cut.append(Stretch(arrival[begin:end] - start, *lengths, float(length)))
    return tuple(cut)


def repeated(stretches: tuple[Stretch, ...], rate: float) -> Stretch:
    """The stretch whose rate is nearest, thinned or laid over itself at other times until it has the rate."""
    nearest = min(stretches, key=lambda stretch: abs(np.log(stretch.rate / rate)))
    generator = np.random.default_rng(_SEED)
    times = rate / nearest.rate
    whole = int(times)
    parts = [nearest] * whole
    share = times - whole
    if share > 0:
        parts.append(nearest.taken(np.flatnonzero(generator.random(len(nearest.arrival)) < share)))
    shifts = generator.random(len(parts)) * nearest.seconds
    shifts[0] = 0.0
    arrival = np.concatenate(
        [(part.arrival + shift) % nearest.seconds for part, shift in zip(parts, shifts, strict=True)]
    )
    laid = Stretch(
        arrival,
        np.concatenate([part.input_tokens for part in parts]),
        np.concatenate([part.output_tokens for part in parts]),
        nearest.seconds,
    )
    return laid.taken(np.argsort(arrival, kind="stable")[: BURSTS.most_requests])


def drawn(load: Load, rate: float) -> Stretch:
    """Requests as bursty as most services', with lengths that spread as usual about the mean request's."""
    generator = np.random.default_rng(_SEED)
    bursts = max(1, BURSTS.drawn_requests // BURSTS.usual_size)
    starts = np.cumsum(generator.exponential(BURSTS.usual_size / rate, bursts))
    sizes = generator.geometric(1.0 / BURSTS.usual_size, bursts)
    gaps = generator.exponential(BURSTS.usual_gap, int(sizes.sum()))
    firsts = np.cumsum(sizes) - sizes
    gaps[firsts] = 0.0
    within = np.cumsum(gaps)
    arrival = np.repeat(starts - within[firsts], sizes) + within
    count = len(arrival)
    inputs, outputs = (
        np.maximum(np.round(generator.gamma(1.0 / spread, mean * spread, count)), 1.0)
        for mean, spread in ((load.input_tokens, BURSTS.input_spread), (load.output_tokens, BURSTS.output_spread))
    )
    every = Stretch(arrival, inputs, outputs, float(starts[-1]))
    return every.taken(np.argsort(arrival, kind="stable"))
