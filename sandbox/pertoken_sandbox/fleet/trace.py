"""Request traces: CSV(.gz) ``arrival_s,input_tokens,output_tokens[,model][,prefix_ids]``."""

import csv
import gzip
import io
import math
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_REQUIRED = ("arrival_s", "input_tokens", "output_tokens")


class TraceError(ValueError):
    """A trace file cannot be used; the message names file, line and field."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: seconds since the trace's start, tokens in and out, model, ids of 512-token blocks."""

    at: float
    input_tokens: int
    output_tokens: int
    model: str = ""
    prefix_ids: tuple[int, ...] = ()


def load_trace(path: Path) -> list[Arrival]:
    """Read a trace, sorted by arrival.

    Raises:
        TraceError: the file is missing, empty, or a field is not what it must be.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    arrivals = list(_rows(path, io.StringIO(text, newline="")))
    if not arrivals:
        raise TraceError(f"{path}: holds no requests")
    return sorted(arrivals, key=lambda a: a.at)


def _rows(path: Path, source: Iterable[str]) -> Iterator[Arrival]:
    reader = csv.DictReader(source)
    missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise TraceError(f"{path}:1: column {missing[0]}: missing (need {','.join(_REQUIRED)})")
    for row in reader:
        where = f"{path}:{reader.line_num}"
        yield Arrival(
            at=_number(row, "arrival_s", where),
            input_tokens=_count(row, "input_tokens", where),
            output_tokens=_count(row, "output_tokens", where),
            model=row.get("model") or "",
            prefix_ids=_prefix(row.get("prefix_ids") or "", where),
        )


def _number(row: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TraceError(f"{where}: {name}: {row[name]!r} is not a finite number of seconds >= 0")
    return value


def _count(row: dict[str, str], name: str, where: str) -> int:
    try:
        value = int(row[name])
    except (TypeError, ValueError):
        value = 0
    if value < 1:
        raise TraceError(f"{where}: {name}: {row[name]!r} is not a whole number of tokens >= 1")
    return value


def _prefix(text: str, where: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split())
    except ValueError as error:
        raise TraceError(f"{where}: prefix_ids: {text!r} is not a space-separated list of ids") from error


@dataclass(frozen=True)
class Replay:
    """Which part of a trace to play and how.

    ``start_seconds`` and ``duration_seconds`` are in the trace's own time; ``speed`` compresses arrivals only (12 plays
    an hour in five minutes); ``rate_scale`` repeats (or thins) arrivals, each copy moved by up to a second of trace
    time; ``model`` keeps the rows of that model where the trace names models.
    """

    speed: float = 1.0
    rate_scale: float = 1.0
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    model: str = ""
    seed: int = 0

    def apply(self, trace: Iterable[Arrival]) -> list[Arrival]:
        """The arrivals to play, in played seconds from 0."""
        rng = random.Random(self.seed)
        end = math.inf if self.duration_seconds is None else self.start_seconds + self.duration_seconds
        played = []
        for arrival in trace:
            if not self.start_seconds <= arrival.at < end or (self.model and arrival.model not in ("", self.model)):
                continue
            copies = int(self.rate_scale) + (rng.random() < self.rate_scale % 1)
            for copy in range(copies):
                jitter = rng.uniform(0.0, 1.0) if copy else 0.0
                at = (arrival.at - self.start_seconds + jitter) / self.speed
                played.append(
                    Arrival(at, arrival.input_tokens, arrival.output_tokens, arrival.model, arrival.prefix_ids)
                )
        return sorted(played, key=lambda a: a.at)
