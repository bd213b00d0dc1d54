"""HPA objects on pods' metrics and KEDA's ScaledObject on a Prometheus, as users of vLLM find them documented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pertoken_bench.policies.hpa import SYNC_SECONDS, Hpa, HpaSettings, PodReadings, by_average, by_pods, combine
from pertoken_bench.policies.prior import Profile
from pertoken_bench.policies.view import PerVariant, View
from pertoken_bench.policy import PodGauge, PodPhase, Policy

PLAIN = HpaSettings()  # an object without `spec.behavior`
ACTIVITY_SECONDS = 60.0  # window of the keep-alive trigger


@dataclass(frozen=True, slots=True)
class PodsMetric:
    """`type: Pods`, averageValue `target` of one gauge; GPU utilization in percent."""

    gauge: PodGauge
    target: float
    scale: float = 1.0

    def propose(self, view: View, tolerance: float) -> int | None:
        """The metric's own opinion; None when it is invalid."""
        samples = view.latest(self.gauge)
        # Readiness is not looked at for metrics other than CPU; a pod on its way has no sample and is Running once
        # its container starts.
        unready = sum(1 for pod in view.pods if pod.phase is PodPhase.PENDING)
        missing = sum(1 for pod in view.pods if pod.phase is not PodPhase.PENDING and pod.name not in samples)
        readings = PodReadings([value * self.scale for value in samples.values()], unready, missing)
        return by_pods(view.replicas, readings, self.target, tolerance)


@dataclass(frozen=True, slots=True)
class AverageMetric:
    """`type: External`, AverageValue `target` of ``sum(gauge)``, held requests included where `queue` says so."""

    gauge: PodGauge
    target: float
    queue: bool = False

    def propose(self, view: View, tolerance: float) -> int | None:
        """The metric's own opinion; None without any sample."""
        total = view.sum(self.gauge)
        if total is None:
            return None
        return by_average(view.replicas, total + (view.gateway_queue() if self.queue else 0.0), self.target, tolerance)


@dataclass(slots=True)
class HpaScaler:
    """One HPA object on one Deployment."""

    metrics: Sequence[PodsMetric | AverageMetric]
    hpa: Hpa

    def desired(self, view: View) -> int | None:
        """One sync."""
        if view.replicas == 0:
            return max(view.least, 1) if view.most else 0  # an HPA cannot wake a workload: its owner starts it once
        tolerance = self.hpa.settings.tolerance
        proposal = combine(view.replicas, [metric.propose(view, tolerance) for metric in self.metrics])
        return self.hpa.sync(view.now, view.replicas, proposal, (view.least, view.most))


def hpa_policy(metrics: Sequence[PodsMetric | AverageMetric], settings: HpaSettings) -> Policy:
    """One HPA per variant."""
    return PerVariant(SYNC_SECONDS, lambda: HpaScaler(metrics, Hpa(settings)))


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of a ScaledObject, AverageValue. An empty result counts as 0 (`ignoreNullValues: true`)."""

    value: Callable[[View], float | None]
    threshold: float
    activation: float = 0.0


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """KEDA 2.21 defaults, except where a manifest sets them.

    Attributes:
        cooldown: seconds without activity before a workload goes from one replica to zero.
    """

    triggers: Sequence[Trigger]
    polling: float = 30.0
    cooldown: float = 300.0
    hpa: HpaSettings = PLAIN


@dataclass(slots=True)
class KedaScaler:
    """The operator's loop between zero and one, and its HPA from one on."""

    spec: ScaledObject
    hpa: Hpa
    polled_at: float | None = None
    last_active: float | None = None
    values: list[float] = field(default_factory=list)

    def desired(self, view: View) -> int | None:
        """One sync of the HPA, preceded by a poll where one is due."""
        self.values = [trigger.value(view) or 0.0 for trigger in self.spec.triggers]
        replicas = view.replicas
        if self.polled_at is None or view.now - self.polled_at >= self.spec.polling:
            self.polled_at = view.now
            replicas = self._poll(view)
        if replicas == 0 or view.replicas == 0:
            return replicas
        targets = [trigger.threshold for trigger in self.spec.triggers]
        tolerance = self.spec.hpa.tolerance
        asked = [
            by_average(replicas, value, target, tolerance) for value, target in zip(self.values, targets, strict=True)
        ]
        return self.hpa.sync(view.now, replicas, combine(replicas, asked), (max(view.least, 1), view.most))

    def _poll(self, view: View) -> int:
        active = any(value > t.activation for value, t in zip(self.values, self.spec.triggers, strict=True))
        if active or self.last_active is None:
            self.last_active = view.now
        if active and view.replicas == 0:
            return max(1, view.least)
        idle = view.now - self.last_active > self.spec.cooldown
        if not active and view.least == 0 and view.replicas > 0 and idle:
            return 0
        return max(view.replicas, view.least)


def waiting(view: View) -> float | None:
    """``sum(vllm:num_requests_waiting)``."""
    return view.sum(PodGauge.WAITING)


def traffic(view: View) -> float | None:
    """``sum(rate(incoming_requests[1m]) > bool 0)`` of the router: 1 while requests come, else 0."""
    return 1.0 if view.request_rate(ACTIVITY_SECONDS) > 0 else 0.0


def keda_policy(make: Callable[[View], ScaledObject]) -> Policy:
    """One ScaledObject per variant; `make` may look at the variant's bounds."""
    return PerVariant(SYNC_SECONDS, lambda: _Deferred(make))


@dataclass(slots=True)
class _Deferred:
    """Writes the ScaledObject when the variant is first seen."""

    make: Callable[[View], ScaledObject]
    scaler: KedaScaler | None = None

    def desired(self, view: View) -> int | None:
        if self.scaler is None:
            spec = self.make(view)
            self.scaler = KedaScaler(spec, Hpa(spec.hpa))
        return self.scaler.desired(view)


@dataclass(frozen=True, slots=True)
class HpaKnobs:
    """One HPA on one metric without `spec.behavior`: its target and the controller's downscale window."""

    target: float
    down_window: float = 300.0

    @property
    def settings(self) -> HpaSettings:
        """The object."""
        return HpaSettings(down_window=self.down_window)


def hpa_gpu_policy(knobs: HpaKnobs, _: Profile) -> Policy:
    """Pods metric GPU utilization, per cent."""
    return hpa_policy((PodsMetric(PodGauge.GPU_UTILIZATION, knobs.target, 100.0),), knobs.settings)


def hpa_queue_policy(knobs: HpaKnobs, _: Profile) -> Policy:
    """Pods metric waiting requests."""
    return hpa_policy((PodsMetric(PodGauge.WAITING, knobs.target),), knobs.settings)


def hpa_running_policy(knobs: HpaKnobs, _: Profile) -> Policy:
    """External metric running requests, AverageValue."""
    return hpa_policy((AverageMetric(PodGauge.RUNNING, knobs.target),), knobs.settings)


@dataclass(frozen=True, slots=True)
class KedaKnobs:
    """ScaledObject of vLLM's production stack on waiting requests."""

    threshold: float = 5.0
    down_window: float = 300.0
    polling: float = 15.0
    cooldown: float = 360.0


def keda_waiting_policy(knobs: KedaKnobs, _: Profile) -> Policy:
    """Waiting requests, and for workloads that may go to zero the documented keep-alive trigger."""
    hpa = HpaSettings(down_window=knobs.down_window)
    queue, busy = Trigger(waiting, knobs.threshold), Trigger(traffic, 1.0)
    return keda_policy(
        lambda view: ScaledObject((queue,) if view.least > 0 else (queue, busy), knobs.polling, knobs.cooldown, hpa)
    )
