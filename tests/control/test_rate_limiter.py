"""The token bucket, on a clock that moves only by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pertoken.control.rate_limiter import RateLimiter


@dataclass
class HandClock:
    at: float = 50.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def test_burst_then_rate():
    clock = HandClock()
    limiter = RateLimiter(20.0, 5, clock)
    assert [limiter.try_take() for _ in range(6)] == [True] * 5 + [False]
    clock.at += 0.051
    assert limiter.try_take()
    assert not limiter.try_take()


def test_the_bucket_does_not_overflow():
    clock = HandClock()
    limiter = RateLimiter(20.0, 5, clock)
    clock.at += 3600
    assert sum(limiter.try_take() for _ in range(100)) == 5


def test_reservations_queue_up():
    clock = HandClock()
    limiter = RateLimiter(20.0, 1, clock)
    assert [round(limiter.reserve(), 3) for _ in range(4)] == [0.0, 0.05, 0.1, 0.15]
    clock.at += 1.0
    assert limiter.reserve() == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_lets_nothing_through_is_a_mistake(rate: float, burst: int):
    with pytest.raises(ValueError, match="nothing through"):
        RateLimiter(rate, burst, HandClock())
