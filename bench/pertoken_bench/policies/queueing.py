"""State-dependent M/M/1/K queue of one replica, its latencies at a rate, and the highest rate within objectives.

Sources: llm-d workload-variant-autoscaler v0.5.1 to v0.9 (`Analysis.MEAN`) and llm-inferno/queue-analysis 2026-06
(`Analysis.CHUNKED`), both Apache-2.0; written anew from their formulas. Times in milliseconds, rates in requests per
second, sizes in tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

EDGE = 1e-3  # distance kept from both ends of the stable range
STABLE_SHARE = 0.9  # of the highest rate, for a throughput target
PRECISION = 1e-6
STEPS = 100
BATCHED_TOKENS = 8192


class Analysis(StrEnum):
    """How prefill and decode share the steps of a replica."""

    MEAN = "mean"
    CHUNKED = "chunked"


@dataclass(frozen=True, slots=True)
class StepTime:
    """Time of one engine step, ``alpha + beta * computed tokens + gamma * resident tokens`` (ms)."""

    alpha: float
    beta: float
    gamma: float


@dataclass(frozen=True, slots=True)
class RequestSize:
    """Mean tokens of a request.

    Raises:
        ValueError: negative input or less than one output token.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        if self.input < 0 or self.output < 1:
            raise ValueError(f"request size {self.input}/{self.output}: input must be >= 0 and output >= 1")


@dataclass(frozen=True, slots=True)
class ReplicaQueue:
    """One replica: step time, request size, `batch` sequences at once and `queue` further places.

    Raises:
        ValueError: no place in the batch or a negative queue.
    """

    step: StepTime
    size: RequestSize
    batch: int
    queue: int
    analysis: Analysis = Analysis.MEAN
    batched_tokens: int = BATCHED_TOKENS

    def __post_init__(self) -> None:
        if self.batch <= 0 or self.queue < 0:
            raise ValueError(f"batch {self.batch} must be > 0 and queue {self.queue} >= 0")

    def prefill(self, sequences: float) -> float:
        """Milliseconds from the first step of a prompt to its last with `sequences` in service."""
        if self.size.input == 0:
            return 0.0
        if self.analysis is Analysis.MEAN:
            return self._iteration(sequences) + (self.step.beta + self.step.gamma) * self.size.input
        return self.chunked(sequences, self.chunks(sequences)).prefill

    def decode(self, sequences: float) -> float:
        """Milliseconds per output token with `sequences` in service."""
        step, size = self.step, self.size
        if self.analysis is Analysis.MEAN:
            return self._iteration(sequences) + step.beta + step.gamma * (size.input + size.output / 2)
        return self.chunked(sequences, self.chunks(sequences)).inter_token

    def service(self, sequences: float) -> float:
        """Milliseconds in service of one request, tau(n)."""
        if self.analysis is Analysis.MEAN:
            return self.prefill(sequences) + self.size.output * self.decode(sequences)
        return self.chunked(sequences, self.chunks(sequences)).service

    def _iteration(self, sequences: float) -> float:
        step, size = self.step, self.size
        computed = (size.input + size.output) / (size.output + 1)
        return step.alpha + sequences * (step.beta * computed + step.gamma * (size.input + size.output / 2))

    def chunks(self, sequences: float) -> int:
        """Steps that a prompt takes: the smallest count whose token budget admits `sequences`."""
        size, count = self.size, 1
        while True:
            room = self.batched_tokens - size.input / count
            admitted = floor((count + size.output) * room / (size.input + size.output))
            if admitted >= sequences or count > self.batched_tokens:
                return count
            count += 1

    def chunked(self, sequences: float, chunks: int) -> Chunked:
        """Step, prefill, inter-token and service time with prompts in `chunks` pieces among decodes."""
        step, size = self.step, self.size
        of_prompt = (step.beta + step.gamma * (chunks + 1) / 2) * size.input
        of_answer = step.beta * size.output + step.gamma * size.output * (size.input + (size.output + 1) / 2)
        share = (of_prompt + of_answer) / (chunks + size.output)
        beside = step.alpha + (sequences - 1) * share
        return Chunked(
            iteration=step.alpha + sequences * share,
            prefill=chunks * beside + of_prompt,
            inter_token=beside + step.beta + step.gamma * (size.input + (size.output + 1) / 2),
            service=(chunks + size.output) * (step.alpha + sequences * share),
        )


@dataclass(frozen=True, slots=True)
class Chunked:
    """Times in milliseconds under chunked prefill."""

    iteration: float
    prefill: float
    inter_token: float
    service: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """Stationary means of the queue: counts, milliseconds, requests per second."""

    in_system: float
    in_service: float
    throughput: float
    response: float
    service: float
    wait: float


def stationary(rates: NDArray[np.float64], places: int, arrivals: float) -> QueueState:
    """Solve ``p[n+1] = p[n] * arrivals / rate(n+1)`` over `places` + 1 states.

    Args:
        rates: departures per second with 1 … N requests in service; the last one holds beyond N.
        places: N and the queue together.
        arrivals: per second.
    """
    beyond = np.full(places, rates[-1])
    beyond[: min(len(rates), places)] = rates[:places]
    logs = np.concatenate(([0.0], np.cumsum(np.log(arrivals) - np.log(beyond))))
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    counts = np.arange(places + 1, dtype=np.float64)
    in_system = float(shares @ counts)
    in_service = float(shares @ np.minimum(counts, len(rates)))
    throughput = arrivals * float(1.0 - shares[-1])
    response, service = 1e3 * in_system / throughput, 1e3 * in_service / throughput
    return QueueState(in_system, in_service, throughput, response, service, max(response - service, 0.0))


@dataclass(frozen=True, slots=True)
class ReplicaLatency:
    """What requests of a replica see at one rate (ms)."""

    state: QueueState
    ttft: float
    inter_token: float


@dataclass(frozen=True, slots=True)
class MeanObjectives:
    """Mean latencies to keep, ms; 0 leaves one out. `throughput` asks for tokens per second (any positive value)."""

    ttft: float = 0.0
    inter_token: float = 0.0
    throughput: float = 0.0


@dataclass(frozen=True, slots=True)
class Sized:
    """Highest rates (requests per second) that keep each objective, and what requests see at the least of them."""

    rate_ttft: float
    rate_inter_token: float
    at: ReplicaLatency

    @property
    def throughput(self) -> float:
        """Requests per second that one replica finishes within the objectives."""
        return self.at.state.throughput


class Analyzer:
    """A replica's queue with its service rates tabulated."""

    def __init__(self, replica: ReplicaQueue) -> None:
        """Tabulate ``mu(n) = n / tau(n)`` for n up to the batch."""
        self.replica = replica
        counts = range(1, replica.batch + 1)
        self.rates = np.array([1e3 * n / replica.service(float(n)) for n in counts])
        self.lowest = float(self.rates[0]) * EDGE
        self.highest = float(self.rates[-1]) * (1.0 - EDGE)

    def at(self, rate: float) -> ReplicaLatency:
        """Latency at `rate` requests per second.

        Raises:
            ValueError: the rate is not positive or above the highest stable one.
        """
        if rate <= 0 or rate > self.highest * (1 + PRECISION):
            raise ValueError(f"rate {rate} must be in (0, {self.highest}]")
        replica = self.replica
        state = stationary(self.rates, replica.batch + replica.queue, rate)
        prefill = replica.prefill(state.in_service)
        inter_token = (state.service - prefill) / replica.size.output
        return ReplicaLatency(state, state.wait + prefill + inter_token, inter_token)

    def size(self, objectives: MeanObjectives) -> Sized | None:
        """Highest rate within the objectives; None when even an idle replica misses one."""
        by_ttft = self._highest(objectives.ttft, lambda rate: self.at(rate).ttft)
        by_token = self._highest(objectives.inter_token, lambda rate: self.at(rate).inter_token)
        if by_ttft is None or by_token is None:
            return None
        stable = self.highest * STABLE_SHARE if objectives.throughput > 0 else self.highest
        return Sized(by_ttft, by_token, self.at(min(by_ttft, by_token, stable)))

    def _highest(self, target: float, value: Callable[[float], float]) -> float | None:
        if target <= 0:
            return self.highest
        low, high = self.lowest, self.highest
        if value(low) > target * (1 + PRECISION):
            return None
        if value(high) <= target:
            return high
        for _ in range(STEPS):
            middle = (low + high) / 2
            reached = value(middle)
            if abs(reached - target) <= PRECISION * target:
                return middle
            if reached < target:
                low = middle
            else:
                high = middle
        return (low + high) / 2


@dataclass(frozen=True, slots=True)
class BestBatch:
    """Smallest cap that reaches nearly the highest throughput within the objectives.

    Attributes:
        by_inter_token, by_prefill: largest batch that alone keeps each objective without waiting.
        calls: evaluations of the queue that gave a throughput.
        feasible: False when no cap keeps the objectives; `batch` is then 1.
    """

    batch: int
    throughput: float
    by_inter_token: int
    by_prefill: int
    calls: int
    feasible: bool


LARGEST_BATCH = 256
NEARLY = 0.99  # of the throughput at the largest batch
BISECTIONS = 6


def best_batch(replica: ReplicaQueue, objectives: MeanObjectives) -> BestBatch:
    """Search the cap (llm-inferno's optimal batch, published for `Analysis.CHUNKED`).

    The throughput at the largest batch is the plateau; bisection finds where it is nearly reached, between the smaller
    of the two closed-form batches and three times the larger.
    """
    calls = 0

    def throughput(batch: int) -> float:
        nonlocal calls
        sized = Analyzer(_with_batch(replica, batch)).size(objectives)
        if sized is None:
            return 0.0
        calls += 1
        return sized.throughput

    counts = range(1, LARGEST_BATCH + 1)
    by_token = max((n for n in counts if replica.decode(n) <= objectives.inter_token), default=1)
    by_prefill = max((n for n in counts if replica.prefill(n) <= objectives.ttft), default=1)
    plateau = throughput(LARGEST_BATCH)
    if plateau <= 0:
        return BestBatch(1, 0.0, by_token, by_prefill, calls, feasible=False)
    low = min(by_token, by_prefill)
    high = max(low, min(LARGEST_BATCH, max(3 * max(by_token, by_prefill), low + 1)))
    for _ in range(BISECTIONS):
        if low >= high:
            break
        middle = (low + high) // 2
        if throughput(middle) >= NEARLY * plateau:
            high = middle
        else:
            low = middle + 1
    reached = throughput(high)
    return BestBatch(high, reached, by_token, by_prefill, calls, feasible=reached > 0)


def _with_batch(replica: ReplicaQueue, batch: int) -> ReplicaQueue:
    return ReplicaQueue(replica.step, replica.size, batch, replica.queue, replica.analysis, replica.batched_tokens)


def replicas_for(rate: float, sized: Sized, least: int = 0) -> int:
    """Replicas that carry `rate` requests per second within the objectives, at least `least`."""
    return max(ceil(rate / sized.throughput), least)
