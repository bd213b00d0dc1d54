"""Traces as single arrivals, to be sent in real time; reading and cutting them is the benchmark's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from pertoken_bench.traces.trace import Cut, load_requests

WHOLE: Final = Cut()
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds since the start, tokens in and out, ids of the 512-token blocks at its prompt's begin."""

    at: float
    input_tokens: int
    output_tokens: int
    prefix_ids: tuple[int, ...] = ()


def load_arrivals(path: Path, cut: Cut = WHOLE, *, speed: float = 1.0, seed: int = 0) -> list[Arrival]:
    """Read a trace and cut it; `speed` compresses arrivals only (12 plays an hour in five minutes).

    Raises:
        TraceError: the file or the cut cannot be used; the message names file, line and field.
    """
    trace = load_requests(path, cut, 0, seed, _LOG.warning)
    prefix = trace.prefix.tolist()
    rows = zip(
        (trace.arrival / speed).tolist(),
        trace.input_tokens.tolist(),
        trace.output_tokens.tolist(),
        pairwise(trace.prefix_at.tolist()),
        strict=True,
    )
    return [Arrival(at, inputs, outputs, tuple(prefix[first:last])) for at, inputs, outputs, (first, last) in rows]
