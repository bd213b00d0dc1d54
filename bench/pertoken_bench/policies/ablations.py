"""pertoken with one of its abilities taken away, or with one that nobody has: what each is worth.

- ``pertoken:fixed-cap``: batch cap and prefill chunk are not its to move.
- ``pertoken:fixed-chunk``: the prefill chunk is not.
- ``pertoken:no-calibration``: the performance model stays as the catalog has it.
- ``pertoken:no-lookahead``: replicas seem to start at once, so demand is not forecast over the start-up.
- ``pertoken:requests``: demand is followed in requests; tokens per second are requests times the mean lengths so far.
- ``pertoken:foresight``: the planner's own capacity of a replica, with the demand that really comes (one variant only).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertoken.control.fence import Fence
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot, PodMetrics
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.domain.trace import ModelSizing
from pertoken.domain.world import World
from pertoken_bench.cluster.api_server import ApiServer
from pertoken_bench.cluster.writer import Writer
from pertoken_bench.policies.pertoken_policy import Pertoken, shipped_settings
from pertoken_bench.policy import Orders, Policy, PolicyObservation
from pertoken_bench.scenarios.prepare import Prepared

PROMPT_WEIGHT: Final = 0.08  # GPU time of a prompt token / of a generated one
SMOOTH_SECONDS: Final = 60
REACH_SECONDS: Final = 45.0  # beyond the start-up: one cycle and half a rate window, as the planner adds


def instant_starts(world: World) -> World:
    """Every pod was Ready as soon as it was created."""

    def instant(pod: PodFact) -> PodFact:
        if pod.ready_at is None:
            return pod
        return replace(pod, created_at=pod.ready_at, bound_at=pod.ready_at, engine_started_at=pod.ready_at)

    services = tuple(
        replace(
            view,
            variants=tuple(
                replace(variant, pods=tuple(instant(pod) for pod in variant.pods)) for variant in view.variants
            ),
        )
        for view in world.services
    )
    return replace(world, services=services, pods=tuple(instant(pod) for pod in world.pods))


@dataclass(slots=True)
class CountsRequests:
    """Replaces rates of tokens by rates of requests x mean lengths so far; all services' pods share one mean."""

    totals: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def __call__(self, world: World) -> World:
        """The world as a planner sees it that counts requests."""
        return replace(world, metrics={name: self._snapshot(metrics) for name, metrics in world.metrics.items()})

    def _snapshot(self, snapshot: MetricsSnapshot) -> MetricsSnapshot:
        for pod in snapshot.pods.values():
            rates = (
                _requests(pod),
                pod.values.get(Signal.PROMPT_TOKENS_PER_SECOND) or 0.0,
                pod.values.get(Signal.GENERATION_TOKENS_PER_SECOND) or 0.0,
            )
            self.totals = [total + rate for total, rate in zip(self.totals, rates, strict=True)]
        if self.totals[0] <= 0:
            return snapshot
        means = self.totals[1] / self.totals[0], self.totals[2] / self.totals[0]
        return replace(snapshot, pods={key: _counted(pod, means) for key, pod in snapshot.pods.items()})


def _requests(pod: PodMetrics) -> float:
    histogram = pod.histograms.get(LatencyKind.TTFT)
    return 0.0 if histogram is None else histogram.cumulative[-1]


def _counted(pod: PodMetrics, means: tuple[float, float]) -> PodMetrics:
    if Signal.PROMPT_TOKENS_PER_SECOND not in pod.values:
        return pod
    rates = {
        Signal.PROMPT_TOKENS_PER_SECOND: _requests(pod) * means[0],
        Signal.GENERATION_TOKENS_PER_SECOND: _requests(pod) * means[1],
    }
    return replace(pod, values={**dict(pod.values.items()), **rates})


class NoSizing(Writer):
    """Writes everything but the planner's replicas."""

    def set_replicas(self, target: WorkloadRef, replicas: int, resource_version: str) -> None:
        """Nothing: they come from `set_foreseen`."""

    def set_foreseen(self, target: WorkloadRef, replicas: int) -> None:
        """Replicas for the demand that really comes."""
        Writer.set_replicas(self, target, replicas, "")


@dataclass(slots=True)
class Foreseeing(Pertoken):
    """Sizes as the planner would if its forecast were the truth; everything else is the planner's.

    Attributes:
        rate: mean-sized requests per second that arrive, by second of the trace.
    """

    rate: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    lead: float = 0.0
    _writer: NoSizing | None = None

    def decide(self, seen: PolicyObservation) -> Orders:
        """One cycle; replicas from what will arrive until an order made at the next cycle serves."""
        orders = Pertoken.decide(self, seen)
        if self.last is None or self._writer is None:
            return orders
        second = int(seen.now - seen.start)
        ahead = self.rate[second : second + max(1, math.ceil(self.lead))]
        need = float(ahead.max()) if len(ahead) else 0.0
        for view, decision in zip(self.last.world.services, self.last.plan.decisions, strict=True):
            for step in decision.trace:
                if isinstance(step.detail, ModelSizing):
                    wanted = math.ceil(need / max(step.detail.per_replica, 1e-9) - 1e-9)
                    self._writer.set_foreseen(view.variants[0].spec.workload, wanted)
        return orders

    def writer(self, server: ApiServer, fence: Fence) -> Writer:
        """All but the planner's own sizing."""
        self._writer = NoSizing(server, fence)
        return self._writer


def foresight(prepared: Prepared) -> Policy:
    """The planner with the trace's own demand."""
    trace = prepared.trace
    work = trace.input_tokens * PROMPT_WEIGHT + trace.output_tokens
    second = np.minimum(trace.arrival.astype(np.int64), int(prepared.end))
    arrived = np.bincount(second, weights=work / work.mean(), minlength=int(prepared.end) + 1)
    kernel = np.full(SMOOTH_SECONDS, 1.0 / SMOOTH_SECONDS)
    timing = prepared.scenario.timing
    lead = timing.cold_start + timing.provisioning + REACH_SECONDS
    return Foreseeing(rate=np.convolve(arrived, kernel, mode="same"), lead=lead)


def _no_lookahead() -> Policy:
    return Pertoken(shipped_settings(start_seconds=0.0), change=instant_starts)


ABLATIONS: Final[Mapping[str, Callable[[], Policy]]] = {
    "pertoken:fixed-cap": partial(Pertoken, cap_fixed=True),
    "pertoken:fixed-chunk": partial(Pertoken, chunk_fixed=True),
    "pertoken:no-calibration": lambda: Pertoken(shipped_settings(calibrate=False)),
    "pertoken:no-lookahead": _no_lookahead,
    "pertoken:requests": lambda: Pertoken(change=CountsRequests()),
}
FORESIGHT: Final = "pertoken:foresight"
