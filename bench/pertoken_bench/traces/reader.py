"""The one reader of request traces: any format of `formats`, in one pass, rows that are no requests left out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pertoken_bench.traces.columns import Columns, Requests, Source, WantedColumns
from pertoken_bench.traces.files import LONGEST_LINE, TraceError, opened, opened_pieces
from pertoken_bench.traces.formats import EXPECTED, BadTraceRow, layout_of, missing_of, paths_of, plain

LISTS: Final = ("requests", "data", "records", "items", "entries", "logs")
_ARRAY: Final = re.compile(rf'\s*(?:\{{\s*"(?:{"|".join(LISTS)})"\s*:\s*)?\[')
_BETWEEN: Final = re.compile(r"[\s,]*")
_LONGEST_MILLISECONDS: Final = 1e9  # 11 days; what is larger counts from the epoch
LOOKED_AT: Final = 100  # lines of a log until one must be a request


def read_requests(path: Path, wanted: WantedColumns) -> Requests:
    """Read a request trace of any known format; memory grows with the requests that are kept, not with the file.

    Raises:
        TraceError: it is none, has no request, or (`strict`) a row is no request.
    """
    columns = Columns(path, wanted)
    begun = _array_begun(path)
    if begun is not None:
        columns.unit = "element"
        with opened_pieces(path) as pieces:
            _from_records(path, _elements(path, begun, pieces), columns)
        return columns.requests()
    with opened(path) as lines:
        first = next((line for line in lines if line.strip()), "")
        if first.lstrip().startswith("{"):
            _from_records(path, _objects(first, lines), columns)
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
            columns.bad(BadTraceRow("row", str(error), "CSV"), line)
            continue
        if row is None:
            return
        if row:
            width = len(row)
            columns.add(source, [row[place] if place < width else None for place in places], line)


def _from_records(path: Path, objects: Iterator[tuple[int, Any]], columns: Columns) -> None:
    """Objects; they may differ in where their figures are (two kinds of requests in one log)."""
    sources: list[Source] = []
    keys: list[str] | None = None
    for number, value in objects:
        try:
            records = _requests_in(value)
        except BadTraceRow as mistake:
            keys = [] if keys is None else keys
            columns.bad(mistake, number)
        else:
            for record in records:
                keys = [str(key) for key in record] if keys is None else keys
                _one(sources, record, number, columns)
        if not sources and columns.rows >= LOOKED_AT:
            break
    if not sources and (keys is not None or columns.unit == "line"):
        raise _unknown(path, 1, keys or [])


def _one(sources: list[Source], record: Mapping[str, Any], number: int, columns: Columns) -> None:
    source = _source(sources, record)
    if source is None:
        columns.bad(BadTraceRow("row", ",".join(map(str, record)), "a request with a time and token counts"), number)
    else:
        columns.add(source, [_at(record, place) for place in source.places], number)


def _requests_in(value: Any) -> Sequence[Mapping[str, Any]]:
    """The requests that an object holds: itself, or those of a list in it, each with what stands beside the list.

    AIBrix writes the requests of one instant so, the instant in milliseconds from the begin.

    Raises:
        BadRow: it is no object, or holds something else.
    """
    if not isinstance(value, Mapping) or not value:
        raise BadTraceRow("row", _shown(value), "a JSON object")
    name = next((name for name in LISTS if isinstance(value.get(name), list)), None)
    if name is None:
        return [value]
    beside = {key: item for key, item in value.items() if key != name}
    moment = beside.get("timestamp")
    if isinstance(moment, int | float) and not isinstance(moment, bool) and moment < _LONGEST_MILLISECONDS:
        beside["timestamp_ms"] = beside.pop("timestamp")
    if not all(isinstance(part, Mapping) for part in value[name]):
        raise BadTraceRow(name, "a list", "a list of requests")
    return [{**beside, **part} for part in value[name]]


def _shown(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)[:60]


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


def _objects(first: str, lines: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """One value for each line that is not empty, with the line's number; the text itself where it is no JSON."""
    for number, text in enumerate(chain((first,), lines), start=1):
        if text.strip():
            yield number, _value(text)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, Mapping) and value else text


def _array_begun(path: Path) -> int | None:
    """Letters before the first element of a JSON array, alone or as the only list of an object over several lines."""
    with opened_pieces(path) as pieces:
        begin = next(pieces, "")
    head = begin.lstrip().partition("\n")[0]
    if head[:1] == "{" and (head.strip() != "{" and isinstance(_value(head), Mapping)):
        return None
    match = _ARRAY.match(begin)
    return None if match is None else match.end()


def _elements(path: Path, begun: int, pieces: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array with their numbers, without holding more of it than one and a piece.

    Raises:
        TraceError: an element is no JSON, or has no end.
    """
    decoder, held, at, number = json.JSONDecoder(), next(pieces, ""), begun, 0
    while True:
        at = _BETWEEN.match(held, at).end()  # type: ignore[union-attr]
        if held[at : at + 1] == "]":
            return
        try:
            value, at = decoder.raw_decode(held, at)
        except (ValueError, RecursionError):
            more = next(pieces, "")
            held, at = held[at:] + more, 0
            if not more or len(held) > LONGEST_LINE:
                why = "cut off or no JSON" if not more else f"no JSON within {LONGEST_LINE:,} letters"
                raise TraceError(f"{path}: element {number + 1}: {why}") from None
        else:
            number += 1
            yield number, value


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
