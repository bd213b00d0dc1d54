"""History out of the lines of a CSV: rates by bin, single requests, or one column per service.

Known forms, by the header:

- ``time_s,requests[,input_tokens,output_tokens][,service]``: amounts in the bin that begins at ``time_s``; ``rate_rps``
  in place of ``requests`` is a rate; ``model`` in place of ``service``; several rows of one service and bin (clients,
  replicas) are added up;
- ``arrival_s,input_tokens,output_tokens[,model]``: single requests;
- ``time_s,NAME_prompt_tokens,…``: a column for each service, also ``NAME_requests``.

An empty cell and a bin that is not there are gaps. Other columns are not read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final

import numpy as np

from pertoken.capacity.bursts.stream import stretches_of
from pertoken.capacity.history.bins import FIGURES, Bins, check_span, hourly, step_of
from pertoken.capacity.history.value import Floats, History, HistoryError
from pertoken.capacity.tuning import HISTORY

CHUNK: Final = 50_000  # rows that are held as text
NAMES: Final = ("service", "model")
RATE: Final = "rate_rps"
WIDE: Final = {"_requests": 0, "_prompt_tokens": 1, "_input_tokens": 1, "_output_tokens": 2}
EXPECTED: Final = (
    "time_s,requests[,input_tokens,output_tokens][,service] or arrival_s,input_tokens,output_tokens[,model]"
)
_PLAIN: Final = (("input_tokens", 1), ("output_tokens", 2))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table's columns are.

    Attributes:
        time: column of the time.
        events: rows are single requests.
        figures: column and figure (index into `FIGURES`) of each series; the name is empty for the row's own service.
        name: column of the service; None without one.
        rate: the column of requests is a rate per second.
    """

    time: int
    events: bool
    figures: tuple[tuple[int, int, str], ...]
    name: int | None = None
    rate: bool = False


@dataclass(slots=True)
class _Gathered:
    """Columns while the table is read: codes of services, times, values by figure column."""

    layout: Layout
    names: dict[str, int] = field(default_factory=dict)
    codes: list[np.ndarray] = field(default_factory=list)
    times: list[Floats] = field(default_factory=list)
    values: list[list[Floats]] = field(default_factory=list)


def read_table(lines: Iterator[str], default: str = "") -> History:
    """Read a table.

    Args:
        lines: of the CSV, its header first.
        default: name of the service where no column names one.

    Raises:
        HistoryError: it is no such table, or a row is wrong: ``LINE: FIELD: 'VALUE': EXPECTATION``.
    """
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    layout = layout_of(header)
    gathered = _Gathered(layout)
    line = 2
    while rows := _rows(reader):
        _gather(gathered, header, rows, line)
        line += len(rows)
    if not gathered.times:
        raise HistoryError("1: no rows; expected bins of a day or more")
    return _history(gathered, default)


def _rows(reader: Iterator[list[str]]) -> list[list[str]]:
    try:
        return list(islice(reader, CHUNK))
    except csv.Error as error:
        line: int = getattr(reader, "line_num", 0)
        raise HistoryError(f"{line}: {error}; expected rows of a CSV") from None


def layout_of(header: Sequence[str]) -> Layout:
    """Where the columns are.

    Raises:
        HistoryError: the header is of no known form.
    """
    places = {name: index for index, name in reversed(list(enumerate(header)))}
    name = next((places[name] for name in NAMES if name in places), None)
    tokens = tuple((places[column], figure, "") for column, figure in _PLAIN if column in places)
    if "arrival_s" in places and len(tokens) == len(_PLAIN):
        return Layout(places["arrival_s"], events=True, figures=tokens, name=name)
    if "time_s" in places:
        time = places["time_s"]
        if "requests" in places:
            return Layout(time, events=False, figures=((places["requests"], 0, ""), *tokens), name=name)
        if RATE in places:
            return Layout(time, events=False, figures=((places[RATE], 0, ""), *tokens), name=name, rate=True)
        wide = tuple(_wide(header))
        if wide:
            return Layout(time, events=False, figures=wide)
    have = ",".join(header[:20]) or "nothing"
    raise HistoryError(f"1: header: {have!r}: expected {EXPECTED}")


def _wide(header: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    for index, column in enumerate(header):
        for ending, figure in WIDE.items():
            if column.endswith(ending) and len(column) > len(ending):
                yield index, figure, column.removesuffix(ending)
                break


def _gather(gathered: _Gathered, header: Sequence[str], rows: list[list[str]], line: int) -> None:
    layout = gathered.layout
    rows = [row for row in rows if row] if not all(rows) else rows
    width = max(layout.time, layout.name or 0, *(place for place, _, _ in layout.figures)) + 1
    if min(map(len, rows), default=width) < width:
        at = next(index for index, row in enumerate(rows) if len(row) < width)
        raise HistoryError(f"{line + at}: {len(rows[at])} columns; expected {len(header)}, as the header has")
    if not rows:
        return
    columns = list(zip(*(row[:width] for row in rows), strict=True))
    gathered.times.append(_numbers(columns[layout.time], header[layout.time], line, gaps=False))
    _bounded(gathered.times[-1], HISTORY.latest, (header[layout.time], line, "seconds"))
    gathered.values.append([_numbers(columns[place], header[place], line) for place, _, _ in layout.figures])
    for (place, _, _), values in zip(layout.figures, gathered.values[-1], strict=True):
        _bounded(values, HISTORY.most_amount, (header[place], line, "a number"))
    names = columns[layout.name] if layout.name is not None else [""] * len(rows)
    known = gathered.names
    gathered.codes.append(np.array([known.setdefault(name.strip(), len(known)) for name in names], np.int32))


def _bounded(values: Floats, most: float, told: tuple[str, int, str]) -> None:
    """Refuse numbers that cannot be meant; told: the column, the first line, what is expected."""
    if (values > most).any():
        at = int(np.argmax(values > most))
        name, line, what = told
        raise HistoryError(f"{line + at}: {name}: {values[at]:.15g}: expected {what} up to {most:g}")


def _numbers(texts: Sequence[str], name: str, line: int, *, gaps: bool = True) -> Floats:
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([_number(text, name, line + at, gaps=gaps) for at, text in enumerate(texts)])
    wrong = ~np.isfinite(values) & (np.array([bool(text.strip()) for text in texts]) | (not gaps)) | (values < 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise HistoryError(f"{line + at}: {name}: {texts[at].strip()!r}: expected a number of 0 or more")
    return values


def _number(text: str, name: str, line: int, *, gaps: bool) -> float:
    if gaps and not text.strip():
        return np.nan
    try:
        return float(text)
    except ValueError:
        raise HistoryError(f"{line}: {name}: {text.strip()!r}: expected a number of 0 or more") from None


def _history(gathered: _Gathered, default: str) -> History:
    times = np.concatenate(gathered.times)
    codes = np.concatenate(gathered.codes)
    values = [np.concatenate(parts) for parts in zip(*gathered.values, strict=True)]
    named = {code: name or default for name, code in gathered.names.items()}
    order = np.lexsort((times, codes))
    times, codes, values = times[order], codes[order], [column[order] for column in values]
    bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=len(named)))
    parts = [
        (named[int(codes[start])], times[start:end], [column[start:end] for column in values])
        for start, end in pairwise(bounds)
    ]
    if gathered.layout.events:
        step = HISTORY.request_seconds
        return hourly([_counted(name, at, columns, step) for name, at, columns in parts], step)
    parts = [_added(*part) for part in parts]
    step = _common_step([at for _, at, _ in parts])
    bins = [each for part in parts for each in _named(gathered.layout, *part, step=step)]
    return hourly(bins, step)


def _added(name: str, times: Floats, columns: list[Floats]) -> tuple[str, Floats, list[Floats]]:
    """Rows of one bin added up: clients and replicas of a service."""
    unique, places = np.unique(times, return_inverse=True)
    if len(unique) == len(times):
        return name, times, columns
    summed = []
    for column in columns:
        known = np.isfinite(column)
        sums = np.bincount(places[known], weights=column[known], minlength=len(unique)).astype(np.float64)
        sums[np.bincount(places[known], minlength=len(unique)) == 0] = np.nan
        summed.append(sums)
    return name, unique, summed


def _common_step(times: list[Floats]) -> float:
    steps = [step_of(each) for each in times if len(each) > 1]
    if not steps:
        raise HistoryError("1: fewer than two bins; expected a day of them or more")
    return min(steps)


def _named(layout: Layout, name: str, times: Floats, columns: list[Floats], *, step: float) -> Iterator[Bins]:
    by_name: dict[str, list[Floats]] = {}
    for (_, figure, own), column in zip(layout.figures, columns, strict=True):
        amounts = column * step if layout.rate and figure == 0 else column
        by_name.setdefault(own or name, [np.full(len(times), np.nan) for _ in FIGURES])[figure] = amounts
    for own, (requests, inputs, outputs) in by_name.items():
        yield Bins(own, times, (requests, inputs, outputs))


def _counted(name: str, times: Floats, columns: list[Floats], step: float) -> Bins:
    """Single requests counted into bins; none in a bin between the first and the last is none, not a gap."""
    check_span(float(times[0]), float(times[-1]))
    first, last = int(times[0] // step), int(times[-1] // step)
    places = (times // step).astype(np.int64) - first
    count = last - first + 1
    requests = np.bincount(places, minlength=count).astype(np.float64)
    inputs, outputs = (
        np.bincount(places, weights=np.nan_to_num(column), minlength=count).astype(np.float64) for column in columns
    )
    starts = (first + np.arange(count, dtype=np.float64)) * step
    return Bins(name, starts, (requests, inputs, outputs), stretches_of(times, *columns))
