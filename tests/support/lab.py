"""A toy cluster with a fluid engine: enough physics to close the planner's loop in milliseconds.

The plant's engines follow the catalog's steady-state model times `slow`, which the planner does not know.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pertoken.accounting.ledger import Ledger
from pertoken.api.batch_cap import cap_after
from pertoken.catalog.lookup import SHIPPED, Catalog
from pertoken.control.account_and_plan import account_and_plan
from pertoken.control.saved import NOTHING, Saved, from_json, to_json
from pertoken.domain.cluster import BatchCap, EngineSettings, NodeFact, PodFact, WorkloadFact
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.domain.plan import CompleteBatchCap, EvictPod, Plan, SetBatchCap, SetReplicas
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import (
    Batching,
    CostObjective,
    EngineKind,
    LatencyObjective,
    ModelSpec,
    PriceList,
    ServiceSpec,
    VariantSpec,
)
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, VariantView, World
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine as Steady
from pertoken.performance.steady import Load, at_batch, at_rate
from pertoken.performance.step_time import Gains, engine_model
from pertoken.planner.memory import Memory
from pertoken.planner.placement import obstacle

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
GPU = "a100-sxm-80gb"
EDGES = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.1, 0.2, 0.5, 1, 2, 5, 10, math.inf)
START = 1_000_000.0


def ref(name: str, namespace: str = "llm") -> WorkloadRef:
    return WorkloadRef("apps/v1", "Deployment", namespace, name)


def prices(blended: str = "0.50") -> PriceList:
    amount = Decimal(blended)
    return PriceList(amount, amount, amount)


def variant_spec(service: str = "chat", name: str = "a100", **changes) -> VariantSpec:
    spec = VariantSpec(
        name=name,
        pool="a100",
        workload=ref(f"{service}-{name}"),
        owned=True,
        min_replicas=1,
        max_replicas=10,
        batching=Batching(max_sequences=256),
    )
    return replace(spec, **changes)


def service_spec(name: str = "chat", variants: tuple[VariantSpec, ...] | None = None, **changes) -> ServiceSpec:
    spec = ServiceSpec(
        key=ServiceKey("llm", name),
        uid=f"uid-{name}",
        generation=1,
        model=ModelSpec(MODEL, name),
        variants=variants or (variant_spec(name),),
        cost=CostObjective(prices(), window_seconds=3600),
        latency=LatencyObjective(ttft_seconds=2.0, inter_token_seconds=0.04),
    )
    return replace(spec, **changes)


def pool_spec(name: str = "a100", **changes) -> PoolSpec:
    spec = PoolSpec(
        name, GPU, price_per_gpu_hour=Decimal("2.00"), node_selector=(("pool", name),), provisioning_seconds=300
    )
    return replace(spec, **changes)


def node(name: str, gpus: int, pool: str = "a100", *, schedulable: bool = True) -> NodeFact:
    return NodeFact(name, {"pool": pool}, {"nvidia.com/gpu": gpus}, schedulable)


def spread(mean: float, rate: float, sigma: float = 0.1, edges: tuple[float, ...] = EDGES) -> Histogram:
    """A log-normal distribution around a mean as a histogram of `rate` events per second."""
    if mean <= 0:
        return Histogram(edges, tuple(0.0 for _ in edges))
    cumulative = []
    for edge in edges:
        share = 1.0 if math.isinf(edge) else 0.5 * (1 + math.erf(math.log(edge / mean) / (sigma * math.sqrt(2))))
        cumulative.append(rate * share)
    return Histogram(edges, tuple(cumulative))


@dataclass
class Pod:
    """A toy pod."""

    name: str
    variant: str
    created: float
    cap: int | None
    chunk: int | None = None
    gpus: int = 1
    node: str | None = None
    bound: float | None = None
    started: float | None = None
    ready: float | None = None
    deleted: float | None = None
    ended: float | None = None  # phase Failed since
    unschedulable: float | None = None
    crashed: bool = False
    finished: float = 0.0
    inputs: float = 0.0
    outputs: float = 0.0
    history: deque = field(default_factory=lambda: deque(maxlen=4))

    def fact(self, workload: WorkloadRef) -> PodFact:
        return PodFact(
            key=PodKey("llm", self.name),
            uid=f"uid-{self.name}",
            requests={"nvidia.com/gpu": self.gpus},
            labels={"pod-template-hash": "abc"},
            workload=workload,
            node=self.node,
            created_at=self.created,
            bound_at=self.bound,
            engine_started_at=self.started,
            ready_at=self.ready,
            deleted_at=self.deleted,
            finished=self.ended is not None,
            finished_at=self.ended,
            unschedulable_since=self.unschedulable,
            crashed=self.crashed,
            message="CrashLoopBackOff" if self.crashed else "",
        )


@dataclass
class Deployment:
    """A toy workload with the traffic of its service."""

    spec: VariantSpec
    replicas: int
    gpus: int = 1
    cap: BatchCap | None = None
    settled: bool = True
    manager: str = ""
    version: int = 1
    autoscaler: str = ""
    placement: PlacementRules = ANYWHERE
    allocated: int | None = None
    mixes: bool = False

    @property
    def engine(self) -> EngineSettings:
        chunk = None if self.cap is None else self.cap.chunk
        return EngineSettings(batched_tokens=chunk, reads_chunk=bool(chunk), allocated=self.allocated, mixes=self.mixes)


@dataclass
class Plant:
    """A toy cluster: one-variant services, fluid queues, a scheduler."""

    services: dict[str, ServiceSpec]
    deployments: dict[str, Deployment]
    nodes: list[NodeFact]
    pools: list[PoolSpec]
    rates: dict[str, float]
    load: Load = field(default_factory=lambda: Load(1000.0, 200.0))
    slow: float = 1.0
    start_seconds: float = 60.0
    bad_cap: int | None = None
    kv_capacity: float | None = None  # None: the model's
    preemptions: float = 0.0
    wide: float = 0.1  # sigma of time per output token around its mean
    now: float = START
    catalog: Catalog = SHIPPED
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    saved: Saved = field(default=NOTHING, repr=False)
    results: Results = field(default_factory=Results, repr=False)
    pods: list[Pod] = field(default_factory=list)
    queues: dict[str, float] = field(default_factory=dict)
    outage: bool = False
    series_gone: bool = False
    count: int = 0
    actions: list = field(default_factory=list)
    last: Plan | None = field(default=None, repr=False)
    act: bool = True
    with_histograms: bool = True

    @property
    def memory(self) -> Memory:
        return self.saved.memory

    @memory.setter
    def memory(self, memory: Memory) -> None:
        self.saved = replace(self.saved, memory=memory)

    @property
    def ledger(self) -> Ledger:
        return self.saved.ledger

    def restart(self) -> None:
        """Go on with what survives a restart of the operator."""
        self.saved = from_json(json.loads(json.dumps(to_json(self.saved))))

    def engine(self, name: str, cap: int | None) -> Steady:
        gpu = next(pool.accelerator for pool in self.pools if pool.name == self.deployments[name].spec.pool)
        base = engine_model(SHIPPED.model(MODEL), SHIPPED.gpu(gpu), self.deployments[name].spec.parallelism)
        return Steady(base, Gains(self.slow, self.slow, 0.02), cap)

    # -- the cluster -----------------------------------------------------------------------------------------

    def living(self, name: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.variant == name and pod.deleted is None and pod.ended is None]

    def ready(self, name: str) -> list[Pod]:
        return [pod for pod in self.living(name) if pod.ready is not None]

    def reconcile(self) -> None:
        for name, deployment in self.deployments.items():
            living = self.living(name)
            surplus = len(living) - deployment.replicas
            for pod in sorted(living, key=lambda pod: (pod.ready is not None, -pod.created))[: max(0, surplus)]:
                pod.deleted = self.now
            for _ in range(-surplus):
                self.count += 1
                self.pods.append(Pod(f"{name}-{self.count:03d}", name, self.now, None, gpus=deployment.gpus))
        for pod in self.pods:
            if pod.deleted is None and pod.ended is None:
                self.advance_pod(pod)

    def advance_pod(self, pod: Pod) -> None:
        deployment = self.deployments[pod.variant]
        if pod.bound is None:
            node_name = self.free_node(pod.gpus, deployment)
            if node_name is None:
                pod.unschedulable = pod.unschedulable or self.now
                return
            pod.node, pod.bound, pod.unschedulable = node_name, self.now, None
        if pod.started is None:
            pod.started = self.now - 0.5
            pod.cap = None if deployment.cap is None else deployment.cap.value
            pod.chunk = None if deployment.cap is None else deployment.cap.chunk
            pod.crashed = self.bad_cap is not None and pod.cap == self.bad_cap
        if pod.ready is None and not pod.crashed and self.now - pod.bound >= self.start_seconds:
            pod.ready = self.now

    def free_node(self, gpus: int, deployment: Deployment) -> str | None:
        for node in self.nodes:
            if node.labels["pool"] != deployment.spec.pool or obstacle(node, deployment.placement):
                continue
            holding = [pod for pod in self.pods if pod.node == node.name and pod.deleted is None and pod.ended is None]
            used = sum(pod.gpus for pod in holding)
            if node.allocatable["nvidia.com/gpu"] - used >= gpus:
                return node.name
        return None

    # -- the engines -----------------------------------------------------------------------------------------

    def serve(self, seconds: float) -> None:
        for name in self.deployments:
            ready = self.ready(name)
            queue = self.queues.get(name, 0.0)
            arriving = self.rates[name] + queue / seconds
            served_total = 0.0
            for pod in ready:
                engine = self.engine(name, pod.cap)
                engine = replace(engine, model=engine.model.with_batched_tokens(pod.chunk))
                point = at_rate(engine, self.load, arriving / len(ready))
                if point is None:
                    point = at_batch(engine, self.load, float(pod.cap or 256))
                waiting = max(0.0, arriving / len(ready) - point.rate) * seconds
                pod.history.append((point, waiting))
                served_total += point.rate
                done = point.rate * seconds
                pod.finished += done
                pod.inputs += done * self.load.input_tokens
                pod.outputs += done * self.load.output_tokens
            self.queues[name] = max(0.0, (arriving - served_total) * seconds)

    # -- what Prometheus shows -------------------------------------------------------------------------------

    def metrics(self) -> MetricsSnapshot:
        if self.outage:
            return MetricsSnapshot(MetricsHealth(ok=False, why="connection refused"), 60.0, 30.0)
        pods = {}
        for pod in self.pods:
            if self.series_gone:
                continue
            key = PodKey("llm", pod.name)
            counters = {
                Counter.FINISHED_REQUESTS: pod.finished,
                Counter.FINISHED_INPUT_TOKENS: pod.inputs,
                Counter.FINISHED_OUTPUT_TOKENS: pod.outputs,
            }
            if pod.ready is None or not pod.history or pod not in self.living(pod.variant):
                pods[key] = PodMetrics(key, 5.0, {}, counters)
                continue
            pods[key] = PodMetrics(key, 5.0, self.values(pod), counters, self.histograms(pod))
        # A gateway holds nothing for services that may sleep; of others there is none.
        held = {("llm", name): 0.0 for name, spec in self.services.items() if spec.min_replicas == 0}
        return MetricsSnapshot(MetricsHealth(ok=True), 60.0, 30.0, pods, held)

    def values(self, pod: Pod) -> dict[Signal, float]:
        points = [point for point, _ in pod.history]
        mean = lambda pick: sum(pick(point) for point in points) / len(points)  # noqa: E731
        rate, batch = round(mean(lambda p: p.rate), 4), round(mean(lambda p: p.batch), 4)
        capacity = self.kv_capacity or self.engine(pod.variant, pod.cap).model.kv_capacity
        context = self.load.resident
        waiting = pod.history[-1][1]
        return {
            Signal.RUNNING: round(points[-1].batch, 3),
            Signal.WAITING: waiting if waiting > 0.5 else 0.0,
            Signal.DECODING_SEQUENCES: batch,
            Signal.STEP_SECONDS: mean(lambda p: p.inter_token),
            Signal.STEPS_PER_SECOND: min(1.0, batch) / mean(lambda p: p.inter_token) if rate > 0 else 0.0,
            Signal.PROMPT_TOKENS_PER_SECOND: rate * self.load.input_tokens,
            Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 0.0,
            Signal.GENERATION_TOKENS_PER_SECOND: rate * self.load.output_tokens,
            Signal.FINISHED_PER_SECOND: rate,
            Signal.FINISHED_INPUT_TOKENS_PER_SECOND: rate * self.load.input_tokens,
            Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: rate * self.load.output_tokens,
            Signal.PREEMPTIONS_PER_SECOND: self.preemptions,
            Signal.KV_CAPACITY_TOKENS: capacity,
            Signal.KV_USAGE: min(1.0, points[-1].batch * context / capacity),
            Signal.GPU_UTILIZATION: min(1.0, batch / 4),
            Signal.TTFT_MEAN_SECONDS: mean(lambda p: p.ttft),
        }

    def histograms(self, pod: Pod) -> dict[LatencyKind, Histogram]:
        if not self.with_histograms:
            return {}
        point, waiting = pod.history[-1]
        delay = waiting / point.rate if point.rate > 0 else 0.0
        return {
            LatencyKind.TIME_PER_OUTPUT_TOKEN: spread(point.inter_token, point.rate, sigma=self.wide),
            LatencyKind.TTFT: spread(point.ttft + delay, point.rate, sigma=0.4),
        }

    # -- the loop --------------------------------------------------------------------------------------------

    def view(self, name: str) -> ServiceView:
        deployment = self.deployments[name]
        workload = WorkloadFact(
            deployment.spec.workload,
            f"uid-{name}",
            deployment.replicas,
            deployment.gpus,
            settled=deployment.settled,
            cap=deployment.cap,
            replicas_manager=deployment.manager,
            foreign_autoscaler=deployment.autoscaler,
            resource_version=str(deployment.version),
            placement=deployment.placement,
            engine=deployment.engine,
        )
        facts = tuple(pod.fact(deployment.spec.workload) for pod in self.pods if pod.variant == name)
        return ServiceView(self.services[name], (VariantView(deployment.spec, workload, facts),))

    def world(self) -> World:
        pools = tuple(
            PoolView(pool, tuple(node for node in self.nodes if pool.selects(node.labels))) for pool in self.pools
        )
        views = tuple(self.view(name) for name in self.services)
        pods = tuple(pod for view in views for variant in view.variants for pod in variant.pods)
        return World(views, pools, pods, {"default": self.metrics()}, self.catalog, self.settings)

    def apply(self, plan: Plan) -> None:
        by_target = {deployment.spec.workload: deployment for deployment in self.deployments.values()}
        for action in plan.actions:
            self.actions.append((self.now - START, action))
            if isinstance(action, SetReplicas):
                deployment = by_target[action.target]
                assert action.resource_version == str(deployment.version)
                deployment.replicas, deployment.manager = action.desired, "pertoken-scaler"
                deployment.version += 1
            elif isinstance(action, SetBatchCap):
                deployment = by_target[action.target]
                deployment.cap = cap_after(action, deployment.cap, self.now)
            elif isinstance(action, CompleteBatchCap):
                deployment = by_target[action.target]
                deployment.cap = replace(deployment.cap, completed=True)
            elif isinstance(action, EvictPod):
                pod = next(pod for pod in self.pods if f"uid-{pod.name}" == action.uid)
                assert pod.deleted is None
                pod.deleted = self.now

    def step(self) -> Plan:
        self.reconcile()
        self.serve(self.settings.cycle_seconds)
        plan, self.saved = account_and_plan(self.world(), self.saved, self.now, results=self.results)
        if self.act:
            self.apply(plan)
        self.last = plan
        self.now += self.settings.cycle_seconds
        return plan

    def run(self, seconds: float, watch=None) -> Plan:
        until = self.now + seconds
        while self.now < until:
            plan = self.step()
            if watch is not None:
                watch(self, plan)
        return self.last

    def replicas(self, name: str = "chat") -> int:
        return self.deployments[name].replicas

    def decision(self, name: str = "chat"):
        return next(d for d in self.last.decisions if d.service.name == name)


def plant(
    *names: str, rate: float = 10.0, replicas: int = 2, gpus: int = 16, cap: int | None = None, **changes
) -> Plant:
    """A cluster with one pool of 8-GPU nodes and one-variant services that have been serving for an hour."""
    names = names or ("chat",)
    services = {name: service_spec(name) for name in names}
    nodes = [node(f"n{index}", min(8, gpus - 8 * index)) for index in range(-(-gpus // 8))]
    fleet = Plant(
        services=services,
        deployments={
            name: Deployment(
                services[name].variants[0], replicas, cap=None if cap is None else BatchCap(cap), manager="kubectl"
            )
            for name in names
        },
        nodes=nodes,
        pools=[pool_spec()],
        rates=dict.fromkeys(names, rate),
    )
    for key, value in changes.items():
        assert hasattr(fleet, key), key
        setattr(fleet, key, value)
    serving_since(fleet, START - 3600)
    return fleet


def serving_since(fleet: Plant, then: float) -> None:
    """Pods that were created then and have long been Ready."""
    fleet.now = then
    fleet.reconcile()
    fleet.now = then + fleet.start_seconds
    fleet.reconcile()
    fleet.now = START


def generic(spec: ServiceSpec) -> ServiceSpec:
    """The same service on an engine of which no model is known."""
    variants = tuple(replace(variant, engine=EngineKind.GENERIC) for variant in spec.variants)
    return replace(spec, variants=variants, model=ModelSpec("", spec.key.name))
