"""What is taken from statsforecast: exponential smoothing and the Theta method, on one series at a time.

It is loaded when the first forecast is made: only the plan needs it (extra `plan`), and it takes seconds to load.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class LibraryMissing(Exception):
    """statsforecast is not installed."""


@cache
def _models() -> Any:
    try:
        from statsforecast import models  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise LibraryMissing("statsforecast: not installed; expected: pip install 'pertoken[plan]'") from None
    return models


def smoothing(values: Floats, steps: int) -> Floats:
    """Simple exponential smoothing with the best weight (SimpleExponentialSmoothingOptimized)."""
    return _mean(_models().SimpleExponentialSmoothingOptimized(), values, steps)


def theta(values: Floats, steps: int) -> Floats:
    """The Theta method of Assimakopoulos and Nikolopoulos (2000), without a season (Theta)."""
    return _mean(_models().Theta(season_length=1), values, steps)


def _mean(model: Any, values: Floats, steps: int) -> Floats:
    forecast: Floats = np.asarray(model.forecast(y=values, h=steps)["mean"], dtype=np.float64)
    return forecast
