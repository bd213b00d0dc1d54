"""Energy of GPU work from their measured power (DCGM reports watts per GPU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from pertoken.accounting.cost_index import Tokens
from pertoken.units import TOKENS_PER_MILLION

JOULES_PER_KWH: Final = 3.6e6


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy over an interval.

    Attributes:
        joules: measured.
        seconds: for which power was known; joules say nothing about the rest.
    """

    joules: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Energy) -> Energy:
        """Both together: of several GPUs, seconds are GPU-seconds."""
        return Energy(self.joules + other.joules, self.seconds + other.seconds)

    @property
    def kwh(self) -> float:
        """Kilowatt-hours."""
        return self.joules / JOULES_PER_KWH

    def joules_per_token(self, tokens: Tokens) -> float | None:
        """Per token of any kind; None without tokens."""
        count = tokens.input + tokens.output
        return self.joules / count if count > 0 else None

    def kwh_per_million(self, tokens: Tokens) -> float | None:
        """Per million tokens of any kind; None without tokens."""
        each = self.joules_per_token(tokens)
        return None if each is None else each * TOKENS_PER_MILLION / JOULES_PER_KWH

    def usd(self, usd_per_kwh: Decimal) -> Decimal:
        """At a price of electricity. Not part of the bill: rented GPUs include their power."""
        return Decimal(self.kwh) * usd_per_kwh


def integrate(samples: Sequence[tuple[float, float]], longest_gap: float = 60.0) -> Energy:
    """Energy under (seconds, watts) samples by the trapezoid rule.

    Gaps longer than `longest_gap` are left out of both figures: nothing is known of them.

    Raises:
        ValueError: samples are not in order of time, or a power is negative.
    """
    joules = seconds = 0.0
    for (before, low), (after, high) in pairwise(samples):
        if after < before or low < 0 or high < 0:
            raise ValueError(f"samples ({before}, {low}), ({after}, {high}): expected rising times, no negative power")
        if after - before <= longest_gap:
            joules += (low + high) / 2.0 * (after - before)
            seconds += after - before
    return Energy(joules, seconds)
