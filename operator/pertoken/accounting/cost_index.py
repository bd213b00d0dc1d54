"""What tokens cost: value at a price list, cost index, the least that they can cost, and what one more costs."""

from __future__ import annotations

from decimal import Decimal

from pertoken.accounting.tuning import TUNING
from pertoken.domain.service import PriceList
from pertoken.frozen import dataclass
from pertoken.performance.steady import Engine, Load, Sustainable
from pertoken.performance.step_time import iteration_time, marginal_prefill_time
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION


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


def request_value(load: Load, prices: PriceList) -> float:
    """USD that the mean request is worth at the price list."""
    cached = load.input_tokens - load.computed_tokens
    return list_value(Tokens(1.0, load.input_tokens, cached, load.output_tokens), prices)


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
    value = request_value(load, prices)
    return reached.usd_per_request / value if value > 0 else None


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
    more = TUNING.added_batch
    there = iteration_time(model, 0.0, 0.0, max(batch, 1.0) + more, (max(batch, 1.0) + more) * context)
    decode = engine.gains.decode * (there - here) / more * load.steps
    prefill = engine.gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch)
    return (decode + prefill) * usd_per_hour / SECONDS_PER_HOUR / tokens * TOKENS_PER_MILLION
