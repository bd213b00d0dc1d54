"""The planning loop: when cycles run, who is told of them, what is saved at the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from cycling import Cycling, eventually
from watched import filled

from pertoken.control.history import History
from pertoken.control.inventory import Inventory
from pertoken.control.loop import PlanningLoop
from pertoken.control.report import Report
from pertoken.control.waker import Waker
from pertoken.domain.identity import WorkloadRef

MEMORY = WorkloadRef("v1", "ConfigMap", "pertoken-system", "pertoken-memory")


@dataclass
class Told:
    """Keeps what it is told."""

    ok: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def finished(self, result) -> None:
        self.ok.append(result.summary.number)

    def failed(self, summary) -> None:
        self.wrong.append(summary.error)


@dataclass
class Running:
    cycling: Cycling = field(default_factory=Cycling)
    told: Told = field(default_factory=Told)
    history: History = field(default_factory=History)
    reports: list[Report] = field(default_factory=list)
    task: asyncio.Task | None = None

    def start(self, interval: float = 3600.0) -> PlanningLoop:
        reports = SimpleNamespace(hand_over=self.reports.append)
        listeners = (self.history, self.told)
        loop = PlanningLoop(self.cycling.cycle(), Waker(0.0), reports, listeners, self.cycling.cluster, interval)
        self.task = asyncio.create_task(loop.run())
        return loop

    async def until(self, condition) -> None:
        await eventually(lambda: condition() or self.task.done())
        assert not self.task.done(), self.task.result()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def running():
    run = Running()
    yield run
    if run.task is not None:
        await run.stop()


async def test_a_standby_waits_and_plans_as_soon_as_it_leads(running):
    running.cycling.leader.held = False
    loop = running.start()
    await asyncio.sleep(0.02)
    assert (running.told.ok, loop.number, loop.age_seconds()) == ([], 0, None)
    running.cycling.leader.held = True
    await running.until(lambda: running.told.ok)
    assert running.told.ok == [1]


async def test_a_cycle_comes_with_its_interval_and_when_it_is_asked_for(running):
    loop = running.start(interval=0.0)
    await running.until(lambda: len(running.told.ok) >= 3)
    await running.stop()
    loop = running.start(interval=3600.0)
    told = running.told.ok
    told.clear()
    await running.until(lambda: told == [1])
    loop.waker.wake()
    await running.until(lambda: told == [1, 2])


async def test_a_cycle_that_fails_is_told_and_the_next_one_starts_afresh(running):
    with patch.object(Inventory, "snapshot", side_effect=RuntimeError("a fault")):
        loop = running.start(interval=0.0)
        await running.until(lambda: running.told.wrong)
        assert running.told.wrong[0] == "RuntimeError: a fault"
        assert loop.age_seconds() is None
    await running.until(lambda: running.told.ok)


async def test_reports_and_history_get_every_result(running):
    running.start()
    await running.until(lambda: running.told.ok)
    (report,) = running.reports

    assert report.term == 1
    assert {service.key.name for service in report.subjects.services} == {"chat", "other", "own"}
    assert set(report.subjects.refusals) == {"uid-own"}
    assert running.history.last == (1, report.plan)


async def test_what_a_cycle_just_made_is_looked_at_soon(running):
    engine = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    mine = {
        "metadata": {"name": "mine", "namespace": "team", "uid": "uid-mine", "generation": 1},
        "spec": {
            "mode": "Auto",
            "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
            "variants": [{"name": "a", "pool": "pool", "podTemplate": {"spec": {"containers": [engine]}}}],
        },
    }
    running.cycling = Cycling(inventory=filled(inferenceservices=[mine]))
    running.start()
    await running.until(lambda: len(running.told.ok) >= 2)


async def test_the_age_of_the_last_cycle_is_nobodys_while_another_leads(running):
    loop = running.start()
    await running.until(lambda: running.told.ok)
    running.cycling.cluster.now_at += 40.0
    assert loop.age_seconds() == 40.0
    running.cycling.leader.held = False
    assert loop.age_seconds() is None


async def test_at_the_end_this_terms_state_is_saved(running):
    loop = running.start()
    await running.until(lambda: running.told.ok)
    before = running.cycling.cluster.objects[MEMORY]["metadata"]["resourceVersion"]
    loop.cycle.store.interval_seconds = 1e9
    await running.stop()

    assert running.cycling.cluster.objects[MEMORY]["metadata"]["resourceVersion"] != before
