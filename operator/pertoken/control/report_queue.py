"""Reporting on its own pace: while the API server takes statuses and events slowly, cycles go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from pertoken.control.fence import Fence
from pertoken.control.report import Report, Reporter
from pertoken.ports import Clock

LOGGER = logging.getLogger(__name__)

MOST_OUTCOMES: Final = 1000  # that wait to be told; older ones are told in the log alone


class ReportListener(Protocol):
    """Whoever is told of every report."""

    def reported(self, seconds: float) -> None:
        """How long a report took."""


@dataclass(slots=True)
class ReportQueue:
    """Tells users of the last cycle: its statuses, and the events of all cycles since the report before.

    Attributes:
        fence: of the reporter's writes alone; opened for the term of each report.
    """

    reporter: Reporter
    fence: Fence
    clock: Clock
    listeners: Sequence[ReportListener] = ()
    _waiting: Report | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _term: int | None = None

    def hand_over(self, report: Report) -> None:
        """Take a cycle's report; it stands for one that still waits, whose actions are not lost."""
        waiting = self._waiting
        if waiting is not None and waiting.term == report.term:
            report = replace(report, outcomes=(*waiting.outcomes, *report.outcomes)[-MOST_OUTCOMES:])
        self._waiting = report
        self._news.set()

    async def run(self) -> None:
        """Report until cancelled; a report that fails is logged, and the next one tells what it left out."""
        while True:
            await self._news.wait()
            self._news.clear()
            report, self._waiting = self._waiting, None
            if report is not None:
                await self._tell(report)

    async def _tell(self, report: Report) -> None:
        if report.term != self._term:
            self.reporter.forget()
            self._term = report.term
        self.fence.enter(report.term)
        started = self.clock.monotonic()
        try:
            await asyncio.to_thread(self.reporter.report, report)
        except Exception:
            LOGGER.exception("the last cycle was not reported")
        for listener in self.listeners:
            listener.reported(self.clock.monotonic() - started)
