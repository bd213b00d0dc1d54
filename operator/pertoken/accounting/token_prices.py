"""Prices of one more token, by kind: on replicas that have time left, and on a further replica."""

from __future__ import annotations

from typing import Final

from pertoken.accounting.attribution import Weights, weights_at
from pertoken.domain.cost import TokenPrices
from pertoken.performance.steady import Engine, Load
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step
from pertoken.units import SECONDS_PER_HOUR, TINY, TOKENS_PER_MILLION

_MORE: Final = 1.0  # sequences over which the slope of the step time is taken


def marginal_seconds(engine: Engine, load: Load, batch: float) -> Weights:
    """Seconds of the engine that one more token of each kind adds: derivatives of prefill and of the step time."""
    model, gains = engine.model, engine.gains
    hit = load.input_tokens - load.computed_tokens
    with_hit = gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch, hit)
    fresh = gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch)
    slope = mean_decode_step(model, batch + _MORE, load.resident) - mean_decode_step(model, batch, load.resident)
    steps = gains.decode * max(0.0, slope) / _MORE * load.steps
    return Weights(
        fresh / load.computed_tokens if load.computed_tokens > 0 else 0.0,
        max(0.0, with_hit - fresh) / hit if hit > 0 else 0.0,
        steps / load.output_tokens if load.output_tokens > 0 else 0.0,
    )


def marginal_prices(engine: Engine, load: Load, batch: float, usd_per_hour: float) -> TokenPrices:
    """USD per million tokens of the engine time that one more request adds at this batch; the bill stays as it is.

    Args:
        engine: one rank.
        load: the mean request.
        batch: sequences that decode together.
        usd_per_hour: of the rank.
    """
    return _prices(marginal_seconds(engine, load, batch), usd_per_hour / SECONDS_PER_HOUR)


def replica_prices(engine: Engine, load: Load, batch: float, usd_per_request: float) -> TokenPrices | None:
    """USD per million tokens where more load takes more replicas: what extra tokens add to the bill.

    Args:
        engine: one rank.
        load: the mean request.
        batch: at which work is charged to the kinds of tokens.
        usd_per_request: price of a replica over what it carries.
    """
    work = weights_at(engine, load, batch)
    hit = load.input_tokens - load.computed_tokens
    whole = work.input * load.computed_tokens + work.cached_input * hit + work.output * load.output_tokens
    return None if whole <= TINY * TINY else _prices(work, usd_per_request / whole)


def scaled(prices: TokenPrices, factor: float) -> TokenPrices:
    """The prices times a factor."""
    return TokenPrices(prices.input * factor, prices.cached_input * factor, prices.output * factor)


def _prices(seconds: Weights, usd_per_second: float) -> TokenPrices:
    usd = usd_per_second * TOKENS_PER_MILLION
    return TokenPrices(seconds.input * usd, seconds.cached_input * usd, seconds.output * usd)
