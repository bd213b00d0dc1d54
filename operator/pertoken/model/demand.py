"""Demand: what arrives, not what is served, and where it will be when a new replica is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_GROWTH: Final = 1.5  # a short trend is never followed further than this
HISTORY_LEADS: Final = 3.0  # how many leads of history the trend is fitted to
MIN_POINTS: Final = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """Demand at one instant, requests per second."""

    at: float
    rate: float


def remember(history: tuple[Seen, ...], now: float, rate: float, lead_seconds: float) -> tuple[Seen, ...]:
    """History with one more point, no longer than the trend needs."""
    horizon = now - HISTORY_LEADS * max(lead_seconds, 1.0)
    return (*(point for point in history if horizon <= point.at < now), Seen(now, rate))


def forecast(history: Sequence[Seen], lead_seconds: float) -> float:
    """Demand `lead_seconds` ahead: the present plus a rising trend; a falling one is left to stabilization.

    Last value plus least-squares slope, bounded. At leads of minutes "last value" is a hard baseline on real traces,
    so the trend only ever adds.
    """
    if not history:
        return 0.0
    present = history[-1].rate
    if len(history) < MIN_POINTS:
        return present
    mean_t = sum(point.at for point in history) / len(history)
    mean_r = sum(point.rate for point in history) / len(history)
    spread = sum((point.at - mean_t) ** 2 for point in history)
    if spread <= 0:
        return present
    slope = sum((point.at - mean_t) * (point.rate - mean_r) for point in history) / spread
    return min(present + max(0.0, slope) * lead_seconds, MAX_GROWTH * max(present, mean_r))
