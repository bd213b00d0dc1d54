"""What sizing aims at: the share of the next requests that shall keep their objectives, from the error budget."""

from __future__ import annotations

from pertoken.forecast.error_budget import Promise, share_to_miss
from pertoken.forecast.slo_knee import Aim
from pertoken.frozen import dataclass
from pertoken.planner.service_state import ServiceState
from pertoken.units import PER_CENT


@dataclass(frozen=True, slots=True)
class Spending:
    """The error budget as sizing uses it.

    Attributes:
        aim: share of requests that shall be within the objectives as far as the load decides it. What misses at any
            load counts against the budget, but no replica mends it.
        missing: share of all requests that may miss.
        caution: 0 where replicas come soon, 1 where they come late (`pertoken.forecast.error_budget.caution`).
    """

    aim: Aim
    missing: float
    caution: float

    @property
    def percentile(self) -> float:
        """Of requests that shall keep their objectives at present."""
        return PER_CENT * (1.0 - self.missing)


def spending(state: ServiceState) -> Spending:
    """What may be missed next."""
    percentile, tuning = state.targets.percentile, state.budget_rules
    promise = Promise(percentile, state.settings.attainment_margin, state.caution)
    rate = state.samples[-1].requests if state.samples else 0.0
    missing = share_to_miss(state.memory.budget, promise, rate, tuning)
    by_load = max(missing - state.memory.knee.apart, tuning.least * promise.allowed)
    return Spending(Aim(percentile, 1.0 - by_load), missing, state.caution)
