"""One-line JSON logs (or a console form), with fields bound to the running cycle and without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Format = Literal["auto", "json", "console"]

_BOUND: ContextVar[Mapping[str, Any]] = ContextVar("pertoken_log_fields", default={})  # noqa: B039 - never mutated
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_KEY = re.compile(r"passw|secret|token$|authorization|api_?key|credential", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 [redacted]"),
    (re.compile(r"(://[^/\s:@]+):[^/\s@]+@"), r"\1:[redacted]@"),
    # A JSON Web Token wherever it stands: header and payload both begin with the letters of '{"'.
    (re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"), "[redacted]"),
)
# Chatty below warnings; raised again when everything is wanted.
_QUIET = ("aiohttp.access", "asyncio", "kopf", "kubernetes", "urllib3")


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields (cycle, service, reason …) to every record logged inside, in this task and threads it runs."""
    mark = _BOUND.set({**_BOUND.get(), **fields})
    try:
        yield
    finally:
        _BOUND.reset(mark)


def redact(text: str) -> str:
    """A text without bearer tokens, basic credentials, JSON web tokens and passwords in URLs."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Bound fields, then those of the record itself."""
    own = {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
    return {key: _shown(key, value) for key, value in {**_BOUND.get(), **own}.items()}


def _shown(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return "[redacted]"
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts, level, logger, message, fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        line = {**_fields(record), **line}  # a field never hides what every line has
        trace = _trace(record)
        if trace:
            line["traceback"] = trace
        ordered = {key: line.pop(key) for key in ("ts", "level", "logger", "message")} | line
        return json.dumps(ordered, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with the traceback below it."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        name = record.name.removeprefix("pertoken.")
        line = f"{at} {record.levelname:<7} {name}: {redact(record.getMessage())}{fields}"
        trace = _trace(record)
        return f"{line}\n{trace}" if trace else line


def _trace(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return ""


class LogControl:
    """The installed logging, whose levels can be changed while the program runs."""

    def __init__(self, level: str) -> None:
        """Apply the first level."""
        self.set_level(level)

    def set_level(self, level: str, logger: str = "") -> None:
        """Set the level of the whole program, or of one logger.

        Raises:
            ValueError: for a level that does not exist.
        """
        number = logging.getLevelNamesMapping().get(level.upper())
        if number is None:
            raise ValueError(f"{level!r} is no log level; one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        logging.getLogger(logger or None).setLevel(number)
        if not logger:
            for name in _QUIET:
                logging.getLogger(name).setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))

    def levels(self) -> dict[str, str]:
        """Levels that were set, by logger; the whole program's under the empty name."""
        known = {"": logging.getLogger(), **{name: logging.getLogger(name) for name in _names()}}
        return {name: logging.getLevelName(logger.level) for name, logger in known.items() if logger.level}


def _names() -> list[str]:
    known = logging.Logger.manager.loggerDict
    return sorted(name for name, logger in known.items() if isinstance(logger, logging.Logger))


def configure(level: str = "INFO", form: Format = "auto", stream: TextIO | None = None) -> LogControl:
    """Log to `stream` (standard error): as JSON, or for people when `auto` finds a terminal. Replaces handlers."""
    target = stream or sys.stderr
    people = form == "console" or (form == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(ConsoleFormatter() if people else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    return LogControl(level)
