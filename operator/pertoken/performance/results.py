"""Results of pure functions, kept for the cycles that ask for them again.

Most of what the performance model is asked for was asked for a cycle ago: engines and requests are rounded so that
small drifts change nothing. The composition root owns one `Results` for its cycles and hands it in; a key is the
function with its arguments, so that no answer depends on what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar, TypeVarTuple

MOST_KEPT: Final = 50_000  # results of one generation; each takes 830 bytes with its arguments, two generations 83 MB
CYCLES: Final = 20  # of one generation: what flips between two values of its grid is still there

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


class Results:
    """What was worked out in this generation of cycles, and in the one before as far as nobody has asked since."""

    __slots__ = ("_cycles", "_most", "_new", "_old")

    def __init__(self, most: int = MOST_KEPT) -> None:
        """Keep at most twice `most` results."""
        self._most = most
        self._cycles = 0
        self._new: dict[Hashable, Any] = {}
        self._old: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def of(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The function's result: kept, or worked out now. It is pure, and its arguments can be hashed."""
        key = (function, arguments)
        kept = self._new.get(key, self)
        if kept is self:
            kept = self._old.pop(key, self)
            if kept is self:
                kept = function(*arguments)
            if len(self._new) >= self._most:
                self._turn()
            self._new[key] = kept
        result: T = kept
        return result

    def end_cycle(self) -> None:
        """Called after each cycle: what nobody has asked for in a generation and more is dropped."""
        self._cycles += 1
        if self._cycles >= CYCLES:
            self._turn()

    def _turn(self) -> None:
        self._old, self._new, self._cycles = self._new, {}, 0
