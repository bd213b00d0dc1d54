"""Whether the event loop still runs its tasks: `/healthz` asks for the age of the last beat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from pertoken.ports import Clock

BEAT_SECONDS: Final = 1.0


@dataclass(slots=True)
class Heartbeat:
    """Beats in the event loop; a loop that something blocks misses its beats."""

    clock: Clock
    _beat: float | None = None

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat = self.clock.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def age_seconds(self) -> float | None:
        """Since the last beat; None before the first."""
        return None if self._beat is None else self.clock.monotonic() - self._beat
