"""Recorded demand by the hour."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.units import SECONDS_PER_HOUR
from pertoken_bench.traces.files import opened

Floats = NDArray[np.float64]
BURSTGPT: Final = Path(__file__).parents[2] / "scenarios" / "data" / "burstgpt_61d_hourly_rate.csv.gz"
COLUMNS: Final = {"requests": "all requests", "conversation": "conversations alone", "api": "API calls alone"}
CLIENT_HOURS: Final = 336
WINDOW_SECONDS: Final = 600.0
LEAST_HOURS: Final = 24
LEAST_REQUESTS: Final = 2000.0


def burstgpt() -> dict[str, Floats]:
    """The 61 days of BurstGPT by column."""
    with opened(BURSTGPT) as lines:
        rows = list(csv.DictReader(lines))
    return {column: np.array([float(row[column]) for row in rows]) for column in COLUMNS}


def clients(path: Path) -> dict[str, Floats]:
    """Clients of ServeGen's fortnights (``model,client,time_s,rate_rps``) by the hour; silent ones left out."""
    hourly: dict[str, Floats] = defaultdict(lambda: np.zeros(CLIENT_HOURS))
    with opened(path) as lines:
        for row in csv.DictReader(lines):
            hour = int(float(row["time_s"]) // SECONDS_PER_HOUR)
            if hour < CLIENT_HOURS and row["model"].startswith("m-"):
                hourly[f"{row['model']}-{row['client']}"][hour] += float(row["rate_rps"]) * WINDOW_SECONDS
    half = CLIENT_HOURS // 2
    return {
        name: values
        for name, values in sorted(hourly.items())
        if np.count_nonzero(values[:half]) >= LEAST_HOURS and values.sum() > LEAST_REQUESTS
    }
