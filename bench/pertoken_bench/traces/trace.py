"""Request traces as arrays: cutting, repeating, joining. `reader` reads them, `arrivals` draws them from rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.traces.columns import Requests, WantedColumns
from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.formats import MOST_TOKENS
from pertoken_bench.traces.reader import read_requests


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival, one array per column.

    Attributes:
        arrival: seconds.
        service: index of the service.
        prefix: ids of the 512-token blocks that prompts begin with, all requests' in one array, renumbered from 0.
        prefix_at: request i's ids are ``prefix[prefix_at[i]:prefix_at[i + 1]]``.
    """

    arrival: NDArray[np.float64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    service: NDArray[np.int32]
    prefix: NDArray[np.int32]
    prefix_at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.arrival)

    def take(self, order: NDArray[np.int64]) -> Trace:
        """The requests of these indices."""
        counts = np.diff(self.prefix_at)[order]
        starts = self.prefix_at[:-1][order]
        total = int(counts.sum())
        at = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        flat = np.repeat(starts - at[:-1], counts) + np.arange(total)
        return Trace(
            self.arrival[order],
            self.input_tokens[order],
            self.output_tokens[order],
            self.service[order],
            self.prefix[flat],
            at,
        )

    def moved(self, arrival: NDArray[np.float64]) -> Trace:
        """The same requests at other instants, sorted."""
        order = np.argsort(arrival, kind="stable")
        return Trace(arrival, self.input_tokens, self.output_tokens, self.service, self.prefix, self.prefix_at).take(
            order
        )


def make(rows: Sequence[tuple[float, int, int]], service: int = 0) -> Trace:
    """A trace of (arrival, input, output) rows, for tests and probes."""
    ordered = sorted(rows)
    return Trace(
        np.array([row[0] for row in ordered], np.float64),
        np.array([row[1] for row in ordered], np.int32),
        np.array([row[2] for row in ordered], np.int32),
        np.full(len(ordered), service, np.int32),
        np.zeros(0, np.int32),
        np.zeros(len(ordered) + 1, np.int64),
    )


def merged(traces: Sequence[Trace]) -> Trace:
    """Several services' traces on one clock; prefix ids of different traces stay apart."""
    shift, prefixes, offsets = 0, [], [np.zeros(1, np.int64)]
    base = 0
    for trace in traces:
        prefixes.append(trace.prefix + np.int32(shift))
        offsets.append(trace.prefix_at[1:] + base)
        shift += int(trace.prefix.max()) + 1 if len(trace.prefix) else 0
        base += len(trace.prefix)
    whole = Trace(
        np.concatenate([trace.arrival for trace in traces]),
        np.concatenate([trace.input_tokens for trace in traces]),
        np.concatenate([trace.output_tokens for trace in traces]),
        np.concatenate([trace.service for trace in traces]),
        np.concatenate(prefixes).astype(np.int32),
        np.concatenate(offsets),
    )
    return whole.moved(whole.arrival)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a request trace to play and how often.

    Attributes:
        rate_scale: arrivals are repeated (2.5: two copies and half of a third) or thinned, never compressed in time;
            every copy but the first is moved by up to `jitter_seconds` in either direction.
        length_scale: factor on input and output tokens, at least one token each.
        model: keep the rows of this model where the file names models; empty keeps all.
        strict: a row that is no request refuses the file; else it is left out and counted.
    """

    start_seconds: float = 0.0
    duration_seconds: float | None = None
    rate_scale: float = 1.0
    length_scale: float = 1.0
    model: str = ""
    jitter_seconds: float = 10.0
    strict: bool = False

    @property
    def end(self) -> float:
        """Seconds at which the cut ends."""
        return math.inf if self.duration_seconds is None else self.start_seconds + self.duration_seconds


def load_requests(path: Path, cut: Cut, service: int, seed: int, tell: Callable[[str], None] | None = None) -> Trace:
    """Read a request trace of any format that `reader` knows and cut it; time 0 is the cut's start.

    Args:
        path: the file.
        cut: which part.
        service: index that its requests get.
        seed: of the repeating.
        tell: gets one line about rows that were no requests, if there were any.

    Raises:
        TraceError: the file or the cut cannot be used.
    """
    read = read_requests(path, WantedColumns(cut.model, cut.end, cut.strict))
    if tell is not None and read.remark:
        tell(read.remark)
    trace = _cut(read, cut, service)
    if not len(trace):
        raise TraceError(f"{path}: no requests between {cut.start_seconds:g} s and the end of the cut")
    return _repeated(trace, cut, seed)


def _cut(read: Requests, cut: Cut, service: int) -> Trace:
    """The requests within the cut, from its start, lengths scaled."""
    prefix = np.unique(read.prefix, return_inverse=True)[1].astype(np.int32)
    whole = Trace(
        read.arrival - cut.start_seconds,
        _scaled(read.inputs, cut.length_scale),
        _scaled(read.outputs, cut.length_scale),
        np.full(len(read.arrival), service, np.int32),
        prefix,
        read.prefix_at,
    )
    kept = whole.take(np.flatnonzero((read.arrival >= cut.start_seconds) & (read.arrival < cut.end)))
    return kept.moved(kept.arrival)


def _scaled(tokens: NDArray[np.int32], factor: float) -> NDArray[np.int32]:
    scaled: NDArray[np.int32] = np.clip(np.rint(tokens * factor), 1, MOST_TOKENS).astype(np.int32)
    return scaled


def _repeated(trace: Trace, cut: Cut, seed: int) -> Trace:
    """Repeat or thin arrivals."""
    if cut.rate_scale == 1.0:
        return trace
    random = np.random.default_rng([seed, 1])
    whole = int(cut.rate_scale)
    copies = whole + (random.random(len(trace)) < cut.rate_scale - whole)
    order = np.repeat(np.arange(len(trace)), copies)
    first = np.concatenate([[True], np.diff(order) > 0]) if len(order) else np.zeros(0, bool)
    drawn = random.uniform(-cut.jitter_seconds, cut.jitter_seconds, len(order))
    last = float(trace.arrival[-1])
    arrival = np.clip(trace.arrival[order] + np.where(first, 0.0, drawn), 0.0, last)
    return trace.take(order).moved(arrival)
