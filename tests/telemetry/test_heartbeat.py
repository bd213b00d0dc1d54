"""Whether the event loop turns."""

from __future__ import annotations

import asyncio

import pytest
from watched import StandingClock

from pertoken.telemetry import heartbeat as module
from pertoken.telemetry.heartbeat import Heartbeat


class Moved(StandingClock):
    at = 1000.0

    def monotonic(self) -> float:
        return self.at


async def test_a_beat_ages_until_the_next_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    clock = Moved()
    heartbeat = Heartbeat(clock)
    assert heartbeat.age_seconds() is None
    task = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0)
    clock.at += 40.0
    assert heartbeat.age_seconds() == 40.0
    await asyncio.sleep(0.01)
    assert heartbeat.age_seconds() == 0.0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
