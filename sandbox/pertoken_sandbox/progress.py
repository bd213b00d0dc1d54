"""Progress of long work on the terminal: one line that counts seconds, or a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

LOG_INTERVAL_SECONDS = 15.0


def say(message: str) -> None:
    """Print one line for the person who waits; standard output stays free for results."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """Shows what is being done and for how long; call `tick` often."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.monotonic()
        self._last_line = self._started
        self._terminal = sys.stderr.isatty()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        say(f"{self._what} …")
        return self

    def tick(self) -> None:
        """Refresh the shown seconds: in place on a terminal, as a new line every 15 s elsewhere."""
        now = time.monotonic()
        if self._terminal:
            print(f"\r{self._what} … {self.elapsed_seconds:.0f} s", end="", file=sys.stderr, flush=True)
        elif now - self._last_line >= LOG_INTERVAL_SECONDS:
            self._last_line = now
            say(f"{self._what} … {self.elapsed_seconds:.0f} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = "done" if kind is None else "stopped"
        lead = "\r" if self._terminal else ""
        say(f"{lead}{self._what}: {outcome} after {self.elapsed_seconds:.0f} s")
