"""A static fleet in virtual time: the same engines and routing as the live sandbox, as fast as the CPU allows."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pertoken_bench.hardware.step_times import BLOCK_TOKENS, StepTimes
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig, Request
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock
from pertoken_sandbox.fleet.trace import Arrival


@dataclass(frozen=True)
class StaticFleet:
    """Identical replicas that are all ready at time 0; ``gpu_memory_gib`` is one GPU's memory."""

    times: StepTimes
    replicas: int
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    gpu_memory_gib: float = 80.0
    gpu_memory_utilization: float = 0.92
    max_model_len: int = 131072
    truth: Truth = field(default_factory=Truth)
    name: str = "static"

    def engine_config(self) -> EngineConfig:
        """Limits of each replica's engine."""
        blocks = self.times.kv_blocks(self.gpu_memory_gib, self.gpu_memory_utilization)
        longest = min(self.max_model_len, blocks * BLOCK_TOKENS)
        return EngineConfig(self.max_num_seqs, self.max_num_batched_tokens, blocks, longest)


@dataclass(frozen=True)
class PercentileObjective:
    """Latency owed: percentile of TTFT and of the per-request mean inter-token latency, both in ms."""

    ttft_ms: float
    itl_ms: float
    percentile: float = 95.0


@dataclass(frozen=True)
class WindowResult:
    """Requests that arrived in one window: count, and p50/p95 latencies in ms."""

    start: float
    requests: int
    ttft_p50_ms: float
    ttft_p95_ms: float
    itl_p50_ms: float
    itl_p95_ms: float


@dataclass(frozen=True)
class FleetResult:
    """What a static fleet did with a trace. Latencies in ms, one per request in arrival order; ITL NaN: one token."""

    arrivals: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    ttft_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    itl_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    input_tokens: int
    output_tokens: int
    rejected: int
    preemptions: int
    makespan_s: float
    gpu_seconds: float
    busy_gpu_seconds: float
    steps: int

    def summary(self) -> WindowResult:
        """All requests as one window."""
        return self.windows(math.inf)[0]

    def windows(self, seconds: float) -> list[WindowResult]:
        """Latency percentiles per window of arrival time; windows without requests are left out."""
        index = np.zeros(len(self.arrivals)) if math.isinf(seconds) else self.arrivals // seconds
        results = []
        for window in np.unique(index):
            chosen = index == window
            start = 0.0 if math.isinf(seconds) else float(window * seconds)
            ttft, itl = self.ttft_ms[chosen], self.itl_ms[chosen]
            itl = itl[~np.isnan(itl)]
            results.append(
                WindowResult(
                    start,
                    int(chosen.sum()),
                    *(float(np.percentile(ttft, q)) for q in (50, 95)),
                    *(float(np.percentile(itl, q)) if itl.size else 0.0 for q in (50, 95)),
                ),
            )
        return results

    def meets(self, objective: PercentileObjective, window_seconds: float) -> bool:
        """Whether every window keeps both objectives (and nothing was refused)."""
        index = self.arrivals // window_seconds
        for window in np.unique(index):
            chosen = index == window
            itl = self.itl_ms[chosen]
            itl = itl[~np.isnan(itl)]
            if np.percentile(self.ttft_ms[chosen], objective.percentile) > objective.ttft_ms:
                return False
            if itl.size and np.percentile(itl, objective.percentile) > objective.itl_ms:
                return False
        return self.rejected == 0


def run_static(fleet: StaticFleet, trace: Sequence[Arrival]) -> FleetResult:
    """Serve ``trace`` (arrivals in s, sorted) with least-loaded routing until the last token."""
    run = _Run(fleet)
    for arrival in trace:
        run.advance(arrival.at)
        run.arrive(arrival)
    run.advance(math.inf)
    return run.result()


class _Run:
    def __init__(self, fleet: StaticFleet) -> None:
        config = fleet.engine_config()
        self._fleet = fleet
        self._engines: list[ReferenceEngine] = []
        for index in range(fleet.replicas):
            clock = StepClock(fleet.times, fleet.truth, f"{fleet.name}-{index}")
            clock.configure(fleet.max_num_seqs, started=-math.inf)
            self._engines.append(ReferenceEngine(config, clock))
        self._next: list[tuple[float, int]] = []  # (end of the step under way, engine)
        self._idle = [True] * fleet.replicas
        self._requests: list[Request] = []
        self._rejected = self._preemptions = self._steps = 0
        self._busy = self._last = 0.0

    def advance(self, until: float) -> None:
        """Run all steps that begin before ``until``."""
        events, engines = self._next, self._engines
        while events and events[0][0] <= until:
            now, index = events[0]
            engine = engines[index]
            if not engine.busy:
                heapq.heappop(events)
                self._idle[index] = True
                self._last = max(self._last, now)
                continue
            step = engine.step(now)
            self._steps += 1
            self._busy += step.duration
            self._preemptions += step.preempted
            heapq.heapreplace(events, (now + step.duration, index))

    def arrive(self, arrival: Arrival) -> None:
        request = Request(arrival.input_tokens, arrival.output_tokens, arrival.at, arrival.prefix_ids)
        index = min(range(len(self._engines)), key=lambda i: self._engines[i].load)
        reason = self._engines[index].rejects(request)
        if reason is not None:
            self._rejected += 1
            return
        self._requests.append(request)
        self._engines[index].add(request, arrival.at)
        if self._idle[index]:
            self._idle[index] = False
            heapq.heappush(self._next, (arrival.at, index))

    def result(self) -> FleetResult:
        requests = self._requests
        gpus = self._fleet.times.tensor
        return FleetResult(
            arrivals=np.array([r.arrival for r in requests]),
            ttft_ms=np.array([(r.first_token_at - r.arrival) * 1e3 for r in requests]),
            itl_ms=np.array([mean_itl_ms(r) for r in requests]),
            input_tokens=sum(r.input_tokens for r in requests),
            output_tokens=sum(r.output_tokens for r in requests),
            rejected=self._rejected,
            preemptions=self._preemptions,
            makespan_s=self._last,
            gpu_seconds=self._last * self._fleet.replicas * gpus,
            busy_gpu_seconds=self._busy * gpus,
            steps=self._steps,
        )


def mean_itl_ms(request: Request) -> float:
    """Mean time per output token after the first in ms; NaN for a single token."""
    if request.output_tokens < 2:
        return math.nan
    return (request.finished_at - request.first_token_at) * 1e3 / (request.output_tokens - 1)


@dataclass(frozen=True)
class StaticPeak:
    """The smallest static fleet that keeps the objectives in every window, and its bill."""

    replicas: int
    usd: float
    usd_per_million_tokens: float
    result: FleetResult


def static_peak(
    fleet: StaticFleet,
    trace: Sequence[Arrival],
    objective: PercentileObjective,
    *,
    window_seconds: float,
    usd_per_gpu_hour: float,
    max_replicas: int = 256,
) -> StaticPeak | None:
    """Smallest N for which every window of ``window_seconds`` keeps ``objective``; None if ``max_replicas`` do not.

    Tokens of ``usd_per_million_tokens`` are input plus output. ``fleet.replicas`` is only the first guess.
    """
    tried: dict[int, FleetResult] = {}

    def holds(replicas: int) -> bool:
        if replicas not in tried:
            tried[replicas] = run_static(replace(fleet, replicas=replicas), trace)
        return tried[replicas].meets(objective, window_seconds)

    low, high = 0, max(1, fleet.replicas)
    while not holds(high):
        if high >= max_replicas:
            return None
        low, high = high, min(max_replicas, max(high + 1, int(high * 1.3)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    result = tried[high]
    usd = result.gpu_seconds / 3600 * usd_per_gpu_hour
    return StaticPeak(high, usd, usd / (result.input_tokens + result.output_tokens) * 1e6, result)
