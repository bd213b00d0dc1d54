"""Trace files as text, line by line, so that memory does not grow with the file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

PIECE: Final = 2**14  # letters
LONGEST_LINE: Final = 16 * 2**20  # letters; access logs may carry whole prompts
_GZIP: Final = b"\x1f\x8b"
_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\x00"


class TraceError(ValueError):
    """A trace cannot be used; the message names file, line, field and what was expected."""


@contextmanager
def opened(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a file, unpacked where it is packed (gzip, bzip2, xz).

    Raises:
        TraceError: it cannot be read, now or while it is read.
    """
    with _opened(path) as text:
        yield _lines(path, text)


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    try:
        with path.open("rb") as raw, io.TextIOWrapper(_unpacked(path, raw), "utf-8-sig", "replace", "") as text:
            yield text
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"{path}: cannot be read: {why}") from error


@contextmanager
def opened_pieces(path: Path) -> Iterator[Iterator[str]]:
    """A file as `opened` gives it, in pieces of some letters, for what is not written line by line.

    Raises:
        TraceError: it cannot be read, now or while it is read.
    """
    with _opened(path) as text:
        yield iter(lambda: text.read(PIECE), "")


def read_text(path: Path) -> str:
    """A whole small file.

    Raises:
        TraceError: it cannot be read.
    """
    with opened(path) as lines:
        return "".join(lines)


def first_line(path: Path) -> str:
    """The first line, without its end; empty where there is none.

    Raises:
        TraceError: it cannot be read.
    """
    with opened(path) as lines:
        return next(lines, "").rstrip("\r\n")


def _unpacked(path: Path, raw: IO[bytes]) -> Any:
    """The file or a reader over it; their types have no common one that text can be read from."""
    begin = raw.read(len(_XZ))
    raw.seek(0)
    if path.suffix == ".gz" or begin.startswith(_GZIP):
        return gzip.open(raw)
    if begin.startswith(_BZIP2):
        return bz2.open(raw)
    return lzma.open(raw) if begin == _XZ else raw


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := text.readline(LONGEST_LINE):
        number += 1
        if len(line) >= LONGEST_LINE:
            raise TraceError(f"{path}:{number}: longer than {LONGEST_LINE:,} letters; expected one request per line")
        yield line
