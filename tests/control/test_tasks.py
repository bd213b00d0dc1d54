"""Parts that run side by side."""

from __future__ import annotations

import asyncio

import pytest

from pertoken.control.tasks import run_together


class Endless:
    """Runs until cancelled; may fail as it ends."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.ended, self.task = fault, False, ""

    async def run(self) -> None:
        self.task = asyncio.current_task().get_name()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
            if self.fault is not None:
                raise self.fault


class Short:
    """Ends by itself."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    async def run(self) -> None:
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault


async def test_stop_ends_all_of_them_and_is_no_fault():
    stop, parts = asyncio.Event(), {"one": Endless(), "two": Endless()}
    asyncio.get_running_loop().call_soon(stop.set)
    await run_together(parts, stop)

    assert all(part.ended for part in parts.values())


async def test_a_part_that_ends_ends_the_others():
    endless = Endless()
    await run_together({"short": Short(), "endless": endless}, asyncio.Event())

    assert endless.ended


async def test_a_fault_ends_the_others_and_is_raised():
    endless = Endless()
    with pytest.raises(ValueError, match="broken"):
        await run_together({"endless": endless, "short": Short(ValueError("broken"))}, asyncio.Event())

    assert endless.ended


async def test_the_first_fault_is_raised_and_a_later_one_is_logged(caplog):
    parts = {"endless": Endless(OSError("too")), "short": Short(ValueError("broken"))}
    with pytest.raises(ValueError, match="broken"):
        await run_together(parts, asyncio.Event())

    assert "endless failed, too" in caplog.text
    assert "short failed: everything ends" in caplog.text


async def test_every_task_bears_its_parts_name():
    parts = {"one": Endless(), "short": Short()}
    await run_together(parts, asyncio.Event())

    assert parts["one"].task == "one"


async def test_being_cancelled_ends_all_parts():
    endless = Endless()
    running = asyncio.create_task(run_together({"endless": endless}, asyncio.Event()))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert endless.ended
