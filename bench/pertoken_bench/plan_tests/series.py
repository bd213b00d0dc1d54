"""The recorded series, and those that the user adds."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.demand import USUAL_SHAPE, demand_of
from pertoken.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
SHIPPED: Final = Path(__file__).parent / "data" / "hourly_rates.csv.gz"
TUNED: Final = "tuned"
HELD_OUT: Final = "held out"
ADDED: Final = "added"


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One series by the hour, NaN for gaps.

    Attributes:
        split: whether numbers were tuned on it.
    """

    name: str
    split: str
    values: Floats

    @property
    def client(self) -> bool:
        """Whether it is one client of a service."""
        return "-client-" in self.name


def recorded(files: Sequence[Path] = ()) -> list[Recorded]:
    """The shipped series, and those of further histories.

    Raises:
        HistoryError: a file is no history.
    """
    rows: dict[tuple[str, str], dict[int, float]] = {}
    with gzip.open(SHIPPED, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            hours = rows.setdefault((row["service"], row["split"]), {})
            hours[int(row["time_s"]) // SECONDS_PER_HOUR] = float(row["requests"])
    series = [Recorded(name, split, _on_clock(hours)) for (name, split), hours in rows.items()]
    for path in files:
        history = read_history_file(path, path.name.split(".")[0])
        series += [Recorded(s.name, ADDED, demand_of(s, USUAL_SHAPE).tokens) for s in history.services]
    return series


def _on_clock(hours: dict[int, float]) -> Floats:
    values = np.full(max(hours) + 1, np.nan)
    values[list(hours)] = list(hours.values())
    return values
