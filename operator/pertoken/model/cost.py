"""Money: the bill, the cost index, prices that add up to the bill, and the least that tokens can cost.

The bill is exact: GPU time is counted in whole microseconds and multiplied by the price as a decimal, so bills of
adjoining intervals add up to the bill of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

from pertoken.domain.cluster import PodFact
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import PriceList
from pertoken.model.perf import iteration_time, marginal_prefill_time
from pertoken.model.steady import Engine, Load, Sustainable
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION

_EXACT: Final = Context(prec=80)
MICRO: Final = 1_000_000


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
            _EXACT.add(self.usd_microhours, other.usd_microhours),
            self.priced and other.priced,
        )

    @property
    def usd(self) -> Decimal:
        """US dollars, to 28 digits."""
        return self.usd_microhours / (SECONDS_PER_HOUR * MICRO)

    @property
    def gpu_seconds(self) -> float:
        """GPUs x seconds."""
        return self.gpu_microseconds / MICRO


def pod_bill(pod: PodFact, pool: PoolSpec, start: float, end: float) -> Bill:
    """One pod's share of a bill: its GPUs from bound to gone, within [start, end)."""
    if pod.bound_at is None:
        return Bill()
    units = pod.requests.get(pool.resource_name, 0)
    first = max(_micros(pod.bound_at), _micros(start))
    gone = _micros(end) if pod.deleted_at is None else min(_micros(pod.deleted_at), _micros(end))
    micros = max(0, gone - first) * units
    if pool.price_per_gpu_hour is None:
        return Bill(micros, Decimal(0), priced=micros == 0)
    price = _EXACT.multiply(pool.price_per_gpu_hour, pool.gpu_fraction)
    return Bill(micros, _EXACT.multiply(Decimal(micros), price))


def bill(pods: Iterable[PodFact], pool: PoolSpec, start: float, end: float) -> Bill:
    """What these pods cost in [start, end)."""
    total = Bill()
    for pod in pods:
        total += pod_bill(pod, pool, start, end)
    return total


def _micros(seconds: float) -> int:
    return round(seconds * MICRO)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of finished requests; `cached` is part of `input`."""

    requests: float = 0.0
    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    def __add__(self, other: Tokens) -> Tokens:
        """Both together."""
        return Tokens(
            self.requests + other.requests,
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
        )


def list_value(tokens: Tokens, prices: PriceList) -> float:
    """USD that these tokens are worth at the price list."""
    cached = min(tokens.cached, tokens.input)
    usd = (
        (tokens.input - cached) * float(prices.input)
        + cached * float(prices.cached_input)
        + tokens.output * float(prices.output)
    )
    return usd / TOKENS_PER_MILLION


def cost_index(usd: Decimal | float, tokens: Tokens, prices: PriceList) -> float | None:
    """Bill / value of the tokens at the price list; None when the tokens are worth nothing."""
    value = list_value(tokens, prices)
    return float(usd) / value if value > 0 else None


def scaled_prices(prices: PriceList, index: float) -> tuple[float, float, float]:
    """Input, cached input and output price (USD per million) that add up to the bill: the list times the index."""
    return float(prices.input) * index, float(prices.cached_input) * index, float(prices.output) * index


@dataclass(frozen=True, slots=True)
class Reachable:
    """The least that a request can cost: one replica at its sustainable rate, busy all the time.

    Attributes:
        usd_per_request: at full use.
        blended: USD per million tokens, input and output counted alike.
    """

    usd_per_request: float
    blended: float


def reachable(sustainable: Sustainable, load: Load, usd_per_hour: float) -> Reachable | None:
    """Least cost on a replica that costs `usd_per_hour`; None without load."""
    tokens = load.input_tokens + load.output_tokens
    if sustainable.rate <= 0 or tokens <= 0:
        return None
    per_request = usd_per_hour / SECONDS_PER_HOUR / sustainable.rate
    return Reachable(per_request, per_request / tokens * TOKENS_PER_MILLION)


def reachable_index(reached: Reachable, load: Load, prices: PriceList) -> float | None:
    """Cost index at the least cost."""
    tokens = Tokens(1.0, load.input_tokens, load.input_tokens * load.cached_share, load.output_tokens)
    return cost_index(reached.usd_per_request, tokens, prices)


def marginal(engine: Engine, load: Load, batch: float, usd_per_hour: float) -> float | None:
    """USD per million tokens of one more request: the engine time that it adds at this batch.

    A request adds its prompt's time to the steps and lengthens each of its decode steps by the growth of the step time
    with one more sequence (padding left out).
    """
    tokens = load.input_tokens + load.output_tokens
    if tokens <= 0:
        return None
    context, model = load.resident, engine.model
    here = iteration_time(model, 0.0, 0.0, max(batch, 1.0), max(batch, 1.0) * context)
    # Over a whole gap of graph sizes, so that a step of the padding does not decide.
    there = iteration_time(model, 0.0, 0.0, max(batch, 1.0) + 8.0, (max(batch, 1.0) + 8.0) * context)
    decode = engine.gains.decode * (there - here) / 8.0 * load.steps
    prefill = engine.gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch)
    return (decode + prefill) * usd_per_hour / SECONDS_PER_HOUR / tokens * TOKENS_PER_MILLION
