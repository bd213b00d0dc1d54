"""Requests drawn from a rate series: bins of counts become clients with bursts of their own.

Each client is a renewal process with Gamma times between its requests, in a clock that runs at the service's rate
(time change), so the bins' shape is kept and each client is as bursty as measured. Clients weigh by a power law: on
real services few make most of the traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.rates import Bins, Floats
from pertoken_bench.traces.servegen import load_series
from pertoken_bench.traces.trace import Cut, Trace, load_requests

ZIPF: Final = 1.0
INPUT_VARIATION: Final = 0.96  # coefficients of variation of lengths, those of the Azure 2023 conversation trace
OUTPUT_VARIATION: Final = 0.77


@dataclass(frozen=True, slots=True)
class Drawing:
    """How requests are drawn.

    Attributes:
        lengths: request trace whose pairs of lengths are drawn from; the series' own mean lengths scale them by bin.
            None: log-normal lengths around the series' means, input and output drawn apart.
        burstiness: coefficient of variation of one client's times between requests.
    """

    lengths: Path | None
    burstiness: float = 1.2
    clients: int = 40


@dataclass(frozen=True, slots=True)
class _LengthSource:
    """Where the lengths of one service's requests come from; `service` and `seed` choose among random streams."""

    drawing: Drawing
    cut: Cut
    service: int
    seed: int


def draw(path: Path, cut: Cut, drawing: Drawing, service: int, seed: int) -> Trace:
    """Requests of a rate series within the cut; time 0 is the cut's start.

    Raises:
        TraceError: the series or the lengths cannot be used.
    """
    bins = load_series(path)
    start = bins.times[0] + cut.start_seconds
    end = bins.times[-1] if cut.duration_seconds is None else min(bins.times[-1], start + cut.duration_seconds)
    if start >= end:
        raise TraceError(f"{path}: startSeconds: {cut.start_seconds:g} is beyond the end of the series")
    random = np.random.default_rng([seed, service, 2])
    moments = np.clip(bins.times, start, end)
    share = np.diff(moments) / np.diff(bins.times)
    expected = np.concatenate([[0.0], np.cumsum(bins.requests * share * cut.rate_scale)])
    arrival = np.interp(_operational(float(expected[-1]), drawing, random), expected, moments)
    index = np.clip(np.searchsorted(bins.times, arrival, side="right") - 1, 0, len(bins.requests) - 1)
    inputs, outputs = _lengths(bins, index, _LengthSource(drawing, cut, service, seed), random)
    count = len(arrival)
    if not count:
        raise TraceError(f"{path}: no requests were drawn; raise rateScale or durationSeconds")
    return Trace(
        arrival - start,
        np.maximum(1, np.rint(inputs)).astype(np.int32),
        np.maximum(1, np.rint(outputs)).astype(np.int32),
        np.full(count, service, np.int32),
        np.zeros(0, np.int32),
        np.zeros(count + 1, np.int64),
    ).moved(arrival - start)


def _lengths(
    bins: Bins, index: NDArray[np.int64], source: _LengthSource, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Input and output tokens of each request, whose bin is given."""
    drawing, cut = source.drawing, source.cut
    if drawing.lengths is None:
        inputs = bins.input_tokens[index] * _log_normal(INPUT_VARIATION, len(index), random)
        outputs = bins.output_tokens[index] * _log_normal(OUTPUT_VARIATION, len(index), random)
        return inputs * cut.length_scale, outputs * cut.length_scale
    pool = load_requests(
        drawing.lengths, Cut(length_scale=cut.length_scale, strict=cut.strict), source.service, source.seed
    )
    chosen = random.integers(0, len(pool), len(index))
    inputs, outputs = pool.input_tokens[chosen].astype(np.float64), pool.output_tokens[chosen].astype(np.float64)
    inputs *= _relative(bins.input_tokens[index], float(pool.input_tokens.mean()) / cut.length_scale)
    outputs *= _relative(bins.output_tokens[index], float(pool.output_tokens.mean()) / cut.length_scale)
    return inputs, outputs


def _log_normal(variation: float, count: int, random: np.random.Generator) -> Floats:
    """Factors of mean 1 with this coefficient of variation."""
    variance = math.log1p(variation**2)
    return random.lognormal(-variance / 2.0, math.sqrt(variance), count)


def _relative(wanted: Floats, mean: float) -> Floats:
    """Factor that brings the pool's mean length to the bin's; 1 where the series does not tell."""
    factor: Floats = np.where(wanted > 0, wanted / mean, 1.0)
    return factor


def _operational(total: float, drawing: Drawing, random: np.random.Generator) -> Floats:
    """Instants of all clients' requests in the clock in which `total` requests take `total` units."""
    weights = 1.0 / np.arange(1, drawing.clients + 1) ** ZIPF
    weights /= weights.sum()
    shape = 1.0 / drawing.burstiness**2
    instants = []
    for weight in weights:
        rate = weight  # requests of this client per unit
        count = int(total * weight + 6.0 * drawing.burstiness * math.sqrt(total * weight) + 10)
        gaps = random.gamma(shape, 1.0 / (shape * rate), count)
        moments = np.cumsum(gaps) - random.random() * gaps[0]
        instants.append(moments[(moments >= 0) & (moments < total)])
    return np.sort(np.concatenate(instants))
