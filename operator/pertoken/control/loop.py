"""The planning loop: a cycle every few seconds while this process leads, and soon after a user changed something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pertoken.control.cycle import Cycle, CycleResult
from pertoken.control.report import Report, Subjects
from pertoken.control.report_queue import ReportQueue
from pertoken.control.waker import Waker
from pertoken.ports import Clock, CycleSummary

LOGGER = logging.getLogger(__name__)

GATE_SECONDS: Final = 0.2  # between two looks at whether this process leads
LEAST_PAUSE_SECONDS: Final = 0.05


class CycleListener(Protocol):
    """Whoever is told of every cycle, in the event loop's thread."""

    def finished(self, result: CycleResult) -> None:
        """A cycle went through."""

    def failed(self, summary: CycleSummary) -> None:
        """A cycle ended by a fault."""


@dataclass(slots=True)
class PlanningLoop:
    """Runs cycles until cancelled, and saves then what they have learnt.

    Attributes:
        reports: takes each cycle's result, to tell users of it while the next ones run.
        finished_at: when the last cycle went through, by the monotonic clock; None before the first.
    """

    cycle: Cycle
    waker: Waker
    reports: ReportQueue
    listeners: Sequence[CycleListener]
    clock: Clock
    interval_seconds: float = 15.0
    number: int = 0
    finished_at: float | None = None

    async def run(self) -> None:
        """Cycle until cancelled. A cycle that fails is logged and counted; the next one starts afresh."""
        try:
            while True:
                while not self.cycle.due:  # noqa: ASYNC110 - the lease lives in a thread of its own
                    await asyncio.sleep(GATE_SECONDS)
                started = self.clock.monotonic()
                await self._once()
                left = self.interval_seconds - (self.clock.monotonic() - started)
                await self.waker.pause(max(left, LEAST_PAUSE_SECONDS))
        finally:
            await self.cycle.save()

    def age_seconds(self) -> float | None:
        """Since the last cycle went through; None before the first, and while another process leads."""
        if self.finished_at is None or not self.cycle.leadership.valid():
            return None
        return self.clock.monotonic() - self.finished_at

    async def _once(self) -> None:
        self.number += 1
        try:
            result = await self.cycle.run_once(self.number)
            if result is not None:
                self._pass_on(result)
        except Exception as error:
            LOGGER.exception("cycle %d failed", self.number)
            summary = CycleSummary(number=self.number, ok=False, error=f"{type(error).__name__}: {error}")
            for listener in self.listeners:
                listener.failed(summary)

    def _pass_on(self, result: CycleResult) -> None:
        self.finished_at = self.clock.monotonic()
        if result.again:
            self.waker.wake()
        snapshot = result.surveyed.snapshot
        subjects = Subjects(snapshot.services, snapshot.pools, result.surveyed.refusals, result.routes, result.released)
        self.reports.hand_over(Report(result.term, subjects, result.plan, result.outcomes))
        for listener in self.listeners:
            listener.finished(result)
