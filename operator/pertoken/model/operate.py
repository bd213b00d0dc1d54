"""Where an engine operates at a given load, and the largest load that keeps the objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from pertoken.model.perf import Deployment, Gains, decode_step, kv_capacity_tokens, prefill_time, prefill_work

MAX_PREFILL_SHARE: Final = 0.9  # beyond it the queue of prompts grows faster than any model can tell
OVERFLOW_Z: Final = 1.65  # KV overflow probability about 5 %
LENGTH_SPREAD: Final = 1.0  # standard deviation of resident tokens per sequence over their mean
WAIT_TAIL: Final = 3.0  # p95 of an exponential wait over its mean
BISECTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """What requests look like.

    Attributes:
        input_tokens: mean prompt tokens to compute per request (without cached ones).
        context_tokens: mean prompt tokens per request, cached ones included.
        output_tokens: mean answer tokens per request.
    """

    input_tokens: float
    context_tokens: float
    output_tokens: float

    @property
    def resident(self) -> float:
        """Mean KV tokens of a decoding sequence: the prompt and half of the answer."""
        return self.context_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What must hold of one replica.

    Attributes:
        ttft_seconds, inter_token_seconds: objectives at their percentile; None promises nothing.
        tail: the percentile's inter-token latency over its mean, measured or assumed.
        max_sequences: cap of the engine.
        kv_tokens: KV capacity; None takes the model's.
    """

    ttft_seconds: float | None
    inter_token_seconds: float | None
    tail: float = 1.8
    max_sequences: float = 256.0
    kv_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Steady state of one replica.

    Attributes:
        requests_per_second: the load.
        batch: decoding sequences.
        prefill_share: share of GPU time that prompts take.
        inter_token_seconds: mean.
        ttft_seconds: at about the 95th percentile.
    """

    requests_per_second: float
    batch: float
    prefill_share: float
    inter_token_seconds: float
    ttft_seconds: float


def operating_point(deployment: Deployment, shape: Shape, rate: float, gains: Gains, ceiling: float) -> Point | None:
    """Steady state at `rate` requests per second; None when the batch would grow beyond `ceiling` sequences.

    Decoding shares each step with chunks of prompts, so its time stretches by 1 / (1 - prefill share); the batch
    follows from Little's law. The smallest fixed point is approached from below.
    """
    work = prefill_work(deployment, shape.input_tokens, 0.0, gains)
    share = rate * work
    if share >= MAX_PREFILL_SHARE:
        return None
    batch = 0.0
    step = decode_step(deployment, 1.0, shape.resident, gains) / (1.0 - share)
    for _ in range(200):
        grown = rate * shape.output_tokens * step
        if grown > ceiling:
            return None
        step = decode_step(deployment, max(grown, 1.0), shape.resident, gains) / (1.0 - share)
        if abs(grown - batch) < 1e-3 * max(1.0, grown):
            break
        batch = grown
    alone = prefill_time(deployment, shape.input_tokens, gains)
    waiting = share * work / (2.0 * (1.0 - share))
    ttft = alone / (1.0 - share) + WAIT_TAIL * waiting + 2.0 * step
    return Point(rate, rate * shape.output_tokens * step, share, step, ttft)


def kv_sequences(tokens: float, shape: Shape) -> float:
    """Sequences whose KV fits `tokens` with about 5 % probability of overflow: b mu + z sigma sqrt(b) = tokens."""
    mean = max(shape.resident, 1.0)
    spread = OVERFLOW_Z * LENGTH_SPREAD * mean
    root = (-spread + math.sqrt(spread**2 + 4.0 * mean * tokens)) / (2.0 * mean)
    return root**2


def keeps(point: Point | None, limits: Limits) -> bool:
    """Whether a replica at this point is within its limits."""
    if point is None:
        return False
    if limits.inter_token_seconds is not None and point.inter_token_seconds * limits.tail > limits.inter_token_seconds:
        return False
    return limits.ttft_seconds is None or point.ttft_seconds <= limits.ttft_seconds


def sustainable(deployment: Deployment, shape: Shape, limits: Limits, gains: Gains) -> Point | None:
    """The largest load of one replica within the limits; None when even a lone request breaks them."""
    kv = limits.kv_tokens if limits.kv_tokens is not None else kv_capacity_tokens(deployment)
    ceiling = min(limits.max_sequences, kv_sequences(kv, shape))
    low = 0.0
    best = operating_point(deployment, shape, 1e-6, gains, ceiling)
    # A lone sequence meets hardly any other's prompt: its mean is its tail.
    if not keeps(best, replace(limits, tail=1.0)):
        return None
    work = prefill_work(deployment, shape.input_tokens, 0.0, gains)
    fastest = decode_step(deployment, 1.0, shape.resident, gains)
    high = min(MAX_PREFILL_SHARE / max(work, 1e-9), ceiling / max(shape.output_tokens * fastest, 1e-9))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        point = operating_point(deployment, shape, middle, gains, ceiling)
        if keeps(point, limits):
            low, best = middle, point
        else:
            high = middle
    return best


def largest_batch(deployment: Deployment, shape: Shape, limits: Limits, gains: Gains, prefill_share: float) -> float:
    """Sequences at which a step, stretched by prefill, still takes no longer than the inter-token objective."""
    kv = limits.kv_tokens if limits.kv_tokens is not None else kv_capacity_tokens(deployment)
    ceiling = kv_sequences(kv, shape)
    if limits.inter_token_seconds is None:
        return ceiling
    low, high = 1.0, max(ceiling, 1.0)
    budget = limits.inter_token_seconds * (1.0 - prefill_share)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if decode_step(deployment, middle, shape.resident, gains) <= budget:
            low = middle
        else:
            high = middle
    return low
