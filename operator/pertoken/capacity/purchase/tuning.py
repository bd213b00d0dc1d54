"""Every number that decides in purchasing, with its unit and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class PurchaseTuning:
    """What purchases are decided by; `TUNING` is what the plan runs with."""

    hours_per_month: int = number(730, "h", "convention: 8,760 hours a year in 12 parts, as cloud price lists have it")
    renewal_days: int = number(30, "days", "convention: when a later reservation may begin; shorter terms: their own")
    tail_hours: int = number(168, "h", "convention: after the horizon its last week goes on, for terms that outlast it")
    most_levels: int = number(256, "levels of a period", "guess: they differ by a 256th of the hourly price")
    tie: float = number(1e-7, "of a price", "by definition: at equal cost nothing is reserved")
    shortage: float = number(
        100.0, "on-demand prices", "guess: what nobody sells on demand is reserved whatever it costs"
    )
    spot_most_share: float = number(0.5, "of a pool's nodes", "guess: one reclaim at most halves what serves")
    whole: float = number(1e-6, "nodes", "by definition: what the solver's rounding leaves of a whole number")
    cap_steps: int = number(24, "halvings", "guess: a cap to less than a GPU in ten million")


TUNING: Final = PurchaseTuning()
