"""Every number that decides in accounting, with its unit and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class AccountingTuning:
    """What accounts are kept by; `TUNING` is what the operator runs with."""

    buckets: int = number(120, "slices of a cost window", "guess: a day begins at 12 minutes more or less")
    window_seconds: float = number(86_400.0, "s", "convention: where no cost objective says more, bills are of a day")
    horizon_share: float = number(0.04, "of the cost window", "guess: in that time what is left is spent")
    least_horizon: float = number(600.0, "s", "guess: replicas that are ordered now have then served for a while")
    known_power: float = number(0.9, "of the billed GPU time", "guess: energy of less says nothing of the whole")
    added_batch: float = number(8.0, "sequences", "convention: CUDA graphs are captured for batches 8 apart")


TUNING: Final = AccountingTuning()
