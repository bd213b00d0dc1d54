"""A large cluster as the operator's inventory holds it, and what its engines tell from cycle to cycle.

Services differ in model, pools, lengths of requests and load. Their demand is an autoregressive series with noise, so
that every figure of every pod is another in each cycle: nothing may be skipped because inputs repeat.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from pertoken.adapters.prometheus.engines import VLLM
from pertoken.catalog.lookup import SHIPPED
from pertoken.control.facts import NamespaceFact, ReplicaSetFact
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import PoolObject, ServiceObject
from pertoken.control.workloads import ScalableFact, scalable_fact
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.plan import Plan, SetReplicas
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import (
    Batching,
    CostObjective,
    LatencyObjective,
    Mode,
    ModelSpec,
    PriceList,
    ServiceSpec,
    VariantSpec,
)
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.performance.steady import (
    Engine,
    Load,
    OperatingPoint,
    Sustainable,
    Targets,
    at_batch,
    at_rate,
    sustainable_rate,
)
from pertoken.performance.step_time import NO_GAINS, engine_model

START: Final = 1_800_000_000.0
CYCLE: Final = 15.0
WINDOW: Final = 60.0
RESOURCE: Final = "nvidia.com/gpu"
MODELS: Final = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
)
GPUS: Final = (  # with USD per hour
    ("l40s", "1.10"),
    ("a100-sxm-80gb", "2.00"),
    ("h100-sxm", "3.20"),
    ("h200-sxm", "4.00"),
    ("b200-sxm", "5.50"),
    ("a100-pcie-40gb", "1.40"),
)
EDGES: Final = {
    LatencyKind.TTFT: (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, 160.0, math.inf),
    ),
    LatencyKind.TIME_PER_OUTPUT_TOKEN: (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, math.inf),
    ),
}
TARGETS: Final = Targets(0.05, 2.0)
PODS_AS: Final = "apps/v1"


@dataclass(frozen=True, slots=True)
class Size:
    """How large the cluster is; `gpus` of each node."""

    services: int
    variants: int = 2
    pools: int = 6
    nodes: int = 500
    gpus: int = 8


@dataclass(slots=True)
class Served:
    """One service with its traffic.

    Attributes:
        rate: mean requests per second.
        level: factor on it now, whose logarithm is an autoregressive series.
        carried: requests per second that one replica of each variant sustains.
        points: operating point of each variant's replicas at the mean rate.
        pods: with the index of their variant.
    """

    spec: ServiceSpec
    load: Load
    rate: float
    engines: tuple[Engine, ...]
    carried: tuple[float, ...]
    replicas: list[int]
    level: float = 1.0
    points: tuple[OperatingPoint | None, ...] = ()
    pods: list[tuple[PodFact, int]] = field(default_factory=list)

    def balance(self) -> None:
        """Share the mean rate out over the replicas, by what each carries."""
        whole = sum(count * each for count, each in zip(self.replicas, self.carried, strict=True))
        shares = [self.rate * each / whole for each in self.carried]
        self.points = tuple(
            at_rate(engine, self.load, share) or at_batch(engine, self.load, 128.0)
            for engine, share in zip(self.engines, shares, strict=True)
        )


class FleetWorld:
    """The cluster; `advance` lets one cycle pass."""

    def __init__(self, size: Size, seed: int = 0) -> None:
        self.size = size
        self.now = START
        self._draw = random.Random(seed)  # noqa: S311 - traffic, no secrets
        self.pools = tuple(_pool(index) for index in range(size.pools))
        self.served = [self._service(index) for index in range(size.services)]
        self._totals: dict[PodKey, list[float]] = {}
        self._serial = 0
        self._by_target = {
            variant.workload: (served, index)
            for served in self.served
            for index, variant in enumerate(served.spec.variants)
        }
        self._place()
        self._snapshot = self._objects()

    def advance(self) -> None:
        """The next cycle: demand has moved."""
        self.now += CYCLE
        for served in self.served:
            served.level = self.moved(served.level)

    def moved(self, level: float) -> float:
        """The next value of a service's level."""
        return math.exp(0.95 * math.log(level) + self._draw.gauss(0.0, 0.06))

    def noise(self) -> float:
        """Of one figure around its mean."""
        return math.exp(self._draw.gauss(0.0, 0.05))

    def snapshot(self) -> Snapshot:
        """The inventory's; its objects stay as they are."""
        return self._snapshot

    def metrics(self) -> Mapping[str, MetricsSnapshot]:
        """What all engines tell now."""
        pods = {metrics.pod: metrics for served in self.served for metrics in self._told(served)}
        healthy = MetricsHealth(ok=True)
        return {"default": MetricsSnapshot(healthy, WINDOW, 30.0, pods, offers={VLLM.name: VLLM.offer})}

    # -- services --------------------------------------------------------------------------------------------------

    def _service(self, index: int) -> Served:
        draw, size = self._draw, self.size
        namespace, name = f"team-{index % 50:02d}", f"svc-{index:05d}"
        model = MODELS[draw.randrange(len(MODELS))]
        load = Load(draw.lognormvariate(math.log(900), 0.6), draw.lognormvariate(math.log(220), 0.5))
        pools = draw.sample(self.pools, size.variants)
        variants = tuple(_variant(name, namespace, pool) for pool in pools)
        key = ServiceKey(namespace, name)
        prices = PriceList(Decimal("0.15"), Decimal("0.05"), Decimal("0.60"))
        spec = ServiceSpec(
            key=key,
            uid=f"uid-{name}",
            generation=1,
            model=ModelSpec(model, name),
            variants=variants,
            mode=Mode.AUTO,
            cost=CostObjective(prices, window_seconds=86_400),
            latency=LatencyObjective(ttft_seconds=TARGETS.ttft, inter_token_seconds=TARGETS.inter_token),
            priority=draw.choice((0, 0, 0, 10, 20)),
        )
        replicas = self._counts()
        engines = [_engine(model, pool) for pool in pools]
        carried = [sustainable_rate(engine, load, TARGETS) for engine in engines]
        rates = [one.rate if isinstance(one, Sustainable) else 0.5 for one in carried]
        rate = draw.uniform(0.35, 0.75) * sum(count * each for count, each in zip(replicas, rates, strict=True))
        served = Served(spec, load, rate, tuple(engines), tuple(rates), replicas)
        served.balance()
        return served

    def _counts(self) -> list[int]:
        """Replicas by variant: most services have one or two in all."""
        first = self._draw.choices((1, 2, 3), (80, 15, 5))[0]
        others = [self._draw.choices((0, 1), (85, 15))[0] for _ in range(self.size.variants - 1)]
        return [first, *others]

    def _place(self) -> None:
        """Give every pod a node of its pool; nodes are as large as it takes to leave a fifth of every pool free."""
        wanted = dict.fromkeys((pool.name for pool in self.pools), 0)
        for served in self.served:
            for variant, count in zip(served.spec.variants, served.replicas, strict=True):
                wanted[variant.pool] += count
        per_pool = self.size.nodes // self.size.pools
        gpus = max(self.size.gpus, math.ceil(1.2 * max(wanted.values()) / per_pool))
        self.nodes = tuple(
            NodeFact(f"{pool.name}-n{number:03d}", {"pool": pool.name}, {RESOURCE: gpus})
            for pool in self.pools
            for number in range(per_pool)
        )
        self._slots = {
            pool.name: [f"{pool.name}-n{number:03d}" for number in reversed(range(per_pool)) for _ in range(gpus)]
            for pool in self.pools
        }
        for served in self.served:
            for index, count in enumerate(served.replicas):
                for _ in range(count):
                    self._add_pod(served, index)

    def _add_pod(self, served: Served, index: int) -> None:
        variant, self._serial = served.spec.variants[index], self._serial + 1
        node = self._slots[variant.pool].pop()
        served.pods.append((_pod(served.spec, variant, self._serial, node), index))

    def _remove_pod(self, served: Served, index: int) -> None:
        place = max(place for place, (_, at) in enumerate(served.pods) if at == index)
        pod, _ = served.pods.pop(place)
        self._slots[served.spec.variants[index].pool].append(pod.node or "")

    def carry_out(self, plan: Plan) -> None:
        """Replicas that were ordered have been serving for long, those that were withdrawn are gone."""
        for action in plan.actions:
            if isinstance(action, SetReplicas):
                served, index = self._by_target[action.target]
                for _ in range(served.replicas[index], action.desired):
                    self._add_pod(served, index)
                for _ in range(action.desired, served.replicas[index]):
                    self._remove_pod(served, index)
                served.replicas[index] = action.desired
                served.balance()
        self._snapshot = self._objects()

    # -- objects ---------------------------------------------------------------------------------------------------

    def _objects(self) -> Snapshot:
        specs = [served.spec for served in self.served]
        namespaces = sorted({spec.key.namespace for spec in specs})
        return Snapshot(
            services=tuple(ServiceObject(s.key, s.uid, 1, deleting=False, spec=s, created_at=START) for s in specs),
            pools=tuple(PoolObject(pool.name, f"uid-{pool.name}", 1, START, pool) for pool in self.pools),
            pods=tuple(pod for served in self.served for pod, _ in served.pods),
            nodes=self.nodes,
            namespaces=tuple(NamespaceFact(name, {"team": name}) for name in namespaces),
            deployments=tuple(
                _deployment(variant, count)
                for served in self.served
                for variant, count in zip(served.spec.variants, served.replicas, strict=True)
            ),
            replicasets=tuple(
                _replicaset(variant, count)
                for served in self.served
                for variant, count in zip(served.spec.variants, served.replicas, strict=True)
            ),
        )

    # -- metrics ---------------------------------------------------------------------------------------------------

    def _told(self, served: Served) -> Iterator[PodMetrics]:
        for pod, index in served.pods:
            point = served.points[index]
            if point is not None:
                yield self._pod_metrics(pod.key, served, point)

    def _pod_metrics(self, key: PodKey, served: Served, point: OperatingPoint) -> PodMetrics:
        load, factor = served.load, served.level * self.noise()
        rate, batch = point.rate * factor, point.batch * factor
        step = point.inter_token * (1.0 + 0.2 * (factor - 1.0)) * math.exp(self._draw.gauss(0.0, 0.02))
        ttft = point.ttft * self.noise()
        inputs, outputs = load.input_tokens * self.noise(), load.output_tokens * self.noise()
        totals = self._totals.setdefault(key, [0.0, 0.0, 0.0, 0.0])
        done = rate * CYCLE
        for place, more in enumerate((done, done * inputs, done * outputs, 0.1 * done * inputs)):
            totals[place] += more
        capacity = 400_000.0
        values = {
            Signal.RUNNING: float(round(batch)),
            Signal.WAITING: 0.0,
            Signal.DECODING_SEQUENCES: batch,
            Signal.STEP_SECONDS: step,
            Signal.STEPS_PER_SECOND: min(1.0, batch) / step,
            Signal.PROMPT_TOKENS_PER_SECOND: rate * inputs,
            Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 0.1 * rate * inputs,
            Signal.GENERATION_TOKENS_PER_SECOND: rate * outputs,
            Signal.FINISHED_PER_SECOND: rate,
            Signal.FINISHED_INPUT_TOKENS_PER_SECOND: rate * inputs,
            Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: rate * outputs,
            Signal.PREEMPTIONS_PER_SECOND: 0.0,
            Signal.KV_CAPACITY_TOKENS: capacity,
            Signal.KV_USAGE: min(1.0, batch * load.resident / capacity),
            Signal.GPU_UTILIZATION: min(1.0, batch / 4),
            Signal.TTFT_MEAN_SECONDS: ttft,
        }
        counters = dict(
            zip(
                (
                    Counter.FINISHED_REQUESTS,
                    Counter.FINISHED_INPUT_TOKENS,
                    Counter.FINISHED_OUTPUT_TOKENS,
                    Counter.CACHED_INPUT_TOKENS,
                ),
                totals,
                strict=True,
            )
        )
        histograms = {
            LatencyKind.TTFT: _spread(LatencyKind.TTFT, ttft, rate, 0.5),
            LatencyKind.TIME_PER_OUTPUT_TOKEN: _spread(LatencyKind.TIME_PER_OUTPUT_TOKEN, step, rate, 0.2),
        }
        return PodMetrics(key, 5.0, values, counters, histograms, VLLM.name)


def _pool(index: int) -> PoolSpec:
    gpu, price = GPUS[index % len(GPUS)]
    name = gpu if index < len(GPUS) else f"{gpu}-{index}"
    return PoolSpec(
        name, gpu, price_per_gpu_hour=Decimal(price), node_selector=(("pool", name),), provisioning_seconds=300
    )


def _variant(service: str, namespace: str, pool: PoolSpec) -> VariantSpec:
    ref = WorkloadRef("apps/v1", "Deployment", namespace, f"{service}-{pool.name}")
    return VariantSpec(
        pool.name, pool.name, ref, owned=False, min_replicas=0, max_replicas=6, batching=Batching(max_sequences=256)
    )


def _engine(model: str, pool: PoolSpec) -> Engine:
    parallelism = VariantSpec("", "", WorkloadRef("", "", "", ""), owned=False).parallelism
    return Engine(engine_model(SHIPPED.model(model), SHIPPED.gpu(pool.accelerator), parallelism), NO_GAINS, 256)


def _pod(spec: ServiceSpec, variant: VariantSpec, number: int, node: str) -> PodFact:
    name = f"{variant.workload.name}-7d9f-{number:05d}"
    began = START - 86_400.0
    return PodFact(
        PodKey(spec.key.namespace, name),
        f"uid-{name}",
        {RESOURCE: 1},
        {"pod-template-hash": "7d9f", "app": spec.key.name},
        WorkloadRef(PODS_AS, "ReplicaSet", spec.key.namespace, f"{variant.workload.name}-7d9f"),
        node=node,
        created_at=began,
        bound_at=began + 1.0,
        engine_started_at=began + 20.0,
        ready_at=began + 100.0,
    )


def _deployment(variant: VariantSpec, replicas: int) -> ScalableFact:
    ref = variant.workload
    container: dict[str, Any] = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.32.0",
        "command": ["vllm", "serve", "model"],
        "args": ["--max-num-seqs=256", "--max-num-batched-tokens=2048"],
        "resources": {"limits": {RESOURCE: "1"}},
    }
    pod = {"containers": [container], "nodeSelector": {"pool": variant.pool}}
    return scalable_fact(
        {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "metadata": {
                "name": ref.name,
                "namespace": ref.namespace,
                "uid": f"uid-{ref.name}",
                "resourceVersion": "1",
                "generation": 1,
                "managedFields": [{"manager": "pertoken-scaler", "fieldsV1": {"f:spec": {"f:replicas": {}}}}],
            },
            "spec": {"replicas": replicas, "template": {"spec": pod}},
            "status": {
                "observedGeneration": 1,
                "replicas": replicas,
                "readyReplicas": replicas,
                "updatedReplicas": replicas,
            },
        }
    )


def _replicaset(variant: VariantSpec, replicas: int) -> ReplicaSetFact:
    ref = variant.workload
    return ReplicaSetFact(ref.namespace, f"{ref.name}-7d9f", f"uid-{ref.name}-7d9f", ref, replicas, 1)


def _spread(kind: LatencyKind, mean: float, rate: float, sigma: float) -> Histogram:
    """A log-normal distribution around a mean."""
    edges, reach = EDGES[kind], sigma * math.sqrt(2)
    below = (1.0 if math.isinf(e) else 0.5 * (1.0 + math.erf(math.log(e / mean) / reach)) for e in edges)
    return Histogram(edges, tuple(rate * share for share in below))
