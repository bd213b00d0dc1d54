"""The fence around every write: only while the lease is held, and only in the term for which the plan was made."""

from __future__ import annotations

from dataclasses import dataclass

from pertoken.ports import Leadership, Withheld


@dataclass(slots=True)
class Fence:
    """Asked before every single write.

    A leader that was stopped for a while may find that it leads again. What it planned before is then as old as what
    another leader planned meanwhile is new, so a fence opens for one term only.
    """

    leadership: Leadership
    _term: int | None = None

    def enter(self, term: int) -> None:
        """Open the fence for what is planned in this term."""
        self._term = term

    def check(self) -> None:
        """Raises Withheld when this process may not write."""
        if not self.leadership.valid():
            raise Withheld("the lease is not held")
        if self.leadership.term != self._term:
            raise Withheld("the lease was lost and won again since this was planned")
