"""A token bucket for writes."""

from __future__ import annotations

import threading

from pertoken.ports import Clock


class RateLimiter:
    """At most `rate` takes per second on average, `burst` at once. Thread-safe; never sleeps itself."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        """Start with a full bucket.

        Raises:
            ValueError: for a rate or burst that never lets anything through.
        """
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate {rate} and burst {burst} let nothing through")
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = float(burst)
        self._at = clock.monotonic()
        self._lock = threading.Lock()

    def try_take(self) -> bool:
        """Take one now if there is one."""
        with self._lock:
            self._refill()
            if self._level < 1:
                return False
            self._level -= 1
            return True

    def reserve(self) -> float:
        """Take one, even before it is there; returns the seconds to wait before using it (0 when there was one)."""
        with self._lock:
            self._refill()
            self._level -= 1
            return max(0.0, -self._level / self._rate)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._level = min(float(self._burst), self._level + (now - self._at) * self._rate)
        self._at = now
