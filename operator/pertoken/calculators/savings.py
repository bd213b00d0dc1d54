"""What replicas that follow the demand would have cost beside those that served it."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from pertoken.calculators.breakeven import ReplicaGroup
from pertoken.calculators.tuning import TUNING
from pertoken.units import HOURS_PER_DAY


@dataclass(frozen=True, slots=True)
class ServedLoad:
    """What was asked of one variant, and the replicas that answered, in steps of equal length.

    Attributes:
        rates: finished requests per second.
        replicas: mean of the step.
        step_seconds: length of a step.
    """

    rates: tuple[float, ...]
    replicas: tuple[float, ...]
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Savings:
    """Two bills of the same traffic, USD per day.

    Attributes:
        replicas, needed: means over time.
    """

    usd_today: float
    usd_following: float
    replicas: float
    needed: float

    @property
    def usd_per_day(self) -> float:
        """Saved; below 0 where the objectives ask for more replicas than there are."""
        return self.usd_today - self.usd_following


def savings(load: ServedLoad, group: ReplicaGroup, least: int) -> Savings | None:
    """Replicas for the highest rate within `TUNING.hold_seconds` of each step; None without any step.

    Looking that far to both sides stands for what a controller cannot do: knowing the moment of a rise, and giving a
    replica up at once. Nothing is simulated.

    Args:
        load: as recorded.
        group: what one replica carries within the objectives and the room that forecasts need, and its price.
        least: replicas at least.
    """
    if not load.rates or len(load.rates) != len(load.replicas):
        return None
    reach = max(1, round(TUNING.hold_seconds / load.step_seconds))
    highest = (max(load.rates[max(0, i - reach) : i + reach + 1]) for i in range(len(load.rates)))
    needed = [max(least, group.replicas(rate)) for rate in highest]
    count = len(needed)
    mean, follow = fsum(load.replicas) / count, fsum(needed) / count
    return Savings(mean * group.usd_per_hour * HOURS_PER_DAY, follow * group.usd_per_hour * HOURS_PER_DAY, mean, follow)
