"""The system's clock; everything else gets the time as an argument or by the port."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `pertoken.ports.Clock`."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()  # noqa: TID251 - this is the Clock port's real side

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()
