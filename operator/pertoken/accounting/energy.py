"""Energy of GPU work from their measured power (DCGM reports watts per GPU)."""

from __future__ import annotations

from pertoken.accounting.cost_index import Tokens
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy over an interval. Not part of the bill: rented GPUs include their power.

    Attributes:
        joules: measured.
        seconds: GPU-seconds for which power was known; joules say nothing about the rest.
    """

    joules: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Energy) -> Energy:
        """Both together. What adds nothing leaves the value as it is: buckets of an unmeasured time share one."""
        if not other.joules and not other.seconds:
            return self
        return Energy(self.joules + other.joules, self.seconds + other.seconds)

    def joules_per_token(self, tokens: Tokens) -> float | None:
        """Joules per token of any kind; None without tokens."""
        count = tokens.input + tokens.output
        return self.joules / count if count > 0 else None
