"""pertoken itself as a policy: the very same planner that the operator runs, fed from the simulated observation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from pertoken.api.batch_cap import cap_after
from pertoken.catalog.lookup import SHIPPED
from pertoken.control.decide import decide
from pertoken.control.saved import NOTHING, Saved
from pertoken.domain.cluster import EngineSettings, NodeFact, PodFact, WorkloadFact
from pertoken.domain.identity import PodKey
from pertoken.domain.plan import Action, CompleteBatchCap, EvictPod, Plan, SetBatchCap, SetReplicas
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import Mode
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, VariantView, World
from pertoken.planner.tuning import TUNING, Tuning
from pertoken_bench.cluster.simulated import Cluster, Node, Pod, Workload
from pertoken_bench.policy import Observation, Orders, Settings

MANAGER = "pertoken-scaler"
POOL_LABEL = "pool"


@dataclass(slots=True)
class Pertoken:
    """The planner behind the benchmark's interface.

    Its actions are carried out on the cluster as the operator carries them out: replicas through /scale, the cap in
    a ConfigMap, evictions through the Eviction API; so `decide` returns no orders of its own.
    """

    settings: PlannerSettings = field(default_factory=PlannerSettings)
    cap_fixed: bool = False
    tuning: Tuning = TUNING
    saved: Saved = NOTHING
    last: Plan | None = None
    change: Callable[[World], World] | None = None  # what an ablation does to what the planner sees
    _cluster: Cluster | None = None
    _clock: Callable[[], float] | None = None

    @property
    def period_seconds(self) -> float:
        """The operator's cycle."""
        return self.settings.cycle_seconds

    def attach(self, cluster: Cluster, now: Callable[[], float]) -> None:
        """Called once, before the first tick."""
        self._cluster, self._clock = cluster, now

    def decide(self, seen: Observation) -> Orders:
        """One planning cycle."""
        cluster, clock = self._cluster, self._clock
        if cluster is None or clock is None:
            raise RuntimeError("attach() comes first")
        shift = seen.now - clock()
        world = self._world(cluster, seen, shift)
        world = world if self.change is None else self.change(world)
        self.last, self.saved = decide(world, self.saved, seen.now, tuning=self.tuning)
        by_place = {(workload.service.key, workload.spec.name): workload for workload in cluster.workloads}
        for action in self.last.actions:
            self.carry_out(cluster, by_place[action.service, action.variant], action, (seen.now, clock()))
        return {}

    def carry_out(self, cluster: Cluster, workload: Workload, action: Action, moment: tuple[float, float]) -> None:
        """As the operator would; `moment` is now since the epoch and by the trace's clock."""
        now, clock = moment
        if isinstance(action, SetReplicas):
            cluster.scale(workload, action.desired, clock, MANAGER)
        elif isinstance(action, (SetBatchCap, CompleteBatchCap)):
            cluster.set_cap(workload, cap_after(action, workload.cap, now), clock)
        elif isinstance(action, EvictPod):
            cluster.evict(workload, [action.pod.name], clock)

    def _world(self, cluster: Cluster, seen: Observation, shift: float) -> World:
        views: dict[str, list[VariantView]] = {}
        for workload in cluster.workloads:
            views.setdefault(workload.service.key.name, []).append(_variant_view(workload, shift, self.cap_fixed))
        services = tuple(
            ServiceView(replace(service.spec, mode=Mode.AUTO, metrics_profile="default"), tuple(views[name]))
            for name, service in seen.services.items()
        )
        pools = tuple(
            PoolView(
                replace(spec, node_selector=() if cluster.elastic else ((POOL_LABEL, name),)),
                # Nodes of an elastic pool come when pods wait for them: its capacity is what it may grow to.
                tuple(_node(node, spec) for node in cluster.nodes if node.pool == name and not cluster.elastic),
            )
            for name, spec in seen.pools.items()
        )
        pods = tuple(pod for view in services for variant in view.variants for pod in variant.pods)
        return World(services, pools, pods, {"default": seen.metrics.snapshot()}, SHIPPED, self.settings)


def pertoken(settings: Settings) -> Pertoken:
    """The planner with these fields of `PlannerSettings`.

    Raises:
        ValueError: no such field.
    """
    kinds = {one.name: one for one in fields(PlannerSettings)}
    unknown = [name for name in settings if name not in kinds]
    if unknown:
        raise ValueError(f"knob {unknown[0]!r} of pertoken: expected one of {', '.join(kinds)}")
    defaults = PlannerSettings()
    return Pertoken(
        replace(defaults, **{name: type(getattr(defaults, name))(value) for name, value in settings.items()})
    )


def _variant_view(workload: Workload, shift: float, cap_fixed: bool) -> VariantView:
    fact = WorkloadFact(
        workload.spec.workload,
        f"uid-{workload.spec.workload.name}",
        workload.replicas,
        workload.gpus,
        cap=None if cap_fixed else workload.cap,
        engine=_settings(workload),
        replicas_manager=workload.manager,
        resource_version=str(workload.version),
    )
    pods = tuple(_pod(pod, shift) for pod in (*workload.vanished, *workload.pods))
    return VariantView(workload.spec, fact, pods)


def _settings(workload: Workload) -> EngineSettings:
    """What the template says to somebody who does not own the cap."""
    return EngineSettings(max_sequences=workload.cap.value, source="argument --max-num-seqs")


def _pod(pod: Pod, shift: float) -> PodFact:
    workload = pod.workload

    def moved(moment: float | None) -> float | None:
        return None if moment is None else moment + shift

    return PodFact(
        key=PodKey(workload.service.key.namespace, pod.name),
        uid=f"{pod.uid}",
        requests={workload.pool.resource_name: workload.gpus},
        labels={"pod-template-hash": "simulated"},
        workload=workload.spec.workload,
        node=None if pod.node is None else pod.node.name,
        created_at=pod.created_at + shift,
        bound_at=moved(pod.bound_at),
        engine_started_at=moved(pod.started_at),
        ready_at=moved(pod.ready_at),
        deleted_at=moved(pod.deleted_at),
        terminating=pod.terminating_since is not None and pod.deleted_at is None,
        unschedulable_since=moved(pod.unschedulable_since),
    )


def _node(node: Node, pool: PoolSpec) -> NodeFact:
    return NodeFact(node.name, {POOL_LABEL: node.pool}, {pool.resource_name: node.gpus})
