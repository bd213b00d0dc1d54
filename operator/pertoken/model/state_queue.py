"""A queue whose service slows down with the batch: M/M/1/K with state-dependent rates, solved as a birth-death chain.

The special case of `waiting` for Poisson arrivals and exponential work at one replica that serves up to N requests at
once: with n of them in service they leave at ``mu(n) = n / tau(n)``; further requests wait in K - N places. It checks
other models and serves where nothing but a mean rate is known. Rates per second, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Final

_LOWEST: Final = 0.001  # of the service rate of a single request
_HIGHEST: Final = 0.999  # of the service rate of a full batch
_STEPS: Final = 100
_CLOSE: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Steady:
    """The chain in steady state.

    Attributes:
        throughput: requests per second that are not turned away.
        in_system: mean requests, waiting ones included.
        in_service: mean requests in the batch.
        busy: share of time with any request.
        blocked: share of arrivals that find all places taken.
    """

    throughput: float
    in_system: float
    in_service: float
    busy: float
    blocked: float

    @property
    def response(self) -> float:
        """Mean seconds from arrival to the last token (Little's law)."""
        return self.in_system / self.throughput

    @property
    def service(self) -> float:
        """Mean seconds in the batch."""
        return self.in_service / self.throughput

    @property
    def wait(self) -> float:
        """Mean seconds before the batch."""
        return max(0.0, self.response - self.service)


def steady_state(arrivals: float, service: Sequence[float], places: int) -> Steady:
    """Solve the chain.

    Args:
        arrivals: per second.
        service: departures per second with 1, 2, ... N requests in service; the last holds for all fuller states.
        places: K, requests that may be in the system.

    Raises:
        ValueError: a rate is not positive, or there are fewer places than the batch has.
    """
    if arrivals <= 0 or not service or min(service) <= 0 or places < len(service):
        raise ValueError(
            f"arrivals={arrivals!r}, {len(service)} service rates, places={places!r}: "
            "expected positive rates and at least as many places as service rates"
        )
    batch = len(service)
    # Logarithms: the products over hundreds of states neither over- nor underflow.
    logs = [0.0]
    for state in range(places):
        logs.append(logs[-1] + log(arrivals) - log(service[min(state, batch - 1)]))
    top = max(logs)
    weights = [exp(value - top) for value in logs]
    total = fsum(weights)
    chances = [weight / total for weight in weights]
    return Steady(
        throughput=arrivals * (1.0 - chances[-1]),
        in_system=fsum(state * chance for state, chance in enumerate(chances)),
        in_service=fsum(min(state, batch) * chance for state, chance in enumerate(chances)),
        busy=1.0 - chances[0],
        blocked=chances[-1],
    )


@dataclass(frozen=True, slots=True)
class LinearEngine:
    """An engine whose step time grows linearly with the batch, as in llm-d's queueing model analyzer.

    A step takes ``T(n) = base + n (per_compute (I + O) / (O + 1) + per_access (I + O / 2))`` for a batch of n requests
    with I prompt and O generated tokens. It is a local view only: it misses mixture models and large batches.

    Attributes:
        base, per_compute, per_access: seconds.
        input_tokens, output_tokens: of every request.
        batch: N, requests in service at most.
        queue: places beyond the batch.
    """

    base: float
    per_compute: float
    per_access: float
    input_tokens: float
    output_tokens: float
    batch: int
    queue: int

    def __post_init__(self) -> None:
        """Check the request and the places.

        Raises:
            ValueError: no batch, or a negative figure.
        """
        if self.input_tokens < 0 or self.output_tokens < 0 or self.batch < 1 or self.queue < 0:
            raise ValueError(f"{self}: expected input and output >= 0, batch >= 1, queue >= 0")

    def step(self, batch: float) -> float:
        """Seconds of a step."""
        compute = (self.input_tokens + self.output_tokens) / (self.output_tokens + 1.0)
        access = self.input_tokens + self.output_tokens / 2.0
        return self.base + batch * (self.per_compute * compute + self.per_access * access)

    def prefill(self, batch: float) -> float:
        """Seconds until the prompt is read; 0 without a prompt."""
        if self.input_tokens <= 0:
            return 0.0
        return self.step(batch) + (self.per_compute + self.per_access) * self.input_tokens

    def decode(self, batch: float) -> float:
        """Seconds per generated token."""
        return self.step(batch) + self.per_compute + self.per_access * (self.input_tokens + self.output_tokens / 2.0)

    def service_rates(self) -> tuple[float, ...]:
        """Departures per second with 1 ... N requests in service.

        Raises:
            ValueError: the requests generate nothing.
        """
        if self.output_tokens < 1:
            raise ValueError(f"{self}: expected output >= 1")
        return tuple(
            count / (self.prefill(count) + self.output_tokens * self.decode(count))
            for count in range(1, self.batch + 1)
        )


@dataclass(frozen=True, slots=True)
class Served:
    """A linear engine under Poisson load: the chain and the latencies that follow from it.

    Attributes:
        ttft: wait, prompt and first token.
        inter_token: mean seconds per generated token.
    """

    chain: Steady
    ttft: float
    inter_token: float


def served(engine: LinearEngine, arrivals: float) -> Served:
    """Mean latencies at a rate of requests per second.

    Raises:
        ValueError: the rate is not positive, or the requests generate nothing.
    """
    chain = steady_state(arrivals, engine.service_rates(), engine.batch + engine.queue)
    prefill = engine.prefill(chain.in_service)
    inter_token = (chain.service - prefill) / engine.output_tokens
    return Served(chain, chain.wait + prefill + inter_token, inter_token)


@dataclass(frozen=True, slots=True)
class Sized:
    """Largest arrival rates within mean latency targets; None where not even an idle engine meets the target.

    Attributes:
        by_ttft, by_inter_token: for each target alone.
        largest: that the engine can be given at all.
    """

    by_ttft: float | None
    by_inter_token: float | None
    largest: float

    @property
    def rate(self) -> float | None:
        """Within both targets."""
        if self.by_ttft is None or self.by_inter_token is None:
            return None
        return min(self.by_ttft, self.by_inter_token)


def sized(engine: LinearEngine, ttft: float | None, inter_token: float | None) -> Sized:
    """Largest rates at which mean latencies keep their targets (None: no target)."""
    rates = engine.service_rates()
    low, high = _LOWEST * rates[0], _HIGHEST * rates[-1]
    return Sized(
        _largest(low, high, ttft, lambda rate: served(engine, rate).ttft),
        _largest(low, high, inter_token, lambda rate: served(engine, rate).inter_token),
        high,
    )


def _largest(low: float, high: float, target: float | None, latency: Callable[[float], float]) -> float | None:
    """By bisection: latency grows with the rate."""
    if target is None or latency(high) <= target:
        return high
    if latency(low) > target:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        found = latency(middle)
        if abs(found - target) <= _CLOSE * target:
            return middle
        if found > target:
            high = middle
        else:
            low = middle
    return low
