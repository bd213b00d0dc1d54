"""From which load on a GPU of one's own is cheaper than an API that charges per token."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from pertoken.accounting.cost_index import request_value
from pertoken.domain.service import PriceList
from pertoken.performance.steady import Load
from pertoken.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class ReplicaGroup:
    """Replicas of one kind.

    Attributes:
        rate: requests per second that one sustains within the objectives.
        usd_per_hour: of one.
        peak_factor: peak / mean of the demand; replicas are held for the peak, tokens are sold at the mean.
    """

    rate: float
    usd_per_hour: float
    peak_factor: float = 1.0

    def replicas(self, rate: float) -> int:
        """Replicas held for a mean rate of requests per second: at least one."""
        return max(1, ceil(rate * self.peak_factor / self.rate - 1e-9))

    def usd_per_hour_at(self, rate: float) -> float:
        """What the replicas for this rate cost."""
        return self.replicas(rate) * self.usd_per_hour


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Requests per second on average; None where own GPUs never win.

    Attributes:
        api_usd_per_request: at the API's prices.
        first: the load at which the first replica pays for itself.
        always: from here on own GPUs are never dearer, also just after another replica was added.
        utilization: share of the first replica's sustainable rate that `first` is, above 1 when it never pays.
    """

    api_usd_per_request: float
    first: float | None
    always: float | None
    utilization: float


def api_usd_per_request(load: Load, prices: PriceList) -> float:
    """What one such request costs at the API."""
    return request_value(load, prices)


def break_even(fleet: ReplicaGroup, load: Load, prices: PriceList) -> BreakEven:
    """The loads at which own GPUs become, and stay, cheaper.

    n replicas pay for themselves from n times the first one's break-even load on, and are needed just above the load
    that n - 1 carry; so they are never dearer once (n - 1) x capacity >= n x break-even.

    Raises:
        ValueError: the fleet sustains nothing, or its peak factor is below 1.
    """
    if fleet.rate <= 0 or fleet.peak_factor < 1.0:
        raise ValueError(f"rate={fleet.rate!r}, peak_factor={fleet.peak_factor!r}: expected > 0 and >= 1")
    per_request = api_usd_per_request(load, prices)
    carried = fleet.rate / fleet.peak_factor
    hourly = fleet.usd_per_hour / SECONDS_PER_HOUR
    paid = hourly / per_request if per_request > 0 else (0.0 if hourly == 0 else inf)
    utilization = paid / carried
    if paid > carried:
        return BreakEven(per_request, None, None, utilization)
    if paid >= carried * (1.0 - 1e-9):  # at full use: a further replica costs more than it saves at first
        return BreakEven(per_request, paid, None, utilization)
    # Smallest n >= 2 with (n - 1) carried >= n paid; below that, each replica's own break-even counts.
    count = max(2, ceil(carried / (carried - paid) - 1e-9))
    last_loss = (count - 1) * paid  # the (n - 1)-th replica pays for itself from here
    return BreakEven(per_request, paid, max(paid, last_loss), utilization)
