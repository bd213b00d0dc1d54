"""The error budget: requests that may miss their objectives, what was missed lately, and what may be missed next.

An objective at the 95th percentile allows every twentieth request to miss it. Sizing for fewer misses costs more than
was asked for, and requests that were missed beyond the allowance have to be made up for. So `planner.size.aim` asks
this module for the share that may miss next: what is left of the budget over the recent past (service level objectives
as error budgets: Beyer et al., The Site Reliability Workbook, 2018, ch. 5). The share has two limits: never more than a
tenth of the requests, and never so little that misses would be made up for at once. In single minutes more may miss
than was aimed at, since a forecast shows no bursts within a minute.

Where replicas come late an error lasts for as long: then less is spent, and more held back for a ramp (`caution`).
"""

from __future__ import annotations

from pertoken.forecast.tuning import BUDGET, Budget
from pertoken.frozen import dataclass
from pertoken.units import PER_CENT


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Requests of the recent past; the further back they are, the less they count.

    Attributes:
        requests: whose latencies are known.
        missed: of them, outside an objective.
        at: when the newest were counted, seconds since the epoch.
    """

    requests: float = 0.0
    missed: float = 0.0
    at: float = 0.0

    @property
    def share_missed(self) -> float:
        """Of the requests; 0 without any."""
        return self.missed / self.requests if self.requests > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What is owed, and what is left unused of it.

    Attributes:
        percentile: of requests that shall keep their objectives.
        margin: share of the misses allowed that is left unused; below 0 more than allowed is used.
        caution: 0 where replicas come soon, 1 where they come late (`caution`).
    """

    percentile: int
    margin: float
    caution: float

    @property
    def allowed(self) -> float:
        """Share of requests that may miss."""
        return 1.0 - self.percentile / PER_CENT


def counted(budget: ErrorBudget, requests: float, missed: float, now: float, tuning: Budget = BUDGET) -> ErrorBudget:
    """The budget after some more requests, `missed` of which were outside an objective."""
    kept = 2.0 ** (-max(0.0, now - budget.at) / tuning.half_life) if budget.requests > 0 else 0.0
    return ErrorBudget(budget.requests * kept + requests, budget.missed * kept + missed, now)


def caution(lead: float, tuning: Budget = BUDGET) -> float:
    """0 where replicas come soon, 1 where they come late, between them by the share of the lead that is too long."""
    if lead <= tuning.soon:
        return 0.0
    return min(1.0, (1.0 - tuning.soon / lead) / (1.0 - tuning.soon / tuning.late))


def share_to_miss(budget: ErrorBudget, promise: Promise, rate: float, tuning: Budget = BUDGET) -> float:
    """Share of the next requests that may miss.

    Args:
        budget: what was missed lately.
        promise: what is owed.
        rate: requests per second at present, which weigh the start when nothing is known.
        tuning: limits.
    """
    least = promise.allowed * (tuning.least + (tuning.least_late - tuning.least) * promise.caution)
    planned = max(promise.allowed * (1.0 - promise.margin - tuning.reserve_late * promise.caution), least)
    spendable: float = (1.0 - promise.caution / 2.0) ** tuning.late_power
    most = planned + max(0.0, tuning.most - planned) * spendable
    assumed = rate * tuning.prior_seconds
    known = budget.requests + assumed
    if known <= 0:
        return planned
    left = planned - (budget.missed + planned * assumed) / known
    return min(max(planned + left, least), most)
