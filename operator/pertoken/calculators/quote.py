"""What one request costs at an operating point: added, attributed, and fully loaded, per token of each kind."""

from __future__ import annotations

from dataclasses import dataclass

from pertoken.accounting.attribution import Weights, weights_at
from pertoken.accounting.token_prices import marginal_seconds
from pertoken.performance.steady import Engine, Load, OperatingPoint
from pertoken.units import SECONDS_PER_HOUR


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
        marginal=_per_token(load, marginal_seconds(engine, load, batch), replica),
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
