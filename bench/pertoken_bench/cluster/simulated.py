"""The simulated cluster: pods with their cold starts and drains, nodes, rollouts, failures, and the bill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from pertoken.domain.cluster import BatchCap
from pertoken.domain.pool import Billing
from pertoken_bench.cluster.objects import SimulatedNode, SimulatedPod, SimulatedWorkload, Timing, Usage
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.compiled_engine.timing import uniform

RECLAIM_NOTICE: Final = 30.0  # seconds between a spot node's notice and its end
NODE_IDLE_SECONDS: Final = 300.0  # an elastic node without pods is given back after this
DRAIN_POLL: Final = 1.0
LONG_AGO: Final = -3000.0  # when the replicas of the beginning became Ready
SURGE: Final = 0.25  # of the replicas: pods of a new template beyond them, and pods that may be missing meanwhile


class SimulatedCluster:
    """Carries out orders with a cluster's delays, and bills nodes and pods."""

    def __init__(
        self, fleet: Fleet, workloads: Sequence[SimulatedWorkload], nodes: Sequence[SimulatedNode], timing: Timing
    ) -> None:
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

    def scale(self, workload: SimulatedWorkload, replicas: int, now: float, manager: str = "policy") -> None:
        """Set spec.replicas, within the variant's bounds."""
        wanted = min(max(replicas, workload.spec.min_replicas), workload.spec.max_replicas)
        if wanted == workload.replicas:
            return
        workload.replicas, workload.manager = wanted, manager
        workload.version += 1
        if self.score[0] <= now < self.score[1]:
            self.scale_events += 1

    def set_cap(self, workload: SimulatedWorkload, cap: BatchCap, now: float) -> None:
        """Write the batch cap that containers read when they start."""
        if (cap.value, cap.chunk) != (workload.cap.value, workload.cap.chunk) and self.score[0] <= now < self.score[1]:
            self.batch_changes += 1
        workload.cap = cap

    def live_cap(self, workload: SimulatedWorkload, cap: int, now: float) -> None:
        """Change the cap of serving pods at once, at most to what they started with."""
        for pod in workload.pods:
            if pod.slot is not None:
                self.fleet.set_cap(pod.slot, max(1, min(cap, pod.cap)), now)

    def roll(self, workload: SimulatedWorkload, now: float) -> None:
        """A user changes the pod template: every pod is to be replaced."""
        workload.template += 1
        workload.version += 1
        self.reconcile(now)

    def evict(self, workload: SimulatedWorkload, names: Sequence[str], now: float) -> None:
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
        """Time of the next change that is already scheduled, such as a pod that becomes Ready."""
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
        """Carry out what is due by now, then reconcile."""
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
            if any(pod.template != workload.template for pod in staying):
                self._roll_on(workload, staying, now)
                continue
            for pod in self._victims(staying)[: max(0, len(staying) - workload.replicas)]:
                self._terminate(pod, now)
            for _ in range(workload.replicas - len(staying)):
                self._create(workload, now)
        self._schedule(now)

    def _roll_on(self, workload: SimulatedWorkload, staying: Sequence[SimulatedPod], now: float) -> None:
        """One look of the Deployment controller at a rolling update with its defaults (25 % surge, 25 % missing)."""
        new = [pod for pod in staying if pod.template == workload.template]
        old = [pod for pod in staying if pod.template != workload.template]
        most = workload.replicas + math.ceil(workload.replicas * SURGE)
        for _ in range(min(workload.replicas - len(new), most - len(staying))):
            self._create(workload, now)
        for pod in self._victims(new)[: max(0, len(new) - workload.replicas)]:
            self._terminate(pod, now)
        serving = sum(pod.ready_at is not None for pod in staying)
        spare = serving - (workload.replicas - math.floor(workload.replicas * SURGE))
        waiting = [pod for pod in old if pod.ready_at is None]
        for pod in (*waiting, *[pod for pod in old if pod.ready_at is not None][: max(0, spare)]):
            self._terminate(pod, now)

    def finish(self, now: float) -> None:
        """Close all bills."""
        for pod in self._living():
            self._charge(pod, now)
        for node in self.nodes:
            self._charge_node(node, now)

    def _living(self) -> Iterator[SimulatedPod]:
        return (pod for workload in self.workloads for pod in tuple(workload.pods))

    @staticmethod
    def _victims(pods: Sequence[SimulatedPod]) -> list[SimulatedPod]:
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

    def _create(self, workload: SimulatedWorkload, now: float) -> None:
        self._serial += 1
        name = f"{workload.spec.workload.name}-{self._serial:05d}"
        cap = workload.cap
        pod = SimulatedPod(self._serial, name, workload, now, cap.value, cap.chunk, template=workload.template)
        workload.pods.append(pod)

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
    def _fits(node: SimulatedNode, gpus: int, now: float) -> bool:
        return node.gone_at is None and node.ready_at <= now and node.gpus - node.used >= gpus

    def _over_ceiling(self, workload: SimulatedWorkload) -> bool:
        ceiling = workload.pool.max_gpus
        if ceiling is None:
            return False
        used = sum(node.used for node in self.nodes if node.pool == workload.pool.name)
        return used + workload.gpus > ceiling

    def _bind(self, pod: SimulatedPod, node: SimulatedNode, now: float) -> None:
        if node.used == 0 and pod.workload.pool.billing is Billing.PER_NODE:
            node.billed.append([now, math.inf])
        node.used += pod.workload.gpus
        pod.node, pod.bound_at, pod.started_at = node, now, now
        pod.cap, pod.chunk, pod.unschedulable_since = pod.workload.cap.value, pod.workload.cap.chunk, None
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

    def _become_ready(self, pod: SimulatedPod, now: float) -> None:
        workload, seed = pod.workload, self.fleet.config.seed
        pod.ready_at = now
        pod.slot = self.fleet.start(workload.service_index, workload.kind, pod.uid, pod.cap, now, budget=pod.chunk)
        hazards = (self.timing.failures, self.timing.reclaims.get(workload.pool.name, 0.0))
        drawn = [
            math.inf if hazard <= 0 else -math.log(uniform(seed, pod.uid, -13 - index)) * 3600.0 / hazard
            for index, hazard in enumerate(hazards)
        ]
        pod.fails_at = now + min(drawn)
        pod.reclaimed = drawn[1] < drawn[0]

    def _terminate(self, pod: SimulatedPod, now: float, drain: float | None = None) -> None:
        pod.terminating_since, pod.fails_at = now, math.inf
        if pod.slot is None:
            self._delete(pod, now)
            return
        self.fleet.close(pod.slot)
        pod.kill_at = now + (self.timing.drain if drain is None else drain)
        self._drained(pod, now)

    def _fail(self, pod: SimulatedPod, now: float) -> None:
        """A crash loses everything at once; a reclaimed spot node gives notice."""
        self._terminate(pod, now, RECLAIM_NOTICE if pod.reclaimed else 0.0)

    def _drained(self, pod: SimulatedPod, now: float) -> None:
        if pod.slot is None:
            return
        if self.fleet.load(pod.slot) == 0 or pod.kill_at <= now:
            self._delete(pod, now)

    def _delete(self, pod: SimulatedPod, now: float) -> None:
        if pod.slot is not None:
            self.fleet.stop(pod.slot, now)
            pod.slot = None
        pod.kill_at = math.inf
        self._charge(pod, now)
        pod.deleted_at = now
        workload = pod.workload
        workload.pods.remove(pod)
        workload.gone.append(pod)
        if pod.node is not None:
            pod.node.used -= workload.gpus
            if pod.node.used == 0:
                pod.node.idle_since = now
                if pod.node.billed:
                    pod.node.billed[-1][1] = now

    def _charge(self, pod: SimulatedPod, until: float) -> None:
        if pod.bound_at is None:
            return
        seconds = max(0.0, min(until, self.score[1]) - max(pod.bound_at, self.score[0]))
        workload = pod.workload
        bill = self.bill.setdefault(workload.service_index, Usage())
        bill.replica_seconds += seconds
        bill.gpu_seconds += seconds * workload.gpus
        if workload.pool.billing is not Billing.PER_NODE:
            bill.usd += seconds / 3600.0 * workload.usd_per_hour

    def _charge_node(self, node: SimulatedNode, until: float) -> None:
        """Whole nodes, charged to no service in particular (key -1)."""
        pool = next(workload.pool for workload in self.workloads if workload.pool.name == node.pool)
        price = 0.0 if pool.price_per_gpu_hour is None else float(pool.price_per_gpu_hour * pool.gpu_fraction)
        for start, end in node.billed:
            seconds = max(0.0, min(end, until, self.score[1]) - max(start, self.score[0]))
            self.bill.setdefault(-1, Usage()).usd += seconds / 3600.0 * price * node.gpus
