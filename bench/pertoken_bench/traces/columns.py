"""Columns of a request trace while it is read, and the rows that were no requests."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.formats import INSTANTS, BadTraceRow, RowLayout, TimeUnit, blocks, since_epoch, tokens

MOST_REQUESTS: Final = 40_000_000  # kept in memory at once, 16 bytes each
_KINDS_TOLD: Final = 4


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """What to keep.

    Attributes:
        model: rows of this model, where rows name models; empty keeps all.
        end: seconds after the trace's start; later rows are not kept.
        strict: a row that is no request refuses the file.
    """

    model: str = ""
    end: float = math.inf
    strict: bool = False


@dataclass(slots=True)
class Skipped:
    """Rows that were no requests, by what was wrong: how many and the first one."""

    kinds: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many."""
        return sum(kind[0] for kind in self.kinds.values())

    def add(self, mistake: BadTraceRow, line: int) -> None:
        """One more."""
        self.kinds.setdefault((mistake.field, mistake.wanted), [0, line, str(mistake)])[0] += 1

    def told(self, path: Path, rows: int, unit: str) -> str:
        """One line for the user; empty where there were none."""
        if not self.kinds:
            return ""
        most = sorted(self.kinds.values(), key=lambda kind: -kind[0])
        parts = [
            f"{unit} {line}: {text}" if number == 1 else f"{number:,} like {unit} {line}: {text}"
            for number, line, text in most[:_KINDS_TOLD]
        ]
        more = f"; {len(most) - _KINDS_TOLD} other kinds" if len(most) > _KINDS_TOLD else ""
        return f"{path}: skipped {self.count:,} of {rows:,} rows: {'; '.join(parts)}{more}"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests as they stand in the file.

    Attributes:
        arrival: seconds; 0 is the first request, in pertoken's own format what the file says.
        prefix: ids of the blocks that prompts begin with, all requests' in one array.
        prefix_at: request i's ids are ``prefix[prefix_at[i]:prefix_at[i + 1]]``.
        remark: what was left out, in one line; empty for nothing.
    """

    arrival: NDArray[np.float64]
    inputs: NDArray[np.int32]
    outputs: NDArray[np.int32]
    prefix: NDArray[np.int64]
    prefix_at: NDArray[np.int64]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row's fields are, in the order time, input, output, model, blocks, and what the file calls them."""

    places: tuple[tuple[Any, ...], ...]
    time: str
    inputs: str
    outputs: str
    instant: Callable[[Any], float | None]
    wanted: str
    kept: bool
    named: bool
    every: int

    @classmethod
    def of(cls, layout: RowLayout, name: Callable[[tuple[Any, ...]], str]) -> Source:
        """Of a layout; `name` gives the file's name of a place."""
        instant, wanted = INSTANTS[layout.clock]
        return cls(
            (layout.time, layout.inputs, layout.outputs, layout.model, layout.blocks),
            name(layout.time),
            name(layout.inputs),
            name(layout.outputs),
            instant,
            wanted,
            layout.clock is TimeUnit.KEPT,
            bool(layout.model),
            layout.every if layout.blocks else 0,
        )


class Columns:
    """Columns of a trace while it is read."""

    def __init__(self, path: Path, wanted: WantedColumns) -> None:
        self._path, self._wanted = path, wanted
        self._arrival, self._in, self._out = array("d"), array("i"), array("i")
        self._prefix, self._lengths = array("q"), array("i")
        self._first: float | None = None
        self._skipped = Skipped()
        self.rows = 0
        self.unit = "line"  # what a row is in the file

    def bad(self, mistake: BadTraceRow, line: int) -> None:
        """A row that is no request.

        Raises:
            TraceError: when rows must be requests.
        """
        if self._wanted.strict:
            raise TraceError(f"{self._place(line)}: {mistake}")
        self.rows += 1
        self._skipped.add(mistake, line)

    def add(self, source: Source, fields: Sequence[Any], line: int) -> None:
        """One row: time, input, output, model, blocks.

        Raises:
            TraceError: there are too many, or it is no request and must be one.
        """
        try:
            instant = self._instant(source, fields[0])
            inputs, outputs = tokens(fields[1], source.inputs), tokens(fields[2], source.outputs)
            prefix = blocks(fields[4], "blocks of the prompt", source.every) if source.every else ()
        except BadTraceRow as mistake:
            self.bad(mistake, line)
            return
        self.rows += 1
        start = self._first = 0.0 if source.kept else instant if self._first is None else min(instant, self._first)
        other = self._wanted.model and source.named and fields[3] != self._wanted.model
        if other or instant - start >= self._wanted.end:
            return
        if len(self._arrival) >= MOST_REQUESTS or len(self._prefix) >= MOST_REQUESTS:
            raise TraceError(f"{self._place(line)}: more than {MOST_REQUESTS:,} requests; expected a shorter cut of it")
        self._arrival.append(instant)
        self._in.append(inputs)
        self._out.append(outputs)
        if prefix or self._lengths:
            self._lengths.extend([0] * (len(self._arrival) - 1 - len(self._lengths)))
            self._lengths.append(len(prefix))
            self._prefix.extend(prefix)

    def _place(self, line: int) -> str:
        return f"{self._path}:{line}" if self.unit == "line" else f"{self._path}: {self.unit} {line}"

    def _instant(self, source: Source, value: Any) -> float:
        instant = source.instant(value)
        if instant is None:
            raise BadTraceRow(source.time, "" if value is None else value, source.wanted)
        if self._first is not None and not source.kept and since_epoch(instant) != since_epoch(self._first):
            raise BadTraceRow(source.time, value, "on the clock of the rows before")
        return instant

    def requests(self) -> Requests:
        """What was kept.

        Raises:
            TraceError: no row was a request.
        """
        if self.rows == self._skipped.count:
            if not self.rows:
                raise TraceError(f"{self._path}: no requests")
            _, line, text = min(self._skipped.kinds.values(), key=lambda kind: kind[1])
            raise TraceError(f"{self._place(line)}: {text}; no requests in {self.rows:,} rows")
        arrival = np.array(self._arrival, np.float64) - (self._first or 0.0)
        counts = np.zeros(len(arrival), np.int64)
        counts[: len(self._lengths)] = self._lengths
        return Requests(
            arrival,
            np.array(self._in, np.int32),
            np.array(self._out, np.int32),
            np.array(self._prefix, np.int64),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self._skipped.told(self._path, self.rows, self.unit),
        )
