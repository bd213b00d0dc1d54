"""The simulation's time, as the operator's `Clock`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EPOCH: Final = 1_000_000.0  # seconds since the epoch at which the trace begins


@dataclass(slots=True)
class SimulatedClock:
    """Implements `pertoken.ports.Clock`.

    Attributes:
        seconds: of the trace's clock.
    """

    seconds: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.seconds

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return EPOCH + self.seconds
