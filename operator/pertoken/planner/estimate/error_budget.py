"""The error budget of a service after a cycle: requests that were told of, and those of them outside an objective."""

from __future__ import annotations

from pertoken.forecast.error_budget import ErrorBudget, counted
from pertoken.frozen import dataclass
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
    misses = [each for latency in owed if (each := _misses(latency)) is not None]
    if not owed or len(misses) < len(owed) or since < state.settings.cycle_seconds / 2:
        return budget
    requests = max(each.rate for each in misses) * min(since, state.window)
    missed = min(sum(each.share for each in misses), 1.0)
    return counted(budget, requests, missed * requests, now, state.budget_rules)


@dataclass(frozen=True, slots=True)
class _Misses:
    """Requests per second of all pods whose latency is measured, and the share of them outside its objective."""

    rate: float
    share: float


def _misses(latency: LatencyEvidence) -> _Misses | None:
    """Misses of one objective; None where it is not measured."""
    kept = latency.share_kept
    if kept is None or latency.all_pods is None:
        return None
    return _Misses(latency.all_pods.cumulative[-1], 1.0 - (kept[0] + kept[1]) / 2.0)
