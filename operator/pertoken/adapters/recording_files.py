"""Recordings in a folder: segments of gzip-compressed lines, of which the oldest go when there are too many."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

LOGGER = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl.gz"
CHUNK: Final = 1 << 20  # bytes that are read at a time


@dataclass(slots=True)
class RecordingFolder:
    """Implements `pertoken.ports.Recordings`. Segments are in the order of their names.

    Every line is a gzip member of its own: a process that is killed loses at most the line that it was writing, and
    segments one after another are a recording, too.

    Attributes:
        most_bytes: of all segments together.
        most_segments: that are kept, the one being written included.
    """

    folder: Path
    most_bytes: int
    most_segments: int
    _current: Path | None = None
    _sizes: dict[Path, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def begin(self, name: str) -> None:
        """Begin a segment; the oldest ones make room for it.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self._lock:
            if self._current is None:
                self._sizes = self._kept()
            self._current = self.folder / f"{name}{SUFFIX}"
            self._sizes[self._current] = 0
            self._current.write_bytes(b"")
            self._make_room()

    def append(self, line: bytes) -> int:
        """Add a line to the segment that was begun last; returns that segment's bytes.

        Raises:
            OSError: it cannot be written, or is larger than all that may be kept.
        """
        packed = gzip.compress(line, 6, mtime=0)
        if self._current is None or len(packed) > self.most_bytes:
            raise OSError(f"a line of {len(packed):,} bytes; at most {self.most_bytes:,} are kept")
        with self._lock:
            with self._current.open("ab") as file:
                file.write(packed)
            self._sizes[self._current] += len(packed)
            self._make_room()
            return self._sizes[self._current]

    def chunks(self) -> Iterator[bytes]:
        """All that is recorded, oldest first: one recording. Lines that are added meanwhile are not in it."""
        with self._lock:
            sizes = dict(self._sizes) if self._current is not None else self._kept()
        for path, size in sizes.items():
            try:
                with path.open("rb") as file:
                    yield from (file.read(min(CHUNK, size - start)) for start in range(0, size, CHUNK))
            except FileNotFoundError:
                continue  # it made room for newer ones

    def _kept(self) -> dict[Path, int]:
        """Segments of an earlier process, without what it had only begun to write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            whole = _whole_bytes(path)
            if whole < path.stat().st_size:
                LOGGER.warning("%s ends in the middle of a line, which is left out", path)
                with path.open("ab") as file:
                    file.truncate(whole)
            sizes[path] = whole
        return sizes

    def _make_room(self) -> None:
        while len(self._sizes) > 1 and (
            len(self._sizes) > self.most_segments or sum(self._sizes.values()) > self.most_bytes
        ):
            oldest = next(iter(self._sizes))
            oldest.unlink(missing_ok=True)
            del self._sizes[oldest]


def _whole_bytes(path: Path) -> int:
    """Bytes of the gzip members that are whole."""
    whole, data = 0, path.read_bytes()
    while whole < len(data):
        member = zlib.decompressobj(wbits=31)
        try:
            member.decompress(data[whole:])
        except zlib.error:
            break
        if not member.eof:
            break
        whole = len(data) - len(member.unused_data)
    return whole
