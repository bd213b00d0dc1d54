"""The bill: GPU time from the binding of a pod to its end, times the price.

The bill is exact: GPU time is counted in whole microseconds and multiplied by the price as a decimal, so bills of
adjoining intervals add up to the bill of the whole, and the parts of a split add up to what was split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

from pertoken.domain.cluster import PodFact
from pertoken.domain.pool import PoolSpec
from pertoken.frozen import dataclass
from pertoken.units import MICROSECONDS, SECONDS_PER_HOUR

EXACT: Final = Context(prec=80)
# Parts of a split end here; the last part takes what is left. 1e-30 USD x microhours is 3e-40 USD.
_GRAIN: Final = Decimal("1e-30")


@dataclass(frozen=True, slots=True)
class Bill:
    """GPU time and its price over an interval.

    Attributes:
        gpu_microseconds: GPUs x time.
        usd_microhours: GPU microseconds x USD per GPU-hour, exact; USD x 3.6e9.
        priced: False when some GPU time had no known price.
    """

    gpu_microseconds: int = 0
    usd_microhours: Decimal = Decimal(0)
    priced: bool = True

    def __add__(self, other: Bill) -> Bill:
        """Both together."""
        return Bill(
            self.gpu_microseconds + other.gpu_microseconds,
            EXACT.add(self.usd_microhours, other.usd_microhours),
            self.priced and other.priced,
        )

    @property
    def usd(self) -> Decimal:
        """US dollars, to 28 digits."""
        return self.usd_microhours / (SECONDS_PER_HOUR * MICROSECONDS)

    @property
    def gpu_seconds(self) -> float:
        """GPUs x seconds."""
        return self.gpu_microseconds / MICROSECONDS

    def split(self, weights: Sequence[Decimal]) -> tuple[Bill, ...]:
        """Parts in proportion to the weights that add up to this bill exactly; all of it in the last part if all are 0.

        Raises:
            ValueError: a weight is negative or not finite, or there is none.
        """
        if not weights or any(not weight.is_finite() or weight < 0 for weight in weights):
            raise ValueError(f"weights {weights!r}: expected at least one, none negative")
        total = sum(weights, Decimal(0))
        parts, time_left, money_left = [], self.gpu_microseconds, self.usd_microhours
        for weight in weights[:-1]:
            share = EXACT.divide(weight, total) if total else Decimal(0)
            time = min(time_left, int(EXACT.multiply(share, Decimal(self.gpu_microseconds))))
            money = EXACT.multiply(share, self.usd_microhours).quantize(_GRAIN, ROUND_DOWN, EXACT)
            money = min(money, money_left)
            parts.append(Bill(time, money, self.priced))
            time_left -= time
            money_left = EXACT.subtract(money_left, money)
        return (*parts, Bill(time_left, money_left, self.priced))


def total_bill(parts: Iterable[Bill]) -> Bill:
    """All parts together."""
    time, money, priced = 0, Decimal(0), True
    for part in parts:
        time += part.gpu_microseconds
        money = EXACT.add(money, part.usd_microhours)
        priced = priced and part.priced
    return Bill(time, money, priced)


def time_bill(gpu_microseconds: int, pool: PoolSpec) -> Bill:
    """The price of GPU time (in units of the pool's resource) at the pool's price per GPU-hour."""
    if pool.price_per_gpu_hour is None:
        return Bill(gpu_microseconds, Decimal(0), priced=gpu_microseconds == 0)
    price = EXACT.multiply(pool.price_per_gpu_hour, pool.gpu_fraction)
    return Bill(gpu_microseconds, EXACT.multiply(Decimal(gpu_microseconds), price))


def pod_bill(pod: PodFact, pool: PoolSpec, start: float, end: float) -> Bill:
    """One pod's share of a bill: its GPUs from bound to its end, within [start, end)."""
    first, last = held_within(pod, start, end)
    return time_bill((last - first) * pod.requests.get(pool.resource_name, 0), pool)


def held_within(pod: PodFact, start: float, end: float) -> tuple[int, int]:
    """From when to when a pod held its node's GPUs within [start, end), in microseconds; an empty span for never."""
    if pod.bound_at is None:
        return micros(start), micros(start)
    first = max(micros(pod.bound_at), micros(start))
    last = micros(end) if pod.ended_at is None else min(micros(pod.ended_at), micros(end))
    return first, max(first, last)


def bill(pods: Iterable[PodFact], pool: PoolSpec, start: float, end: float) -> Bill:
    """What these pods cost in [start, end)."""
    return total_bill(pod_bill(pod, pool, start, end) for pod in pods)


def pod_phases(pod: PodFact, pool: PoolSpec, start: float, end: float) -> tuple[Bill, Bill]:
    """A pod's bill before it first served (bound, image pull, model load), and from then on.

    A pod that is terminating or has ended is no longer warming, even when it has lost its readiness.
    """
    if pod.ready_at is not None:
        ready = min(end, max(start, pod.ready_at))
    else:
        ready = start if pod.terminating or pod.ended else end
    return pod_bill(pod, pool, start, ready), pod_bill(pod, pool, ready, end)


def micros(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * MICROSECONDS)
