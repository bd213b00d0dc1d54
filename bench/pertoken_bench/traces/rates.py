"""Rate series: requests, and tokens, per bin of time.

``time_s,requests[,input_tokens,output_tokens]``, counts and tokens of the bin that begins at ``time_s``; or a client's
windows as ServeGen publishes them (``chunk-N-trace.csv``), headerless rows of ``seconds,requests per second,
coefficient of variation,Gamma|Weibull,two parameters``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.traces.files import TraceError, first_line, opened

RATE_COLUMNS: Final = ("time_s", "requests")
TOKEN_COLUMNS: Final = ("input_tokens", "output_tokens")
WINDOW_COLUMNS: Final = ("seconds", "requests per second")  # of ServeGen, which writes no header
_PATTERNS: Final = frozenset({"Gamma", "Weibull", "Exponential", ""})
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """A rate series: `times` are the bins' beginnings and the last one's end; tokens per request, 0 if not told."""

    times: Floats
    requests: Floats
    input_tokens: Floats
    output_tokens: Floats


def is_rate_series(path: Path) -> bool:
    """Whether a trace file holds a rate series instead of requests; a folder of clients does."""
    if path.is_dir():
        return True
    row = _first(path)
    return all(name in row for name in RATE_COLUMNS) or _is_window(row)


def _first(path: Path) -> list[str]:
    return [name.strip() for name in first_line(path).split(",")]


def _is_window(row: Sequence[str]) -> bool:
    return len(row) == 6 and row[3] in _PATTERNS and row[0].isdigit()


def load_bins(path: Path) -> Bins:
    """Read a rate series.

    Raises:
        TraceError: a row is not what it must be.
    """
    windows = _is_window(_first(path))
    rows: list[tuple[float, ...]] = []
    with opened(path) as lines:
        reader = csv.reader(lines)
        header = list(WINDOW_COLUMNS) if windows else next(reader, [])
        places = {name.strip(): index for index, name in enumerate(header)}
        names = WINDOW_COLUMNS if windows else RATE_COLUMNS
        for name in names:
            if name not in places:
                raise TraceError(f"{path}:1: column {name}: missing (have {','.join(header) or 'nothing'})")
        wanted = (*names, *(name for name in TOKEN_COLUMNS if name in places))
        rows.extend(
            tuple(_figure(path, reader.line_num, name, row, places[name]) for name in wanted) for row in reader if row
        )
    return _bins(path, np.array(rows), wanted, per_second=windows)


def _bins(path: Path, table: Floats, columns: Sequence[str], *, per_second: bool) -> Bins:
    if len(table) < 2:
        raise TraceError(f"{path}: a rate series needs at least two rows")
    times = table[:, 0]
    if (np.diff(times) <= 0).any():
        raise TraceError(f"{path}: {columns[0]}: must grow from row to row")
    step = float(np.median(np.diff(times)))
    edges = np.append(times, times[-1] + step)
    requests = table[:, 1] * (np.diff(edges) if per_second else 1.0)
    counts = np.maximum(requests, 1e-12)
    inputs, outputs = (
        table[:, columns.index(name)] / counts if name in columns else np.zeros(len(table)) for name in TOKEN_COLUMNS
    )
    return Bins(edges, requests, inputs, outputs)


def _figure(path: Path, line: int, name: str, row: Sequence[str], place: int) -> float:
    text = row[place] if place < len(row) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TraceError(f"{path}:{line}: {name}: {text!r} is not a number >= 0")
    return value
