"""Formats in which request traces are published, and what their fields mean.

Keys are compared without case, spaces and punctuation (``Request tokens`` is ``requesttokens``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import isfinite
from typing import Any, Final

MOST_TOKENS: Final = 100_000_000  # of one request
BLOCK_TOKENS: Final = 512  # of one block of a prompt, as the simulated engines share them
LATEST: Final = 2.0**35  # seconds since the epoch
_RELATIVE: Final = 1e8  # a larger number is no time since a trace's begin but since the epoch
_LOG_TIMES: Final = ("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%Y/%m/%d %H:%M:%S")
DEEPEST: Final = 4  # objects within objects
MOST_KEYS: Final = 1_000  # looked at in one record


class TimeUnit(Enum):
    """What the numbers of a time field count."""

    KEPT = "seconds from the trace's own start, which is kept"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    ANY = "ISO 8601 or seconds, milli-, micro- or nanoseconds since the epoch, by their size"


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """One published format.

    Attributes:
        time, inputs, outputs: names of the fields.
        also: further names that must be there.
        model: name of the model, where there is one.
        blocks: ids of the blocks that a prompt begins with, `block_tokens` long each.
    """

    name: str
    time: str
    inputs: str
    outputs: str
    clock: TimeUnit
    also: tuple[str, ...] = ()
    model: str = "model"
    blocks: str = ""
    block_tokens: int = BLOCK_TOKENS


# Sources: Azure/AzurePublicDataset (2023, 2024, LMM 2025), HPMLL/BurstGPT (releases 1-3), Mutinifni/splitwise-sim,
# microsoft/vidur, alibaba-edu/qwen-bailian-usagetraces-anon, kvcache-ai/Mooncake (FAST25-release).
FORMATS: Final = (
    TraceFormat("pertoken", "arrival_s", "input_tokens", "output_tokens", TimeUnit.KEPT, blocks="prefix_ids"),
    TraceFormat("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", TimeUnit.ANY),
    TraceFormat("BurstGPT", "Timestamp", "Request tokens", "Response tokens", TimeUnit.SECONDS),
    TraceFormat("Splitwise", "arrival_timestamp", "prompt_size", "token_size", TimeUnit.SECONDS),
    TraceFormat("Vidur", "arrived_at", "num_prefill_tokens", "num_decode_tokens", TimeUnit.SECONDS),
    TraceFormat(
        "Qwen-Bailian", "timestamp", "input_length", "output_length", TimeUnit.SECONDS, ("chat_id",), "", "hash_ids", 16
    ),
    TraceFormat("Mooncake", "timestamp", "input_length", "output_length", TimeUnit.MILLISECONDS, blocks="hash_ids"),
)
# Access logs, and what generators of workloads (ServeGen) write: a time and a pair of token counts anywhere.
TIMES: Final = {
    "arrivals": TimeUnit.SECONDS,
    "arrivaltime": TimeUnit.ANY,
    "arrivaltimestamp": TimeUnit.ANY,
    "arrivedat": TimeUnit.ANY,
    "requesttimestamp": TimeUnit.ANY,
    "starttime": TimeUnit.ANY,
    "startedat": TimeUnit.ANY,
    "receivedat": TimeUnit.ANY,
    "timestamp": TimeUnit.ANY,
    "timestamps": TimeUnit.SECONDS,
    "timestampms": TimeUnit.MILLISECONDS,
    "time": TimeUnit.ANY,
    "ts": TimeUnit.ANY,
    "datetime": TimeUnit.ANY,
    "createdat": TimeUnit.ANY,
    "created": TimeUnit.ANY,
    "requesttime": TimeUnit.ANY,  # the last: web servers call a duration so
}
PAIRS: Final = (
    ("prompttokens", "completiontokens"),
    ("inputtokens", "outputtokens"),
    ("prompttokens", "outputtokens"),
    ("prompttokens", "generatedtokens"),
    ("inputlength", "outputlength"),
    ("promptlength", "outputlength"),
    ("prompttokencount", "candidatestokencount"),
    ("inputtokencount", "outputtokencount"),
    ("promptlen", "outputlen"),
    ("usageprompttokens", "usagecompletiontokens"),
    ("usageinputtokens", "usageoutputtokens"),
)
EXPECTED: Final = (
    "columns arrival_s,input_tokens,output_tokens; the formats of Azure, BurstGPT, Splitwise, Vidur, Mooncake, "
    "Qwen-Bailian; or per line a timestamp and usage.prompt_tokens, usage.completion_tokens"
)


class BadTraceRow(ValueError):
    """A row that is no request: field, value and what was expected."""

    def __init__(self, field: str, value: object, wanted: str) -> None:
        text = str(value)
        super().__init__(f"{field}: {text[:60]!r} is not {wanted}")
        self.field, self.wanted = field, wanted


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Where the fields of this file's rows are: paths of keys, or one column."""

    time: tuple[Any, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    clock: TimeUnit
    model: tuple[Any, ...] = ()
    blocks: tuple[Any, ...] = ()
    every: int = 1  # this many blocks make one of `BLOCK_TOKENS`


def plain(name: object) -> str:
    """A key without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def layout_of(keys: Mapping[str, tuple[Any, ...]]) -> RowLayout | None:
    """Where the fields are, by plain keys and the paths that lead to them; None when it is no format known here."""
    for known in FORMATS:
        names = [plain(name) for name in (known.time, known.inputs, known.outputs)]
        if all(name in keys for name in (*names, *map(plain, known.also))):
            time, inputs, outputs = (keys[name] for name in names)
            blocks, model = keys.get(plain(known.blocks), ()), keys.get(plain(known.model), ())
            return RowLayout(time, inputs, outputs, known.clock, model, blocks, BLOCK_TOKENS // known.block_tokens)
    times = [name for name in TIMES if name in keys]
    pairs = [pair for pair in PAIRS if pair[0] in keys and pair[1] in keys]
    if not times or not pairs:
        return None
    time_name = min(times, key=lambda name: len(keys[name]))  # of those at one depth the first listed
    pair = min(pairs, key=lambda names: len(keys[names[0]]))
    return RowLayout(keys[time_name], keys[pair[0]], keys[pair[1]], TIMES[time_name], keys.get("model", ()))


def paths_of(record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Plain keys of a record and of the objects in it, outer ones first, with the path to each."""
    paths: dict[str, tuple[str, ...]] = {}
    level: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), record)]
    for _ in range(DEEPEST):
        below: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
        for path, part in level:
            for key, value in part.items():
                if len(paths) >= MOST_KEYS:
                    return paths
                if isinstance(value, Mapping):
                    below.append(((*path, key), value))
                else:
                    paths.setdefault(plain(key), (*path, key))
        level = below
    return paths


def missing_of(keys: Iterable[str]) -> str:
    """The field that the nearest known format needs and these keys lack; empty when nothing is near."""
    have = {plain(key) for key in keys}
    for known in FORMATS:
        lacking = [name for name in (known.time, known.inputs, known.outputs) if plain(name) not in have]
        if len(lacking) == 1:
            return lacking[0]
    return ""


def tokens(value: Any, field: str) -> int:
    """A count of tokens.

    Raises:
        BadRow: it is none, or 0.
    """
    kind = type(value)
    try:
        number = int(value) if kind is str or kind is int else 0
    except ValueError:
        number = 0
    if 1 <= number <= MOST_TOKENS:
        return number
    real = _number(value)
    if real is None or not 1 <= real <= MOST_TOKENS or not real.is_integer():
        raise BadTraceRow(field, "" if value is None else value, "a whole number >= 1")
    return int(real)


def blocks(value: Any, field: str, every: int) -> list[int]:
    """Ids of the blocks that a prompt begins with; an id stands for all before it, so `every` n-th is enough.

    Raises:
        BadRow: it is no list of whole numbers.
    """
    try:
        parts = value.split() if isinstance(value, str) else value or ()
        ids = [int(part) for part in parts]
    except (TypeError, ValueError):
        ids = [-1]
    if any(not 0 <= item < 2**62 for item in ids):
        raise BadTraceRow(field, value, "a list of whole numbers >= 0")
    return ids[every - 1 :: every]


def _number(value: Any) -> float | None:
    try:
        number = None if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and isfinite(number) else None


def _seconds(unit: float) -> Callable[[Any], float | None]:
    def read(value: Any) -> float | None:
        number = _number(value)
        return None if number is None or not 0 <= number * unit <= LATEST else number * unit

    return read


def _any(value: Any) -> float | None:
    number = _number(value)
    if number is None:
        return _date(value) if isinstance(value, str) else None
    for limit, unit in ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (1e20, 1e-9)):
        if 0 <= number < limit:
            return number * unit
    return None


def _date(text: str) -> float | None:
    """Seconds since the epoch; without a zone UTC."""
    moment = None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        for pattern in _LOG_TIMES:
            try:
                moment = datetime.strptime(text.strip().strip("[]"), pattern)  # noqa: DTZ007 - the zone is set below
                break
            except ValueError:
                continue
    if moment is None:
        return None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds if 0 <= seconds <= LATEST else None


INSTANTS: Final[Mapping[TimeUnit, tuple[Callable[[Any], float | None], str]]] = {
    TimeUnit.KEPT: (_seconds(1.0), "seconds >= 0"),
    TimeUnit.SECONDS: (_seconds(1.0), "seconds >= 0"),
    TimeUnit.MILLISECONDS: (_seconds(1e-3), "milliseconds >= 0"),
    TimeUnit.ANY: (_any, "a date and time in ISO 8601, or seconds or milliseconds since the epoch"),
}


def since_epoch(seconds: float) -> bool:
    """Whether an instant counts from the epoch rather than from a trace's begin."""
    return seconds >= _RELATIVE
