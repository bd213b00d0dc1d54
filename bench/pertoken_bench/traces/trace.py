"""Request traces as arrays: reading, cutting, repeating, drawing requests from a rate series.

Request traces: CSV(.gz) ``arrival_s,input_tokens,output_tokens[,model][,prefix_ids]``. Rate series:
``time_s,requests[,input_tokens,output_tokens]``, counts and tokens of the bin that begins at ``time_s``.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

REQUEST_COLUMNS: Final = ("arrival_s", "input_tokens", "output_tokens")
RATE_COLUMNS: Final = ("time_s", "requests")


class TraceError(ValueError):
    """A trace cannot be used; the message names file, line, field and what was expected."""


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
    """

    start_seconds: float = 0.0
    duration_seconds: float | None = None
    rate_scale: float = 1.0
    length_scale: float = 1.0
    model: str = ""
    jitter_seconds: float = 10.0


def load_requests(path: Path, cut: Cut, service: int, seed: int) -> Trace:
    """Read a request trace and cut it; time 0 is the cut's start.

    Raises:
        TraceError: the file or the cut cannot be used.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""))
    header = header_places(path, next(reader, []), REQUEST_COLUMNS)
    rows = _Columns(path, header)
    for row in reader:
        if row:
            rows.add(row, reader.line_num)
    trace = rows.trace(cut, service)
    if not len(trace):
        raise TraceError(f"{path}: no requests between {cut.start_seconds:g} s and the end of the cut")
    return _repeated(trace, cut, seed)


def read_text(path: Path) -> str:
    """A file's text, unpacked.

    Raises:
        TraceError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"{path}: cannot be read: {why}") from error


def header_places(path: Path, header: Sequence[str], needed: Iterable[str]) -> dict[str, int]:
    """Columns by name.

    Raises:
        TraceError: one is missing.
    """
    places = {name.strip(): index for index, name in enumerate(header)}
    for name in needed:
        if name not in places:
            raise TraceError(f"{path}:1: column {name}: missing (have {','.join(header) or 'nothing'})")
    return places


class _Columns:
    """Columns of a request trace while it is read."""

    def __init__(self, path: Path, header: dict[str, int]) -> None:
        self._path = path
        self._at, self._in, self._out = (header[name] for name in REQUEST_COLUMNS)
        self._model = header.get("model", -1)
        self._prefix = header.get("prefix_ids", -1)
        self.arrival: list[float] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.models: list[str] = []
        self.prefixes: list[tuple[int, ...]] = []

    def add(self, row: list[str], line: int) -> None:
        """One row.

        Raises:
            TraceError: a field is not what it must be.
        """
        try:
            arrival, inputs, outputs = float(row[self._at]), int(row[self._in]), int(row[self._out])
            prefix = tuple(map(int, row[self._prefix].split())) if 0 <= self._prefix < len(row) else ()
        except (ValueError, IndexError):
            raise TraceError(self._mistake(row, line)) from None
        if not (arrival >= 0 and math.isfinite(arrival) and inputs >= 1 and outputs >= 1):
            raise TraceError(self._mistake(row, line))
        self.arrival.append(arrival)
        self.inputs.append(inputs)
        self.outputs.append(outputs)
        if self._model >= 0:
            self.models.append(row[self._model] if self._model < len(row) else "")
        if self._prefix >= 0:
            self.prefixes.append(prefix)

    def _mistake(self, row: list[str], line: int) -> str:
        for name, place in zip(REQUEST_COLUMNS, (self._at, self._in, self._out), strict=True):
            text = row[place] if place < len(row) else ""
            try:
                value = float(text) if name == "arrival_s" else int(text)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value >= (0 if name == "arrival_s" else 1)):
                wanted = "seconds >= 0" if name == "arrival_s" else "a whole number >= 1"
                return f"{self._path}:{line}: {name}: {text!r} is not {wanted}"
        return f"{self._path}:{line}: prefix_ids: not a space-separated list of whole numbers"

    def trace(self, cut: Cut, service: int) -> Trace:
        """The requests within the cut, from its start, lengths scaled."""
        arrival = np.array(self.arrival, np.float64)
        end = math.inf if cut.duration_seconds is None else cut.start_seconds + cut.duration_seconds
        chosen = (arrival >= cut.start_seconds) & (arrival < end)
        if cut.model and self.models:
            chosen &= np.array(self.models) == cut.model
        prefix_at = np.zeros(len(arrival) + 1, np.int64)
        prefix = np.zeros(0, np.int32)
        if self.prefixes:
            prefix_at[1:] = np.cumsum([len(ids) for ids in self.prefixes])
            flat = np.array([one for ids in self.prefixes for one in ids], np.int64)
            prefix = np.unique(flat, return_inverse=True)[1].astype(np.int32)
        whole = Trace(
            arrival - cut.start_seconds,
            _scaled(np.array(self.inputs, np.int64), cut.length_scale),
            _scaled(np.array(self.outputs, np.int64), cut.length_scale),
            np.full(len(arrival), service, np.int32),
            prefix,
            prefix_at,
        )
        kept = whole.take(np.flatnonzero(chosen))
        return kept.moved(kept.arrival)


def _scaled(tokens: NDArray[np.int64], factor: float) -> NDArray[np.int32]:
    scaled: NDArray[np.int32] = np.maximum(1, np.rint(tokens * factor)).astype(np.int32)
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
