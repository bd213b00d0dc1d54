"""Reports on their own pace, each within its own term."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest
from cycling import Leader, eventually
from watched import StandingClock

from pertoken.control import report_queue
from pertoken.control.actuate import Outcome, Result
from pertoken.control.fence import Fence
from pertoken.control.report import Report, Subjects
from pertoken.control.report_queue import ReportQueue
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import Plan, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.ports import Withheld

TARGET = WorkloadRef("apps/v1", "Deployment", "n", "chat-a")


@dataclass
class Teller:
    """A reporter that may be held up, or fail."""

    fence: Fence
    told: list[list[int]] = field(default_factory=list)
    forgot: int = 0
    withheld: int = 0
    fault: Exception | None = None
    free: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        self.forgot += 1

    def report(self, report: Report) -> None:
        self.free.wait(30)
        if self.fault is not None:
            raise self.fault
        try:
            self.fence.check()
        except Withheld:
            self.withheld += 1
            return
        self.told.append([outcome.action.desired for outcome in report.outcomes])


@dataclass
class Made:
    leader: Leader = field(default_factory=Leader)
    durations: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        fence = Fence(self.leader)
        self.teller = Teller(fence)
        self.teller.free.set()
        self.queue = ReportQueue(self.teller, fence, StandingClock(), (self,))
        self.task = asyncio.create_task(self.queue.run())

    def reported(self, seconds: float) -> None:
        self.durations.append(seconds)

    def hand_over(self, *desired: int, term: int = 1) -> None:
        outcomes = tuple(
            Outcome(SetReplicas(ServiceKey("n", "chat"), "a", TARGET, 1, each, Reason.DEMAND_ROSE, "7"), Result.DONE)
            for each in desired
        )
        self.queue.hand_over(Report(term, Subjects((), (), {}), Plan((), (), ()), outcomes))

    async def until(self, reports: int) -> None:
        await eventually(lambda: len(self.durations) >= reports)

    async def busy(self) -> None:
        """Until a report has begun that is held up."""
        await eventually(lambda: self.queue._waiting is None)


@pytest.fixture
async def made():
    made = Made()
    yield made
    made.teller.free.set()
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_a_slow_report_holds_no_cycle_up_and_no_action_is_lost(made):
    made.teller.free.clear()
    made.hand_over(2)
    await made.busy()
    made.hand_over(3)
    made.hand_over(4, 5)
    made.teller.free.set()
    await made.until(2)

    assert made.teller.told == [[2], [3, 4, 5]]


async def test_what_waits_is_bounded(made, monkeypatch):
    monkeypatch.setattr(report_queue, "MOST_OUTCOMES", 3)
    made.teller.free.clear()
    made.hand_over(1)
    await made.busy()
    made.hand_over(2, 3)
    made.hand_over(4, 5)
    made.teller.free.set()
    await made.until(2)

    assert made.teller.told[1] == [3, 4, 5]


async def test_a_report_of_an_earlier_term_is_not_told(made):
    made.teller.free.clear()
    made.hand_over(2)
    await made.busy()
    made.leader.term = 2
    made.teller.free.set()
    await made.until(1)
    assert (made.teller.told, made.teller.withheld) == ([], 1)

    made.hand_over(3, term=2)
    await made.until(2)
    assert made.teller.told == [[3]]


async def test_a_report_that_waits_gives_way_to_the_next_term(made):
    made.teller.free.clear()
    made.hand_over(1)
    await made.busy()
    made.hand_over(2)
    made.leader.term = 2
    made.hand_over(3, term=2)
    made.teller.free.set()
    await made.until(2)

    assert made.teller.told == [[3]]


async def test_each_term_begins_with_what_the_objects_show(made):
    for number, term in enumerate((1, 1, 2), start=1):
        made.leader.term = term
        made.hand_over(term=term)
        await made.until(number)

    assert made.teller.forgot == 2


async def test_a_report_that_fails_is_logged_and_the_next_one_is_told(made, caplog):
    made.teller.fault = RuntimeError("a fault")
    made.hand_over(2)
    await made.until(1)
    made.teller.fault = None
    made.hand_over(3)
    await made.until(2)

    assert made.teller.told == [[3]]
    assert "not reported" in caplog.text
