"""Lists of every kind: at the start, again after a failure, at once when a watch broke off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from cycling import eventually
from watched import HEALTHY, StandingClock

from pertoken.control import sync as module
from pertoken.control.inventory import Inventory
from pertoken.control.parse import KINDS
from pertoken.control.sync import KindNotServed, Sync
from pertoken.ports import Listing, NotFound, Unavailable


@dataclass
class Reader:
    """Lists what is healthy; each plural may fail so often."""

    failing: dict[str, list[Exception]] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)

    def list(self, plural: str) -> Listing:
        self.listed.append(plural)
        if self.failing.get(plural):
            raise self.failing[plural].pop()
        return Listing(HEALTHY[plural])


def made(**failing: list[Exception]) -> tuple[Sync, Reader]:
    reader = Reader(failing)
    return Sync(Inventory(KINDS, StandingClock()), reader, interval_seconds=300.0), reader


@pytest.fixture
async def running():
    tasks = []

    def start(sync: Sync) -> asyncio.Task:
        tasks.append(asyncio.create_task(sync.run()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_every_kind_is_listed_once_at_the_start(running):
    sync, reader = made()
    running(sync)
    await eventually(lambda: sync.inventory.synced)

    assert sorted(reader.listed) == sorted(HEALTHY)


@pytest.mark.parametrize("fault", [Unavailable("no answer"), RuntimeError("a fault")], ids=repr)
async def test_a_list_that_failed_is_tried_again_soon_and_the_others_are_taken(running, monkeypatch, fault):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    sync, reader = made(pods=[fault])
    assert not await sync.list_all()
    assert not sync.inventory.synced
    assert set(reader.listed) == set(HEALTHY)
    running(sync)
    await eventually(lambda: sync.inventory.synced)


async def test_a_watch_that_broke_off_asks_for_lists_at_once(running):
    sync, reader = made()
    running(sync)
    await eventually(lambda: sync.inventory.synced)
    reader.listed.clear()
    sync.ask()
    await eventually(lambda: len(reader.listed) == len(HEALTHY))


async def test_a_kind_that_the_cluster_does_not_serve_ends_it_and_says_what_to_do():
    sync, _ = made(inferenceservices=[NotFound("GET /apis/serving.pertoken.dev")])
    with pytest.raises(KindNotServed, match="install the CRDs first"):
        await sync.run()
