"""What the metrics of one service allow in this cycle."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import Final

from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass
from pertoken.planner.needs import Lacks, Purpose


class Grade(IntEnum):
    """What the metrics allow."""

    HOLD = 0  # nothing moves
    UP_ONLY = 1  # replicas may rise
    NORMAL = 2
    PANIC = 3  # replicas may only rise, at once


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the metrics allow.

    Attributes:
        grade: for replicas and caps.
        condition: the condition to show.
        fresh_since: since when metrics have been fresh.
        lacks: what serving pods do not tell, by what it is needed for.
    """

    grade: Grade
    condition: Condition
    fresh_since: float | None
    lacks: Lacks = field(default_factory=dict)

    def allows(self, purpose: Purpose) -> bool:
        """Whether every signal that it needs is there."""
        return self.grade is not Grade.HOLD and not self.lacks.get(purpose)

    @property
    def holds(self) -> bool:
        """Nothing may move."""
        return self.grade is Grade.HOLD

    @property
    def may_shrink(self) -> bool:
        """Whether replicas may fall."""
        return self.grade is Grade.NORMAL

    @property
    def complete(self) -> bool:
        """Whether all that serves has been seen for a whole rate window."""
        return self.grade in (Grade.NORMAL, Grade.PANIC)

    @property
    def may_change_cap(self) -> bool:
        """Whether a batch cap may change."""
        return self.complete


NOT_ASSESSED: Final = Assessment(
    Grade.HOLD, Condition(Verdict.UNKNOWN, Reason.METRICS_WARMING_UP, "the metrics have not been assessed"), None
)
