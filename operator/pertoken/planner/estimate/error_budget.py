"""The error budget of a service after a cycle: requests that were told of, and those of them outside an objective."""

from __future__ import annotations

from pertoken.forecast.error_budget import ErrorBudget, counted
from pertoken.planner.latency import LatencyEvidence
from pertoken.planner.service_state import ServiceState


def budget_after(state: ServiceState) -> ErrorBudget:
    """The budget with what has been told since it was counted last; as it was where an objective is not measured.

    Of a longer time than the rate window only the window is known. Histograms bound the share within an objective; the
    middle is taken, and misses of both objectives are taken to fall on different requests.
    """
    budget, now = state.memory.budget, state.now
    since = now - budget.at if budget.at else state.settings.cycle_seconds
    owed = [latency for latency in state.latencies if latency.objective is not None]
    shares = [share for latency in owed if (share := _missed(latency)) is not None]
    if not owed or len(shares) < len(owed) or since < state.settings.cycle_seconds / 2:
        return budget
    seconds = min(since, state.window)
    requests = max(0.0 if latency.all_pods is None else latency.all_pods.cumulative[-1] for latency in owed) * seconds
    return counted(budget, requests, min(sum(shares), 1.0) * requests, now, state.tuning.budget)


def _missed(latency: LatencyEvidence) -> float | None:
    kept = latency.share_kept
    return None if kept is None else 1.0 - (kept[0] + kept[1]) / 2.0
