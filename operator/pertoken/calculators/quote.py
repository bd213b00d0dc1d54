"""What one request costs at an operating point: added, attributed, and fully loaded, per token of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.accounting.attribution import Weights, weights_at
from pertoken.performance.steady import Engine, Load, OperatingPoint
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step
from pertoken.units import SECONDS_PER_HOUR

_MORE: Final = 1.0  # sequences over which the slope of the step time is taken


@dataclass(frozen=True, slots=True)
class TokenUsd:
    """USD per single token, and of the whole request."""

    input: float
    cached_input: float
    output: float
    request: float


@dataclass(frozen=True, slots=True)
class Quote:
    """One request.

    Attributes:
        marginal: the engine time that one more request adds at this load.
        busy: its share of the time in which the engine computes.
        full: that of the whole bill, idle time included.
        output_interval: busy price of output if decodes are said to come second, and first.
        new_replica: USD per request on a further replica that is used to the full.
    """

    marginal: TokenUsd
    busy: TokenUsd
    full: TokenUsd
    output_interval: tuple[float, float]
    new_replica: float


def quote(engine: Engine, load: Load, point: OperatingPoint, sustainable: float, usd_per_gpu_hour: float) -> Quote:
    """Quote a mean request.

    Args:
        engine: one replica.
        load: the request.
        point: the replica's operating point.
        sustainable: requests per second that a replica carries within its limits.
        usd_per_gpu_hour: price of one GPU.
    """
    per_second = usd_per_gpu_hour / SECONDS_PER_HOUR
    replica = per_second * engine.model.gpus
    batch = max(point.batch, 1e-3)
    shapley = weights_at(engine, load, batch)
    work = _per_token(load, shapley, per_second).request
    scale = replica / point.rate / work if point.rate > 0 and work > 0 else 1.0
    # Reading cached tokens is no part of the operating point, so all work may come to slightly more than all time.
    busy = _per_token(load, shapley, per_second * min(1.0, scale))
    last, first = (weights_at(engine, load, batch, order).output for order in ("prefill-first", "decode-first"))
    return Quote(
        marginal=_marginal(engine, load, batch, replica),
        busy=busy,
        full=_per_token(load, shapley, per_second * scale),
        output_interval=(last * per_second, first * per_second),
        new_replica=replica / sustainable,
    )


def _per_token(load: Load, seconds: Weights, usd_per_second: float) -> TokenUsd:
    """USD per token of each kind and per request, from GPU-seconds per token."""
    new, cached, output = (each * usd_per_second for each in (seconds.input, seconds.cached_input, seconds.output))
    hit = load.input_tokens - load.computed_tokens
    return TokenUsd(new, cached, output, new * load.computed_tokens + cached * hit + output * load.output_tokens)


def _marginal(engine: Engine, load: Load, batch: float, usd_per_second: float) -> TokenUsd:
    """Derivatives: of the prompt's time by its tokens, of the step time by the batch."""
    model, gains = engine.model, engine.gains
    hit = load.input_tokens - load.computed_tokens
    with_hit = gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch, hit)
    fresh = gains.prefill * marginal_prefill_time(model, load.computed_tokens, batch)
    slope = mean_decode_step(model, batch + _MORE, load.resident) - mean_decode_step(model, batch, load.resident)
    steps = gains.decode * max(0.0, slope) / _MORE * load.steps
    return _per_token(
        load,
        Weights(
            fresh / load.computed_tokens if load.computed_tokens > 0 else 0.0,
            max(0.0, with_hit - fresh) / hit if hit > 0 else 0.0,
            steps / load.output_tokens if load.output_tokens > 0 else 0.0,
        ),
        usd_per_second,
    )
