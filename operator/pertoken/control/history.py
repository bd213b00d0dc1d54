"""What the last cycles decided and did, for whoever looks into the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pertoken.control.actuate import Outcome, describe, kind_of
from pertoken.control.cycle import CycleResult
from pertoken.domain.plan import Plan
from pertoken.ports import CycleSummary

LENGTH: Final = 200  # actions


@dataclass(slots=True)
class History:
    """The last plan and the last actions; the planning loop reports every cycle to it.

    Attributes:
        last: number and plan of the last cycle that finished; None before the first.
    """

    last: tuple[int, Plan] | None = None
    _entries: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=LENGTH))

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The last actions, oldest first, as plain values."""
        return tuple(self._entries)

    def finished(self, result: CycleResult) -> None:
        """Keep the plan, and what became of its actions."""
        self.last = (result.summary.number, result.plan)
        self._entries.extend(_entry(result, outcome) for outcome in result.outcomes)

    def failed(self, summary: CycleSummary) -> None:
        """Nothing is kept of a cycle that failed."""


def _entry(result: CycleResult, outcome: Outcome) -> Mapping[str, Any]:
    action = outcome.action
    return {
        "cycle": result.summary.number,
        "at": result.now,
        "service": str(action.service),
        "variant": action.variant,
        "kind": kind_of(action),
        "reason": action.reason.value,
        "message": action.message or describe(action),
        "result": outcome.result.value,
        "why": outcome.why,
    }
