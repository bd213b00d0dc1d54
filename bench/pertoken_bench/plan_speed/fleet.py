"""A large cluster as the operator's inventory holds it, and what its engines tell from cycle to cycle.

Services differ in model, pools, lengths of requests and load. Their demand is an autoregressive series with noise, so
that every figure of every pod is another in each cycle: nothing may be skipped because inputs repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeVar

from pertoken.adapters.prometheus.engines import VLLM
from pertoken.control.facts import NamespaceFact
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import PoolObject, ServiceObject
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot
from pertoken.domain.plan import Plan, SetReplicas
from pertoken.domain.service import (
    CostObjective,
    LatencyObjective,
    Mode,
    ModelSpec,
    PriceList,
    ServiceSpec,
    VariantSpec,
)
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
from pertoken_bench.plan_speed import objects
from pertoken_bench.plan_speed.objects import RESOURCE, START
from pertoken_bench.plan_speed.told import CYCLE, WINDOW, Engines, Noise

MODELS: Final = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
)
TARGETS: Final = Targets(0.05, 2.0)
Scaled = TypeVar("Scaled")


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
        self.noise = Noise(seed)
        self._engines = Engines(self.noise)
        self.pools = tuple(objects.pool(index) for index in range(size.pools))
        self.served = [self._service(index) for index in range(size.services)]
        self._serial = 0
        self._kept: dict[tuple[str, WorkloadRef], tuple[int, Any]] = {}
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
            served.level = self.noise.moved(served.level)

    def snapshot(self) -> Snapshot:
        """The inventory's; its objects stay as they are."""
        return self._snapshot

    def metrics(self) -> Mapping[str, MetricsSnapshot]:
        """What all engines tell now."""
        pods = {
            pod.key: self._engines.tell(pod.key, served.load, point, served.level)
            for served in self.served
            for pod, index in served.pods
            if (point := served.points[index]) is not None
        }
        healthy = MetricsHealth(ok=True)
        return {"default": MetricsSnapshot(healthy, WINDOW, 30.0, pods, offers={VLLM.name: VLLM.offer})}

    # -- services --------------------------------------------------------------------------------------------------

    def _service(self, index: int) -> Served:
        draw, size = self.noise.draw, self.size
        namespace, name = f"team-{index % 50:02d}", f"svc-{index:05d}"
        model = MODELS[draw.randrange(len(MODELS))]
        load = Load(draw.lognormvariate(math.log(900), 0.6), draw.lognormvariate(math.log(220), 0.5))
        pools = draw.sample(self.pools, size.variants)
        variants = tuple(objects.variant(name, namespace, pool) for pool in pools)
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
        engines = [objects.engine(model, pool) for pool in pools]
        carried = [sustainable_rate(engine, load, TARGETS) for engine in engines]
        rates = [each.rate if isinstance(each, Sustainable) else 0.5 for each in carried]
        rate = draw.uniform(0.35, 0.75) * sum(count * each for count, each in zip(replicas, rates, strict=True))
        served = Served(spec, load, rate, tuple(engines), tuple(rates), replicas)
        served.balance()
        return served

    def _counts(self) -> list[int]:
        """Replicas by variant: most services have one or two in all."""
        first = self.noise.draw.choices((1, 2, 3), (80, 15, 5))[0]
        others = [self.noise.draw.choices((0, 1), (85, 15))[0] for _ in range(self.size.variants - 1)]
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
        served.pods.append((objects.pod(served.spec, variant, self._serial, node), index))

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

    def _scaled(self, make: Callable[[VariantSpec, int], Scaled]) -> Iterator[Scaled]:
        """One object per variant; where its replicas are as before it is the same, as the inventory holds it."""
        for served in self.served:
            for variant, count in zip(served.spec.variants, served.replicas, strict=True):
                known = self._kept.get((make.__name__, variant.workload))
                if known is None or known[0] != count:
                    known = self._kept[make.__name__, variant.workload] = (count, make(variant, count))
                yield known[1]

    def _objects(self) -> Snapshot:
        specs = [served.spec for served in self.served]
        namespaces = sorted({spec.key.namespace for spec in specs})
        return Snapshot(
            services=tuple(ServiceObject(s.key, s.uid, 1, deleting=False, spec=s, created_at=START) for s in specs),
            pools=tuple(PoolObject(pool.name, f"uid-{pool.name}", 1, START, pool) for pool in self.pools),
            pods=tuple(pod for served in self.served for pod, _ in served.pods),
            nodes=self.nodes,
            namespaces=tuple(NamespaceFact(name, {"team": name}) for name in namespaces),
            deployments=tuple(self._scaled(objects.deployment)),
            replicasets=tuple(self._scaled(objects.replicaset)),
        )
