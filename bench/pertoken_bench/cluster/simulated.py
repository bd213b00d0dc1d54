"""The simulated cluster: workloads, pods with their cold starts and drains, nodes, failures, and the bill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pertoken.domain.cluster import BatchCap
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.compiled_engine.timing import uniform
from pertoken_bench.policy import PodPhase

REMEMBER_SECONDS: Final = 900.0  # vanished pods stay visible to the planner's bill
RECLAIM_NOTICE: Final = 30.0  # seconds between a spot node's notice and its end
NODE_IDLE_SECONDS: Final = 300.0  # an elastic node without pods is given back after this
DRAIN_POLL: Final = 1.0
LONG_AGO: Final = -3000.0  # when the replicas of the beginning became Ready


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
class Node:
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
class Pod:
    """One replica. Times in seconds of the trace's clock, None before the event."""

    uid: int
    name: str
    workload: Workload
    created_at: float
    cap: int
    node: Node | None = None
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

    @property
    def phase(self) -> PodPhase:
        """Where it stands while it lives."""
        if self.terminating_since is not None:
            return PodPhase.TERMINATING
        if self.ready_at is not None:
            return PodPhase.READY
        return PodPhase.PENDING if self.bound_at is None else PodPhase.STARTING


@dataclass(slots=True, eq=False)
class Workload:
    """The scale target of one variant.

    Attributes:
        kind: index of the engine's kind in the fleet.
        cap: what a container that starts now reads.
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
    pods: list[Pod] = field(default_factory=list)
    vanished: list[Pod] = field(default_factory=list)

    @property
    def usd_per_hour(self) -> float:
        """Price of one replica."""
        price = self.pool.price_per_gpu_hour
        return 0.0 if price is None else float(price * self.pool.gpu_fraction) * self.gpus

    def staying(self) -> list[Pod]:
        """Pods that exist and are to stay."""
        return [pod for pod in self.pods if pod.terminating_since is None]


@dataclass(slots=True)
class Usage:
    """What was used within the scored time."""

    usd: float = 0.0
    replica_seconds: float = 0.0
    gpu_seconds: float = 0.0


class Cluster:
    """Carries out what was ordered, as fast as a cluster can."""

    def __init__(self, fleet: Fleet, workloads: Sequence[Workload], nodes: Sequence[Node], timing: Timing) -> None:
        self.fleet = fleet
        self.workloads = list(workloads)
        self.nodes = list(nodes)
        self.timing = timing
        self.score = fleet.config.score
        self.scale_events = self.batch_changes = 0
        self.bill: dict[int, Usage] = {}
        self._serial = 0

    @property
    def elastic(self) -> bool:
        """Nodes come when pods wait for them."""
        return self.timing.provisioning > 0

    # -- what may be ordered ---------------------------------------------------------------------------------------

    def scale(self, workload: Workload, replicas: int, now: float, manager: str = "policy") -> None:
        """Set spec.replicas, within the variant's bounds."""
        wanted = min(max(replicas, workload.spec.min_replicas), workload.spec.max_replicas)
        if wanted == workload.replicas:
            return
        workload.replicas, workload.manager = wanted, manager
        workload.version += 1
        if self.score[0] <= now < self.score[1]:
            self.scale_events += 1

    def set_cap(self, workload: Workload, cap: BatchCap, now: float) -> None:
        """Write the batch cap that containers read when they start."""
        if cap.value != workload.cap.value and self.score[0] <= now < self.score[1]:
            self.batch_changes += 1
        workload.cap = cap

    def live_cap(self, workload: Workload, cap: int, now: float) -> None:
        """Change the cap of serving pods at once, at most to what they started with."""
        for pod in workload.pods:
            if pod.slot is not None:
                self.fleet.set_cap(pod.slot, max(1, min(cap, pod.cap)), now)

    def evict(self, workload: Workload, names: Sequence[str], now: float) -> None:
        """Delete pods; their workload replaces them."""
        for pod in workload.staying():
            if pod.name in names:
                self._terminate(pod, now)

    # -- the passing of time ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Replicas that have been serving since long before the trace."""
        self.reconcile(-1.0)
        for workload in self.workloads:
            for pod in workload.pods:
                if pod.bound_at is not None:
                    # Their start-up took as long as any other: controllers learn from it.
                    pod.created_at = pod.bound_at = pod.started_at = LONG_AGO - (pod.ready_due + 1.0)
                    pod.ready_due = LONG_AGO
        if self.elastic:
            for node in self.nodes:
                node.gone_at = 0.0 if node.used == 0 else None
        self.step(0.0)
        for workload in self.workloads:
            for pod in workload.pods:
                if pod.slot is not None:
                    pod.ready_at = LONG_AGO
                    self.fleet.state.slots_f[pod.slot, at.STARTED] = LONG_AGO

    def next_event(self) -> float:
        """When something happens by itself."""
        soonest = math.inf
        for pod in self._living():
            due = pod.ready_due if pod.ready_at is None and pod.terminating_since is None else math.inf
            soonest = min(soonest, due, pod.kill_at, pod.fails_at)
            if pod.terminating_since is not None and pod.slot is not None:
                soonest = min(soonest, self._last_step + DRAIN_POLL)
        for node in self.nodes:
            if node.ready_at > self._last_step:
                soonest = min(soonest, node.ready_at)
        return soonest

    _last_step = -1.0

    def step(self, now: float) -> None:
        """Let everything happen that is due, then reconcile."""
        self._last_step = now
        for pod in self._living():
            if pod.terminating_since is not None:
                self._drained(pod, now)
            elif pod.fails_at <= now:
                self._fail(pod, now)
            elif pod.ready_at is None and pod.ready_due <= now:
                self._become_ready(pod, now)
        self.reconcile(now)

    def reconcile(self, now: float) -> None:
        """Create and delete pods until spec.replicas exist; give nodes to those that wait."""
        for workload in self.workloads:
            staying = workload.staying()
            for pod in self._victims(staying)[: max(0, len(staying) - workload.replicas)]:
                self._terminate(pod, now)
            for _ in range(workload.replicas - len(staying)):
                self._create(workload, now)
        self._schedule(now)

    def finish(self, now: float) -> None:
        """Close all bills."""
        for pod in self._living():
            self._charge(pod, now)
        for node in self.nodes:
            self._charge_node(node, now)

    def _living(self) -> Iterator[Pod]:
        return (pod for workload in self.workloads for pod in tuple(workload.pods))

    @staticmethod
    def _victims(pods: Sequence[Pod]) -> list[Pod]:
        """Order in which a ReplicaSet deletes: without node, not ready, then the newest ready ones."""
        return sorted(
            pods,
            key=lambda pod: (
                pod.bound_at is not None,
                pod.ready_at is not None,
                -(pod.ready_at if pod.ready_at is not None else pod.created_at),
                -pod.uid,
            ),
        )

    def _create(self, workload: Workload, now: float) -> None:
        self._serial += 1
        name = f"{workload.spec.workload.name}-{self._serial:05d}"
        workload.pods.append(Pod(self._serial, name, workload, now, workload.cap.value))

    def _schedule(self, now: float) -> None:
        """Highest priority first, then the longest waiting; on the fullest node that still fits."""
        self._give_back(now)
        pending = [pod for pod in self._living() if pod.bound_at is None and pod.terminating_since is None]
        pending.sort(key=lambda pod: (-pod.workload.service.priority, pod.uid))
        for pod in pending:
            gpus, pool = pod.workload.gpus, pod.workload.pool.name
            fitting = [node for node in self.nodes if node.pool == pool and self._fits(node, gpus, now)]
            if not fitting or self._over_ceiling(pod.workload):
                pod.unschedulable_since = now if pod.unschedulable_since is None else pod.unschedulable_since
                continue
            self._bind(pod, min(fitting, key=lambda node: (node.gpus - node.used, node.name)), now)
        if self.elastic:
            self._provision(now)

    @staticmethod
    def _fits(node: Node, gpus: int, now: float) -> bool:
        return node.gone_at is None and node.ready_at <= now and node.gpus - node.used >= gpus

    def _over_ceiling(self, workload: Workload) -> bool:
        ceiling = workload.pool.max_gpus
        if ceiling is None:
            return False
        used = sum(node.used for node in self.nodes if node.pool == workload.pool.name)
        return used + workload.gpus > ceiling

    def _bind(self, pod: Pod, node: Node, now: float) -> None:
        if node.used == 0 and pod.workload.pool.billing is Billing.PER_NODE:
            node.billed.append([now, math.inf])
        node.used += pod.workload.gpus
        pod.node, pod.bound_at, pod.started_at = node, now, now
        pod.cap, pod.unschedulable_since = pod.workload.cap.value, None
        drawn = uniform(self.fleet.config.seed, pod.uid, -11)
        pod.ready_due = now + self.timing.cold_start * (1.0 + self.timing.spread * (2.0 * drawn - 1.0))

    def _provision(self, now: float) -> None:
        """Elastic pools: order nodes for pods that wait, as many as the pool may have."""
        for pool in {workload.pool.name for workload in self.workloads}:
            waiting = sum(
                pod.workload.gpus
                for pod in self._living()
                if pod.bound_at is None and pod.terminating_since is None and pod.workload.pool.name == pool
            )
            coming = sum(
                node.gpus - node.used
                for node in self.nodes
                if node.pool == pool and node.gone_at is None and node.ready_at > now
            )
            for node in self.nodes:
                if waiting <= coming:
                    break
                if node.pool == pool and node.gone_at is not None:
                    node.gone_at, node.ready_at, node.idle_since = None, now + self.timing.provisioning, now
                    coming += node.gpus

    def _give_back(self, now: float) -> None:
        if not self.elastic or now < 0:
            return
        for node in self.nodes:
            idle = node.gone_at is None and node.used == 0 and node.ready_at <= now
            if idle and now - max(node.idle_since, node.ready_at) >= NODE_IDLE_SECONDS:
                node.gone_at = now

    def _become_ready(self, pod: Pod, now: float) -> None:
        workload, seed = pod.workload, self.fleet.config.seed
        pod.ready_at = now
        pod.slot = self.fleet.start(workload.service_index, workload.kind, pod.uid, pod.cap, now)
        hazards = (self.timing.failures, self.timing.reclaims.get(workload.pool.name, 0.0))
        drawn = [
            math.inf if hazard <= 0 else -math.log(uniform(seed, pod.uid, -13 - index)) * 3600.0 / hazard
            for index, hazard in enumerate(hazards)
        ]
        pod.fails_at = now + min(drawn)
        pod.reclaimed = drawn[1] < drawn[0]

    def _terminate(self, pod: Pod, now: float, drain: float | None = None) -> None:
        pod.terminating_since, pod.fails_at = now, math.inf
        if pod.slot is None:
            self._delete(pod, now)
            return
        self.fleet.close(pod.slot)
        pod.kill_at = now + (self.timing.drain if drain is None else drain)
        self._drained(pod, now)

    def _fail(self, pod: Pod, now: float) -> None:
        """A crash loses everything at once; a reclaimed spot node gives notice."""
        self._terminate(pod, now, RECLAIM_NOTICE if pod.reclaimed else 0.0)

    def _drained(self, pod: Pod, now: float) -> None:
        if pod.slot is None:
            return
        if self.fleet.load(pod.slot) == 0 or pod.kill_at <= now:
            self._delete(pod, now)

    def _delete(self, pod: Pod, now: float) -> None:
        if pod.slot is not None:
            self.fleet.stop(pod.slot, now)
            pod.slot = None
        pod.kill_at = math.inf
        self._charge(pod, now)
        pod.deleted_at = now
        workload = pod.workload
        workload.pods.remove(pod)
        workload.vanished = [*(old for old in workload.vanished if _recent(old, now)), pod]
        if pod.node is not None:
            pod.node.used -= workload.gpus
            if pod.node.used == 0:
                pod.node.idle_since = now
                if pod.node.billed:
                    pod.node.billed[-1][1] = now

    def _charge(self, pod: Pod, until: float) -> None:
        if pod.bound_at is None:
            return
        seconds = max(0.0, min(until, self.score[1]) - max(pod.bound_at, self.score[0]))
        workload = pod.workload
        bill = self.bill.setdefault(workload.service_index, Usage())
        bill.replica_seconds += seconds
        bill.gpu_seconds += seconds * workload.gpus
        if workload.pool.billing is not Billing.PER_NODE:
            bill.usd += seconds / 3600.0 * workload.usd_per_hour

    def _charge_node(self, node: Node, until: float) -> None:
        """Whole nodes, charged to no service in particular (key -1)."""
        pool = next(workload.pool for workload in self.workloads if workload.pool.name == node.pool)
        price = 0.0 if pool.price_per_gpu_hour is None else float(pool.price_per_gpu_hour * pool.gpu_fraction)
        for start, end in node.billed:
            seconds = max(0.0, min(end, until, self.score[1]) - max(start, self.score[0]))
            self.bill.setdefault(-1, Usage()).usd += seconds / 3600.0 * price * node.gpus


def _recent(pod: Pod, now: float) -> bool:
    return pod.deleted_at is not None and now - pod.deleted_at < REMEMBER_SECONDS


def completed(cap: BatchCap) -> BatchCap:
    """The same cap, every pod on it."""
    return replace(cap, completed=True)
