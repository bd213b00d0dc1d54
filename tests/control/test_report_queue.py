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
class Queueing:
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
async def queueing():
    queueing = Queueing()
    yield queueing
    queueing.teller.free.set()
    queueing.task.cancel()
    await asyncio.gather(queueing.task, return_exceptions=True)


async def test_a_slow_report_holds_no_cycle_up_and_no_action_is_lost(queueing):
    queueing.teller.free.clear()
    queueing.hand_over(2)
    await queueing.busy()
    queueing.hand_over(3)
    queueing.hand_over(4, 5)
    queueing.teller.free.set()
    await queueing.until(2)

    assert queueing.teller.told == [[2], [3, 4, 5]]


async def test_what_waits_is_bounded(queueing, monkeypatch):
    monkeypatch.setattr(report_queue, "MOST_OUTCOMES", 3)
    queueing.teller.free.clear()
    queueing.hand_over(1)
    await queueing.busy()
    queueing.hand_over(2, 3)
    queueing.hand_over(4, 5)
    queueing.teller.free.set()
    await queueing.until(2)

    assert queueing.teller.told[1] == [3, 4, 5]


async def test_a_report_of_an_earlier_term_is_not_told(queueing):
    queueing.teller.free.clear()
    queueing.hand_over(2)
    await queueing.busy()
    queueing.leader.term = 2
    queueing.teller.free.set()
    await queueing.until(1)
    assert (queueing.teller.told, queueing.teller.withheld) == ([], 1)

    queueing.hand_over(3, term=2)
    await queueing.until(2)
    assert queueing.teller.told == [[3]]


async def test_a_report_that_waits_gives_way_to_the_next_term(queueing):
    queueing.teller.free.clear()
    queueing.hand_over(1)
    await queueing.busy()
    queueing.hand_over(2)
    queueing.leader.term = 2
    queueing.hand_over(3, term=2)
    queueing.teller.free.set()
    await queueing.until(2)

    assert queueing.teller.told == [[3]]


async def test_each_term_begins_with_what_the_objects_show(queueing):
    for number, term in enumerate((1, 1, 2), start=1):
        queueing.leader.term = term
        queueing.hand_over(term=term)
        await queueing.until(number)

    assert queueing.teller.forgot == 2


async def test_a_report_that_fails_is_logged_and_the_next_one_is_told(queueing, caplog):
    queueing.teller.fault = RuntimeError("a fault")
    queueing.hand_over(2)
    await queueing.until(1)
    queueing.teller.fault = None
    queueing.hand_over(3)
    await queueing.until(2)

    assert queueing.teller.told == [[3]]
    assert "not reported" in caplog.text
