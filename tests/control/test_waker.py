"""What makes a cycle come before its time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pertoken.control.waker import Waker


def obj(generation: int = 1, status: str = "", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"uid": "u", "generation": generation, "annotations": annotations},
        "status": {"message": status},
    }


async def woken(waker: Waker, seconds: float = 0.0) -> bool:
    """Whether a pause ends before its time; it forgets why."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(30):
        await waker.pause(seconds or 20.0)
    return loop.time() - started < 10.0


@pytest.mark.parametrize(
    ("later", "deleted"),
    [(obj(generation=2), False), (obj(paused="true"), False), (obj(), True)],
    ids=["generation", "annotation", "deletion"],
)
async def test_what_a_user_changes_wakes(later, deleted):
    waker = Waker(gather_seconds=0.0)
    waker.saw("inferenceservices", obj(), deleted=False)
    assert await woken(waker)
    waker.saw("inferenceservices", later, deleted=deleted)
    assert await woken(waker)


async def test_own_status_writes_and_other_kinds_do_not_wake():
    waker = Waker(gather_seconds=0.0)
    waker.saw("inferenceservices", obj(), deleted=False)
    await woken(waker)
    waker.saw("inferenceservices", obj(status="ready"), deleted=False)
    waker.saw("pods", obj(generation=5), deleted=False)

    assert not waker._wanted.is_set()
    await waker.pause(0.01)  # ends by its time


async def test_an_object_that_was_deleted_and_made_anew_wakes():
    waker = Waker(gather_seconds=0.0)
    for deleted in (False, True, False):
        waker.saw("acceleratorpools", obj(), deleted=deleted)
        assert await woken(waker)


async def test_changes_that_come_together_are_one_cycle():
    waker = Waker(gather_seconds=0.02)
    waker.wake()
    pause = asyncio.create_task(waker.pause(20.0))
    await asyncio.sleep(0)
    waker.wake()
    await pause

    assert not waker._wanted.is_set()
