"""One run: the engines serve, the cluster moves, Prometheus scrapes, the policy decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from pertoken.domain.cluster import BatchCap
from pertoken_bench.cluster.api_server import ApiServer
from pertoken_bench.cluster.clock import EPOCH, SimulatedClock
from pertoken_bench.cluster.objects import SimulatedWorkload
from pertoken_bench.cluster.prometheus import Prometheus
from pertoken_bench.cluster.simulated import SimulatedCluster
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.policy import Order, PodPhase, PodSeen, Policy, PolicyObservation, ServiceSeen, VariantSeen
from pertoken_bench.scenarios.prepare import Prepared, inventory
from pertoken_bench.score.outcome import Timeline

GRACE_SECONDS: Final = 600.0  # after the scored time, until what is left counts as unfinished


@runtime_checkable
class ReadsCluster(Protocol):
    """A policy that reads the API server's objects themselves: pertoken, which plans over pods and nodes."""

    def attach(self, server: ApiServer, prometheus: Prometheus) -> None:
        """Called once, before the run begins."""

    def watch(self) -> None:
        """Called whenever something may have changed in the cluster."""

    def detach(self) -> None:
        """Called once, after the run."""


@dataclass(slots=True)
class _Record:
    times: list[float] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    ordered: dict[str, list[int]] = field(default_factory=dict)
    ready: dict[str, list[int]] = field(default_factory=dict)


class Run:
    """One policy on one prepared scenario."""

    def __init__(self, prepared: Prepared, policy: Policy, replicas: Mapping[str, int]) -> None:
        self.prepared = prepared
        self.policy = policy
        scenario = prepared.scenario
        self.fleet = Fleet(prepared.trace, prepared.config)
        workloads, nodes = inventory(prepared, replicas)
        self.cluster = SimulatedCluster(self.fleet, workloads, nodes, scenario.timing)
        edges = {
            service.key.name: bounds for service, bounds in zip(scenario.services, prepared.config.edges, strict=True)
        }
        self.metrics = Prometheus(self.cluster, edges, scenario.scrape)
        self._record = _Record()
        self.clock = SimulatedClock()
        self.server = ApiServer(self.cluster, self.clock)
        self._watcher = policy if isinstance(policy, ReadsCluster) else None
        if self._watcher is not None:
            self._watcher.attach(self.server, self.metrics)

    def go(self, grace: float = GRACE_SECONDS, progress: Callable[[float], None] | None = None) -> None:
        """Serve the whole trace, then wait up to `grace` seconds for what is left."""
        try:
            self._serve(grace, progress)
        finally:
            if self._watcher is not None:
                self._watcher.detach()

    def _serve(self, grace: float, progress: Callable[[float], None] | None) -> None:
        end, scrape = self.prepared.end, self.prepared.scenario.scrape.seconds
        self.cluster.begin()
        now, ticks, scrapes = 0.0, 0, 1
        while now < end + grace:
            if now >= end and not self.fleet.in_system() and not self.fleet.arrivals_left():
                break
            next_tick, next_scrape = ticks * self.policy.period_seconds, scrapes * scrape
            limit = end if now < end else end + grace
            self.clock.seconds = now = min(next_tick, next_scrape, self.cluster.next_event(), limit)
            self.fleet.advance(now)
            self.cluster.step(now)
            self.metrics.at_time(now)
            self._tell()
            if now >= next_scrape:
                scrapes += 1
                self.fleet.settle(now)
                self.metrics.scrape(now)
                self._note()
            if now >= next_tick:
                ticks += 1
                self._tick()
                if progress is not None:
                    progress(min(1.0, now / end))
        self.cluster.finish(now)

    def timeline(self) -> Timeline:
        """What was seen at each scrape."""
        record = self._record
        demand = [0.0]
        for index in range(1, len(record.times)):
            grown = record.arrived[index] - record.arrived[index - 1]
            demand.append(grown / (record.times[index] - record.times[index - 1]))
        return Timeline(
            tuple(record.times),
            tuple(demand),
            {name: tuple(values) for name, values in record.ordered.items()},
            {name: tuple(values) for name, values in record.ready.items()},
        )

    def _note(self) -> None:
        record = self._record
        record.times.append(self.clock.seconds)
        record.arrived.append(int(self.fleet.state.services[:, at.V_ARRIVED].sum()))
        for workload in self.cluster.workloads:
            name = _place(workload)
            record.ordered.setdefault(name, []).append(workload.replicas)
            ready = sum(1 for pod in workload.pods if pod.phase is PodPhase.READY)
            record.ready.setdefault(name, []).append(ready)

    def _tick(self) -> None:
        orders = self.policy.decide(self.observation())
        by_place = {(workload.service.key.name, workload.spec.name): workload for workload in self.cluster.workloads}
        for place in sorted(orders):
            self._carry_out(by_place[place], orders[place])
        self.cluster.reconcile(self.clock.seconds)
        self._tell()

    def _tell(self) -> None:
        if self._watcher is not None:
            self._watcher.watch()

    def _carry_out(self, workload: SimulatedWorkload, order: Order) -> None:
        if order.replicas is not None:
            self.cluster.scale(workload, order.replicas, self.clock.seconds)
        if order.cap is not None and order.cap != workload.cap.value:
            batching = workload.spec.batching
            value = min(max(order.cap, batching.min_sequences), batching.max_sequences)
            chunk = workload.cap.chunk
            cap = BatchCap(value, workload.cap.value, EPOCH + self.clock.seconds, completed=False, chunk=chunk)
            self.cluster.set_cap(workload, cap, self.clock.seconds)
        if order.live_cap is not None:
            self.cluster.live_cap(workload, order.live_cap, self.clock.seconds)
        if order.evict:
            self.cluster.evict(workload, order.evict, self.clock.seconds)

    def observation(self) -> PolicyObservation:
        """What the policy sees now."""
        scenario = self.prepared.scenario
        services = {}
        for index, spec in enumerate(scenario.services):
            own = [workload for workload in self.cluster.workloads if workload.service_index == index]
            services[spec.key.name] = ServiceSeen(
                spec, {workload.spec.name: self._variant(workload) for workload in own}
            )
        free: dict[str, int] = {pool.name: 0 for pool in scenario.pools}
        for node in self.cluster.nodes:
            free[node.pool] += node.gpus - node.used
        return PolicyObservation(
            now=EPOCH + self.clock.seconds,
            start=EPOCH,
            services=services,
            pools={pool.name: pool for pool in scenario.pools},
            free_gpus=free,
            metrics=self.metrics,
            scrape_seconds=scenario.scrape.seconds,
            cold_start_seconds=scenario.timing.cold_start,
        )

    def _variant(self, workload: SimulatedWorkload) -> VariantSeen:
        pods = tuple(
            PodSeen(
                pod.name,
                workload.spec.name,
                pod.phase,
                EPOCH + pod.created_at,
                None if pod.bound_at is None else EPOCH + pod.bound_at,
                None if pod.ready_at is None else EPOCH + pod.ready_at,
                pod.cap,
            )
            for pod in workload.pods
        )
        phases = [pod.phase for pod in pods]
        kind = self.prepared.config.kinds[workload.kind]
        return VariantSeen(
            spec=workload.spec,
            replicas=workload.replicas,
            ready=phases.count(PodPhase.READY),
            pending=phases.count(PodPhase.PENDING),
            starting=phases.count(PodPhase.STARTING),
            pods=pods,
            gpus_per_replica=workload.gpus,
            usd_per_hour=workload.usd_per_hour,
            kv_capacity_tokens=kind.kv_blocks * at.BLOCK,
            cap=workload.cap.value,
            max_batched_tokens=kind.budget,
            accelerator=workload.pool.accelerator,
        )


def attainment(fleet: Fleet, service: int) -> float:
    """Share of a service's scored requests within the objectives; unfinished ones are misses; 1 without requests."""
    reals = fleet.state.services_f[service]
    return float(reals[at.R_GOOD] / reals[at.R_REQUESTS]) if reals[at.R_REQUESTS] > 0 else 1.0


def _place(workload: SimulatedWorkload) -> str:
    return f"{workload.service.key.name}/{workload.spec.name}"
