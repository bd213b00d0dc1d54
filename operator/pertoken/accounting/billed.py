"""One service as accounting sees it in a cycle: whose pods hold GPUs of which pool, and what they tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pertoken.domain.cluster import PodFact, WorkloadMissing, pods_per_replica, whole_replicas
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import UNKNOWN_WINDOW_SECONDS, MetricsSnapshot, Offer, PodMetrics
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.domain.signal import Histogram, LatencyKind, Signal
from pertoken.domain.world import ServiceView, World
from pertoken.frozen import dataclass
from pertoken.performance.histogram import merge


@dataclass(frozen=True, slots=True)
class BilledVariant:
    """One variant whose workload is known.

    Attributes:
        pods: living and recently deleted ones.
        pool: whose GPUs they hold, None where it is not accepted.
        gpus_per_replica: 0 where that is not known.
        pods_per_replica: more than one where a replica spans several pods, of which one has metrics.
        measured: fresh metrics of serving pods.
    """

    spec: VariantSpec
    pods: tuple[PodFact, ...]
    pool: PoolSpec | None
    gpus_per_replica: int
    pods_per_replica: int
    measured: Mapping[PodKey, PodMetrics]

    def settled(self, now: float, window: float) -> frozenset[PodKey]:
        """Pods that have served for longer than the rate window (seconds): they are expected to tell."""
        return frozenset(pod.key for pod in self._settled(now, window))

    def settled_replicas(self, now: float, window: float) -> int:
        """Replicas all of whose pods are settled; one pod of each is expected to tell."""
        return whole_replicas(self._settled(now, window), self.pods_per_replica)

    def _settled(self, now: float, window: float) -> Iterable[PodFact]:
        return (pod for pod in self.pods if pod.ready and pod.ready_at is not None and now - pod.ready_at > window)

    def total(self, signal: Signal) -> float | None:
        """Sum over the measured pods; None when no pod tells."""
        values = [metrics.values[signal] for metrics in self.measured.values() if signal in metrics.values]
        return sum(values) if values else None


@dataclass(frozen=True, slots=True)
class BilledService:
    """One service.

    Attributes:
        variants: those whose workload is known, and those that are no more while pods of theirs hold GPUs.
        pods: of all variants.
    """

    spec: ServiceSpec
    snapshot: MetricsSnapshot | None
    now: float
    variants: tuple[BilledVariant, ...]
    pods: tuple[PodFact, ...]

    @property
    def window(self) -> float:
        """Rate window in seconds."""
        return UNKNOWN_WINDOW_SECONDS if self.snapshot is None else self.snapshot.window_seconds

    def offer(self, metrics: PodMetrics) -> Offer | None:
        """What the pod's engine has; None where the engine was not recognized."""
        return None if self.snapshot is None else self.snapshot.offers.get(metrics.engine)

    def histogram(self, kind: LatencyKind) -> Histogram | None:
        """One distribution over all measured pods; None when no pod tells."""
        told = [
            metrics.histograms[kind]
            for variant in self.variants
            for metrics in variant.measured.values()
            if kind in metrics.histograms
        ]
        return merge(told) if told else None

    def series(self) -> Mapping[str, PodMetrics]:
        """What Prometheus has by pod uid, however old. A name used again (StatefulSet) belongs to the newest pod."""
        if self.snapshot is None or not self.snapshot.health.ok:
            return {}
        newest: dict[PodKey, PodFact] = {}
        for pod in self.pods:
            other = newest.get(pod.key)
            if other is None or other.created_at < pod.created_at:
                newest[pod.key] = pod
        told = self.snapshot.pods
        return {pod.uid: told[key] for key, pod in newest.items() if key in told}


def billed_service(view: ServiceView, world: World, now: float) -> BilledService:
    """One service's part of the world at `now` (seconds since the epoch)."""
    snapshot = world.metrics.get(view.spec.metrics_profile)
    pools = {pool.spec.name: pool.spec for pool in world.pools}
    variants = []
    for variant in view.all_variants:
        if isinstance(variant.workload, WorkloadMissing):
            continue
        pool = pools.get(variant.spec.pool)
        living = [pod for pod in variant.pods if not pod.terminating and not pod.ended]
        variants.append(
            BilledVariant(
                variant.spec,
                variant.pods,
                pool,
                max(variant.workload.gpus_per_replica, 0),
                pods_per_replica(variant.workload, living, "" if pool is None else pool.resource_name),
                _measured(living, snapshot),
            )
        )
    pods = tuple(pod for variant in view.all_variants for pod in variant.pods)
    return BilledService(view.spec, snapshot, now, tuple(variants), pods)


def _measured(living: Iterable[PodFact], snapshot: MetricsSnapshot | None) -> Mapping[PodKey, PodMetrics]:
    if snapshot is None:
        return {}
    keys = (pod.key for pod in sorted(living, key=lambda pod: pod.key) if pod.ready)
    return {metrics.pod: metrics for metrics in snapshot.fresh(keys)}
