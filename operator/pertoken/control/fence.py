"""The fence around every write: only while the lease is held, and only in the term for which the plan was made."""

from __future__ import annotations

from dataclasses import dataclass

from pertoken.ports import Leadership, Withheld


@dataclass(slots=True)
class Fence:
    """Says before every write whether this process may still do it.

    A process that was paused may lead again after another leader has acted in between, and what it planned before is
    then out of date: a fence allows the writes of one term only.
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
