"""The one reader of request traces: any format of `formats`, in one pass, rows that are no requests left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pertoken_bench.traces.columns import Columns, Requests, Source, Wanted
from pertoken_bench.traces.files import TraceError, opened
from pertoken_bench.traces.formats import EXPECTED, BadRow, layout_of, missing_of, paths_of, plain

LOOKED_AT: Final = 100  # lines of a log until one must be a request


def read_requests(path: Path, wanted: Wanted) -> Requests:
    """Read a request trace of any known format; memory grows with the requests that are kept, not with the file.

    Raises:
        TraceError: it is none, has no request, or (`strict`) a row is no request.
    """
    columns = Columns(path, wanted)
    with opened(path) as lines:
        first = next((line for line in lines if line.strip()), "")
        if first.lstrip().startswith(("{", "[")):
            _from_json(path, first, lines, columns)
        else:
            _from_csv(path, first, lines, columns)
    return columns.requests()


def _from_csv(path: Path, first: str, lines: Iterator[str], columns: Columns) -> None:
    separator = max(",;\t|", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    layout = layout_of({plain(name): (index,) for index, name in reversed(list(enumerate(header)))})
    if layout is None:
        raise _unknown(path, 1, header)
    source = Source.of(layout, lambda place: header[place[0]])
    places = [place[0] if place else len(header) for place in source.places]
    reader = csv.reader(lines, delimiter=separator)
    while True:
        line = reader.line_num + 2
        try:
            row = next(reader, None)
        except csv.Error as error:
            columns.bad(BadRow("row", str(error), "CSV"), line)
            continue
        if row is None:
            return
        if row:
            width = len(row)
            columns.add(source, [row[place] if place < width else None for place in places], line)


def _from_json(path: Path, first: str, lines: Iterator[str], columns: Columns) -> None:
    """Lines of objects; rows may differ in where their figures are (two kinds of requests in one log)."""
    sources: list[Source] = []
    for line, text in _numbered(first, lines):
        if not text.strip():
            continue
        try:
            record = _record(text)
        except BadRow as mistake:
            columns.bad(mistake, line)
        else:
            source = _source(sources, record)
            if source is None:
                columns.bad(BadRow("row", ",".join(map(str, record)), "a request with a time and token counts"), line)
            else:
                columns.add(source, [_at(record, place) for place in source.places], line)
        if not sources and columns.rows >= LOOKED_AT:
            break
    if not sources:
        raise _unknown(path, 1, _keys(first)) if first.lstrip()[:1] == "{" else _array(path)


def _source(sources: list[Source], record: Mapping[str, Any]) -> Source | None:
    """Where this record's figures are; the file's first layout where it has none of any known layout."""
    for source in sources:
        if all(_at(record, place) is not None for place in source.places[:3]):
            return source
    layout = layout_of(paths_of(record))
    if layout is None:
        return sources[0] if sources else None
    sources.append(Source.of(layout, lambda place: ".".join(map(str, place))))
    return sources[-1]


def _array(path: Path) -> TraceError:
    return TraceError(f"{path}:1: a JSON array; expected one JSON object per line")


def _numbered(first: str, lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    yield 1, first
    yield from enumerate(lines, start=2)


def _record(text: str) -> Mapping[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, Mapping) or not record:
        raise BadRow("row", text.strip(), "a JSON object")
    return record


def _keys(first: str) -> list[str]:
    try:
        return [str(key) for key in _record(first)]
    except BadRow:
        return []


def _at(record: Mapping[str, Any], path: Sequence[Any]) -> Any:
    if not path:
        return None
    value: Any = record
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _unknown(path: Path, line: int, keys: Sequence[str]) -> TraceError:
    have = "".join(letter if letter.isprintable() else "?" for letter in ",".join(keys[:20])[:200]) or "nothing"
    lacking = missing_of(keys)
    if lacking:
        return TraceError(f"{path}:{line}: {lacking}: missing (have {have})")
    return TraceError(f"{path}:{line}: no known trace format (have {have}); expected {EXPECTED}")
