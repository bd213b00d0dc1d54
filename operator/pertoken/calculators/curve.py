"""Cost against batch: what every batch size costs, how slow it is, and which limit it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from pertoken.accounting.attribution import Weights, weights_at
from pertoken.performance.steady import (
    Engine,
    Load,
    OperatingPoint,
    Sustainable,
    Targets,
    Unreachable,
    at_batch,
    stalled,
    sustainable_rate,
)
from pertoken.performance.step_time import kv_sequences
from pertoken.performance.tuning import SUSTAINED
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One batch size.

    Attributes:
        point: latencies and rate.
        tokens_per_second_per_gpu: generated.
        usd_per_million: blended, input and output counted alike.
        usd_per_million_input, usd_per_million_output: by Shapley attribution, cached input priced apart.
        usd_per_million_cached: None without cached input.
        kv_share: mean resident tokens / KV cache.
        broken: limits that this batch breaks: ``inter-token``, ``ttft``, ``kv``, ``cap``, ``compute``.
    """

    point: OperatingPoint
    tokens_per_second_per_gpu: float
    usd_per_million: float
    usd_per_million_input: float
    usd_per_million_cached: float | None
    usd_per_million_output: float
    kv_share: float
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The curve and its edges.

    Attributes:
        points: by batch.
        best: the largest batch within every limit, None where even an idle replica misses an objective.
        missed: that objective.
        limits: batch at which each limit binds, for those that bind below the largest batch drawn.
    """

    points: tuple[CurvePoint, ...]
    best: CurvePoint | None
    binding: str
    missed: Unreachable | None
    limits: dict[str, float]


def token_prices(weights: Weights, usd_per_gpu_second: float) -> tuple[float, float, float]:
    """USD per million input, cached input and output tokens of an engine that is always busy."""
    scale = usd_per_gpu_second * TOKENS_PER_MILLION
    return weights.input * scale, weights.cached_input * scale, weights.output * scale


def curve(engine: Engine, load: Load, targets: Targets, usd_per_gpu_hour: float, batches: Iterable[float]) -> Curve:
    """Walk the batch sizes.

    Args:
        engine: one replica (one data-parallel rank).
        load: the mean request.
        targets: latency objectives; None promises nothing.
        usd_per_gpu_hour: price of one GPU.
        batches: mean decoding sequences to show.
    """
    sizes = sorted(set(batches))
    points = tuple(_point(engine, load, targets, usd_per_gpu_hour, batch) for batch in sizes)
    limit = sustainable_rate(engine, load, targets)
    if isinstance(limit, Sustainable):
        best = _point(engine, load, targets, usd_per_gpu_hour, limit.point.batch)
        return Curve(points, best, limit.binding, None, _limits(engine, load, targets, sizes[-1]))
    return Curve(points, None, limit.what, limit, _limits(engine, load, targets, sizes[-1]))


def _point(engine: Engine, load: Load, targets: Targets, usd_per_gpu_hour: float, batch: float) -> CurvePoint:
    point = at_batch(engine, load, batch, targets)
    gpus = float(engine.model.gpus)
    per_second = usd_per_gpu_hour / SECONDS_PER_HOUR
    tokens = load.input_tokens + load.output_tokens
    prices = token_prices(weights_at(engine, load, batch), per_second)
    per_request = gpus * per_second / point.rate if point.rate > 0 else inf
    return CurvePoint(
        point=point,
        tokens_per_second_per_gpu=point.rate * load.output_tokens / gpus,
        usd_per_million=per_request / tokens * TOKENS_PER_MILLION if tokens > 0 else inf,
        usd_per_million_input=prices[0],
        usd_per_million_cached=prices[1] if load.cached_share > 0 else None,
        usd_per_million_output=prices[2],
        kv_share=batch * load.resident / engine.kv_tokens if engine.kv_tokens > 0 else inf,
        broken=broken(engine, load, targets, point),
    )


def broken(engine: Engine, load: Load, targets: Targets, point: OperatingPoint) -> tuple[str, ...]:
    """Limits that an operating point breaks."""
    limits = []
    if targets.inter_token is not None and point.inter_token_tail > targets.inter_token:
        limits.append("inter-token")
    if targets.stall is not None and stalled(engine, load, targets, point.batch):
        limits.append("stall")
    if targets.ttft is not None and point.ttft_tail > targets.ttft:
        limits.append("ttft")
    if point.batch > kv_sequences(engine.kv_tokens, load.resident, SUSTAINED.context_spread, SUSTAINED.kv_overflow_z):
        limits.append("kv")
    if engine.cap is not None and point.batch > engine.cap / SUSTAINED.cap_room:
        limits.append("cap")
    if point.prefill_share > SUSTAINED.most_prefill_share:
        limits.append("compute")
    return tuple(limits)


def _limits(engine: Engine, load: Load, targets: Targets, largest: float) -> dict[str, float]:
    """Batch at which each limit begins to bind, by bisection (every one of them grows with the batch)."""
    binding = {}
    top = min(largest, SUSTAINED.largest_batch)
    for name in broken(engine, load, targets, at_batch(engine, load, top, targets)):
        low, high = 0.0, top
        for _ in range(40):
            middle = (low + high) / 2.0
            if name in broken(engine, load, targets, at_batch(engine, load, middle, targets)):
                high = middle
            else:
                low = middle
        binding[name] = high
    return binding
