"""Which requests were within the objectives, and the worst ten minutes of a run."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken_bench.compiled_engine.fleet import Fleet

WINDOW_SECONDS: Final = 600.0
FEW: Final = 20  # requests in a window below which its share says nothing

Mask = NDArray[np.bool_]


def within_objectives(fleet: Fleet) -> Mask:
    """For each request of the trace, whether it ended within its service's objectives.

    Args:
        fleet: that recorded its requests (`SimulationConfig.record`) and has served the trace.
    """
    trace, objectives = fleet.trace, fleet.config.objectives
    first, last = fleet.state.record[:, 0], fleet.state.record[:, 1]
    ttft = np.array([objective.ttft for objective in objectives])[trace.service]
    between = np.array([objective.between for objective in objectives])[trace.service]
    mean = (last - first) / np.maximum(trace.output_tokens - 1, 1)
    within: Mask = (first - trace.arrival <= ttft) & (mean <= between) & np.isfinite(last)
    return within


def shares_by_window(arrival: NDArray[np.float64], within: Mask) -> NDArray[np.float64]:
    """Share of requests within the objectives in each ten minutes; windows with too few requests are left out."""
    if not len(arrival):
        return np.zeros(0)
    window = (arrival // WINDOW_SECONDS).astype(np.int64)
    count = np.bincount(window)
    share = np.bincount(window, weights=within) / np.maximum(count, 1)
    return share[count >= FEW]


def worst_share(fleet: Fleet, service: int | None = None) -> float:
    """The lowest share within the objectives in any ten minutes of the scored time; NaN where all are too short.

    Windows begin with the scored time.

    Args:
        fleet: that recorded its requests and has served the trace.
        service: whose requests count; None: those of all together.
    """
    start, end = fleet.config.score
    arrival = fleet.trace.arrival
    scored = (arrival >= start) & (arrival < end)
    if service is not None:
        scored &= fleet.trace.service == service
    shares = shares_by_window(arrival[scored] - start, within_objectives(fleet)[scored])
    return float(shares.min()) if len(shares) else math.nan
