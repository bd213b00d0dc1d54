"""What the simulated cluster holds: nodes, pods, workloads, and the bill. Times are seconds of the trace's clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pertoken.domain.cluster import BatchCap
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken_bench.policy import PodPhase


@dataclass(frozen=True, slots=True)
class Timing:
    """Delays and hazards of the cluster.

    Attributes:
        cold_start: seconds from having a node to Ready; `spread`: half-width of its uniform variation, as a share.
        provisioning: seconds until a new node of an elastic pool is there; 0: all nodes always exist.
        drain: longest time that a terminating pod goes on serving; then its requests start again elsewhere.
        failures: crashes per pod and hour; `reclaims`: reclaims per pod and hour by pool (spot).
    """

    cold_start: float = 120.0
    spread: float = 0.1
    provisioning: float = 0.0
    drain: float = 60.0
    failures: float = 0.0
    reclaims: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class SimulatedNode:
    """One node; `gone_at` once it was given back."""

    name: str
    pool: str
    gpus: int
    used: int = 0
    ready_at: float = -math.inf
    idle_since: float = -math.inf
    gone_at: float | None = None
    billed: list[list[float]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class SimulatedPod:
    """One replica. Times in seconds of the trace's clock, None before the event."""

    uid: int
    name: str
    workload: SimulatedWorkload
    created_at: float
    cap: int
    chunk: int | None = None
    node: SimulatedNode | None = None
    bound_at: float | None = None
    started_at: float | None = None
    ready_due: float = math.inf
    ready_at: float | None = None
    unschedulable_since: float | None = None
    terminating_since: float | None = None
    kill_at: float = math.inf
    fails_at: float = math.inf
    reclaimed: bool = False
    slot: int | None = None
    deleted_at: float | None = None
    template: int = 1

    @property
    def phase(self) -> PodPhase:
        """Where it stands while it lives."""
        if self.terminating_since is not None:
            return PodPhase.TERMINATING
        if self.ready_at is not None:
            return PodPhase.READY
        return PodPhase.PENDING if self.bound_at is None else PodPhase.STARTING


@dataclass(slots=True, eq=False)
class SimulatedWorkload:
    """The scale target of one variant.

    Attributes:
        kind: index of the engine's kind in the fleet.
        cap: what a container that starts now reads.
        manager: field manager that last set `replicas`.
        version: grows with every change of what the user may set: replicas and template.
        template: revision of the pod template; pods of another one are replaced by a rolling update.
        least_available: ready pods that a disruption budget keeps when pods are evicted.
        gone: pods that no longer exist.
    """

    service: ServiceSpec
    service_index: int
    spec: VariantSpec
    pool: PoolSpec
    kind: int
    gpus: int
    replicas: int
    cap: BatchCap
    manager: str = "kubectl"
    version: int = 1
    template: int = 1
    least_available: int = 0
    pods: list[SimulatedPod] = field(default_factory=list)
    gone: list[SimulatedPod] = field(default_factory=list)

    @property
    def usd_per_hour(self) -> float:
        """Price of one replica."""
        price = self.pool.price_per_gpu_hour
        return 0.0 if price is None else float(price * self.pool.gpu_fraction) * self.gpus

    def staying(self) -> list[SimulatedPod]:
        """Pods that exist and are to stay."""
        return [pod for pod in self.pods if pod.terminating_since is None]


@dataclass(slots=True)
class Usage:
    """What was used within the scored time."""

    usd: float = 0.0
    replica_seconds: float = 0.0
    gpu_seconds: float = 0.0
