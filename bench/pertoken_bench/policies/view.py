"""What one controller sees: the observation narrowed to one variant, as one Deployment has one autoscaler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pertoken.domain.signal import Histogram, LatencyKind
from pertoken_bench.policy import (
    Order,
    Orders,
    PodGauge,
    PodPhase,
    PodSeen,
    PolicyObservation,
    ServiceSeen,
    Total,
    VariantSeen,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """One variant at one tick."""

    seen: PolicyObservation
    service: ServiceSeen
    variant: VariantSeen

    @property
    def now(self) -> float:
        """Seconds since the simulation's epoch."""
        return self.seen.now

    @property
    def replicas(self) -> int:
        """spec.replicas."""
        return self.variant.replicas

    @property
    def ready(self) -> int:
        """Pods that serve."""
        return self.variant.ready

    @property
    def waiting_pods(self) -> int:
        """Pods that are not Ready yet."""
        return self.variant.pending + self.variant.starting

    @property
    def least(self) -> int:
        """The variant's minimum."""
        return self.variant.spec.min_replicas

    @property
    def most(self) -> int:
        """The variant's maximum."""
        return self.variant.spec.max_replicas

    @property
    def pods(self) -> tuple[PodSeen, ...]:
        """Pods that are to stay."""
        return tuple(pod for pod in self.variant.pods if pod.phase is not PodPhase.TERMINATING)

    @property
    def alone(self) -> bool:
        """Whether the service has no other variant."""
        return len(self.service.variants) == 1

    def latest(self, gauge: PodGauge) -> Mapping[str, float]:
        """Newest sample by pod, of the variant's pods that are to stay."""
        return self._mine(self.seen.metrics.latest(self.service.name, gauge))

    def sum(self, gauge: PodGauge) -> float | None:
        """``sum()`` of the newest samples; None when no pod has one."""
        values = self.latest(gauge)
        return sum(values.values()) if values else None

    def rate(self, total: Total, seconds: float) -> float | None:
        """``sum(rate(counter[window]))``; of pods gone meanwhile only where the service has one variant."""
        values = self._windowed(self.seen.metrics.rate(self.service.name, total, seconds))
        return sum(values.values()) if values else None

    def histograms(self, kind: LatencyKind, seconds: float) -> list[Histogram]:
        """Bucket rates of the variant's pods."""
        return list(self._windowed(self.seen.metrics.histogram(self.service.name, kind, seconds)).values())

    def share(self) -> float:
        """Part of the service's traffic that is this variant's: of its requests in the engines, else of Ready pods."""
        if self.alone:
            return 1.0
        names = {pod.name for pod in self.variant.pods}
        mine = everything = 0.0
        for gauge in (PodGauge.RUNNING, PodGauge.WAITING):
            for pod, value in self.seen.metrics.latest(self.service.name, gauge).items():
                everything += value
                mine += value if pod in names else 0.0
        if everything > 0:
            return mine / everything
        ready = sum(variant.ready for variant in self.service.variants.values())
        return self.ready / ready if ready else 1.0 / len(self.service.variants)

    def in_flight(self, seconds: float) -> float:
        """Mean requests in the system over the window, this variant's share."""
        return self.seen.metrics.in_flight(self.service.name, seconds) * self.share()

    def gateway_queue(self) -> float:
        """Requests held before the engines, this variant's share."""
        return self.seen.metrics.gateway_queue(self.service.name) * self.share()

    def request_rate(self, seconds: float) -> float:
        """Requests per second at the gateway, this variant's share."""
        return self.seen.metrics.request_rate(self.service.name, seconds) * self.share()

    def lengths(self, seconds: float) -> tuple[float, float] | None:
        """Mean input and output tokens of requests finished in the window; None when none has finished."""
        finished = self.rate(Total.REQUESTS, seconds)
        if not finished:
            return None
        return (
            (self.rate(Total.FINISHED_INPUT_TOKENS, seconds) or 0.0) / finished,
            (self.rate(Total.FINISHED_OUTPUT_TOKENS, seconds) or 0.0) / finished,
        )

    def hit_rate(self, seconds: float) -> float:
        """Share of prompt tokens served from the prefix cache in the window."""
        prompts = self.rate(Total.PROMPT_TOKENS, seconds)
        return min(1.0, (self.rate(Total.CACHED_PROMPT_TOKENS, seconds) or 0.0) / prompts) if prompts else 0.0

    def clamp(self, replicas: float) -> int:
        """Within the variant's bounds."""
        return int(min(max(replicas, self.least), self.most))

    def _mine(self, values: Mapping[str, float]) -> dict[str, float]:
        names = {pod.name for pod in self.pods}
        return {pod: value for pod, value in values.items() if pod in names}

    def _windowed(self, values: Mapping[str, T]) -> Mapping[str, T]:
        if self.alone:
            return values
        names = {pod.name for pod in self.variant.pods}
        return {pod: value for pod, value in values.items() if pod in names}


class Scaler(Protocol):
    """One autoscaler of one variant, with its state."""

    def desired(self, view: View) -> int | None:
        """Replicas to order now; None leaves them."""


class PerVariant:
    """A policy that scales each variant for itself.

    Attributes:
        period_seconds: distance of ticks.
    """

    def __init__(self, period_seconds: float, make: Callable[[], Scaler]) -> None:
        """One scaler is made per variant when it is first seen."""
        self.period_seconds = period_seconds
        self._make = make
        self._scalers: dict[tuple[str, str], Scaler] = {}

    def decide(self, seen: PolicyObservation) -> Orders:
        """One tick of every variant's scaler."""
        orders: dict[tuple[str, str], Order] = {}
        for name, service in seen.services.items():
            for variant in service.variants.values():
                key = (name, variant.spec.name)
                scaler = self._scalers.get(key)
                if scaler is None:
                    scaler = self._scalers[key] = self._make()
                replicas = scaler.desired(View(seen, service, variant))
                if replicas is not None and replicas != variant.replicas:
                    orders[key] = Order(replicas=replicas)
        return orders
