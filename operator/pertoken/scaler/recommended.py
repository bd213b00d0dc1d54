"""What this process may tell KEDA now: the last plan, while it leads and the plan is fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pertoken.control.cycle import CycleResult
from pertoken.ports import Clock, CycleSummary, Leadership
from pertoken.scaler.answers import Answer, Failure, NoAnswer, Planned, answer

STALE_CYCLES: Final = 4  # the HPA controller asks every 15 s, as often as a cycle runs
LEAST_STALE_SECONDS: Final = 10.0


@dataclass(slots=True)
class Recommended:
    """The planning loop reports every cycle to it; the gRPC service asks it.

    Attributes:
        cycle_seconds: of the planning loop; a plan that is several cycles old is told no more.
    """

    clock: Clock
    leadership: Leadership
    cycle_seconds: float
    _planned: Planned | None = None
    _term: int | None = None
    _at: float = 0.0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def leading(self) -> bool:
        """This process plans for all."""
        return self.leadership.valid()

    @property
    def news(self) -> asyncio.Event:
        """Set by the next plan; to be asked for before the answer that it makes out of date."""
        return self._news

    def finished(self, result: CycleResult) -> None:
        """Take a cycle's plan over, and wake whoever waits for it."""
        self._planned = Planned(
            {service.key: service for service in result.surveyed.snapshot.services},
            result.surveyed.refusals,
            {decision.service: decision for decision in result.plan.decisions},
        )
        self._term, self._at = result.term, self.clock.monotonic()
        self._news.set()
        self._news = asyncio.Event()

    def failed(self, summary: CycleSummary) -> None:
        """The last plan stays, and ages."""

    def trouble(self) -> str:
        """Why nothing can be told of any service, empty where it can."""
        if not self.leading:
            return "this process stands by: another one plans"
        if self._planned is None or self._term != self.leadership.term:
            return "there is no plan yet"
        age = self.clock.monotonic() - self._at
        limit = max(STALE_CYCLES * self.cycle_seconds, LEAST_STALE_SECONDS)
        return f"the last plan is {age:.0f} s old, more than {limit:g} s" if age > limit else ""

    def answer(self, namespace: str, metadata: Mapping[str, str]) -> Answer:
        """Replicas for what a trigger's metadata names, or why there is no such number now."""
        trouble = self.trouble()
        if trouble or self._planned is None:
            return NoAnswer(Failure.UNKNOWN, trouble)
        return answer(self._planned, namespace, metadata)
