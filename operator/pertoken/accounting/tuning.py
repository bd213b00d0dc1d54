"""Every number that decides in accounting, with its unit and where it comes from."""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 120  # slices of a cost window; guess: 12 minutes of a day are exact enough where a window begins
WINDOW_SECONDS: Final = 86_400.0  # s, of a service without a cost objective; convention: bills are read by the day
KNOWN_POWER: Final = 0.9  # share of the billed GPU time; guess: energy of less of it says nothing of the whole
