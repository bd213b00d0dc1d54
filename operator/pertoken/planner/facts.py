"""One service as the planner sees it in this cycle: pods sorted by state, metrics summed, model looked up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pertoken.catalog.architecture import Fact, from_config
from pertoken.catalog.lookup import Catalog, Unknown, quantization_of
from pertoken.domain.cluster import PodFact, WorkloadFact, WorkloadMissing, pods_per_replica
from pertoken.domain.cost import CostState, no_account
from pertoken.domain.metrics import MetricsSnapshot, PodMetrics
from pertoken.domain.plan import Step
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Engine as EngineKind
from pertoken.domain.service import ModelSpec, ServiceSpec, VariantSpec
from pertoken.domain.signal import Histogram, LatencyKind, Signal
from pertoken.domain.world import PlannerSettings, ServiceView, VariantView, World
from pertoken.forecast.demand import DemandSample
from pertoken.performance.calibrate import for_key
from pertoken.performance.histogram import merge
from pertoken.performance.steady import Engine, Load, Targets
from pertoken.performance.step_time import EngineModel, engine_model
from pertoken.planner.memory import ServiceMemory, VariantMemory
from pertoken.planner.place import alive

SEASON_WINDOWS = 2.0  # of service before a pod's latencies are its own


@dataclass(slots=True)
class Trace:
    """Collects the steps of one decision."""

    steps: list[Step] = field(default_factory=list)

    def add(self, stage: str, change: tuple[object, object], reason: Reason, **detail: object) -> None:
        """Note what a stage was given and what it handed on."""
        before, after = change
        texts = {name: _text(value) for name, value in detail.items() if value is not None}
        self.steps.append(Step(stage, _text(before), _text(after), reason, texts))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """One variant in this cycle.

    Attributes:
        living: pods that exist and are to stay.
        ready: replicas that serve.
        starting: replicas on the way.
        measured: metrics of serving pods, fresh ones only.
        flowing: the same with pods that are on their way out and still serve what they have.
        silent: replicas that have served for a whole rate window and have no fresh metrics.
        base_model: step-time coefficients, None when model or GPU is not known or the engine is generic.
        engine: the same with gains, cap and KV capacity of now.
        usd_per_hour: of one replica, None without a price.
        pods_per_replica: more than one where a replica spans several pods, of which one has metrics.
        refusal: why replicas that are asked for have no pods, in Kubernetes' words; empty if nothing is refused.
    """

    view: VariantView
    workload: WorkloadFact
    memory: VariantMemory
    pool: PoolSpec | None
    living: tuple[PodFact, ...]
    ready: int
    starting: int
    measured: tuple[PodMetrics, ...]
    flowing: tuple[PodMetrics, ...]
    silent: int
    base_model: EngineModel | None
    engine: Engine | None
    usd_per_hour: float | None
    pods_per_replica: int = 1
    refusal: str = ""

    @property
    def living_replicas(self) -> int:
        """Replicas whose pods exist and are to stay, serving or not."""
        return len(self.living) // self.pods_per_replica

    @property
    def ceiling(self) -> int:
        """Replicas that it can have: its maximum, or what exists while Kubernetes refuses more."""
        return min(self.spec.max_replicas, self.living_replicas) if self.refusal else self.spec.max_replicas

    @property
    def spec(self) -> VariantSpec:
        """What the user asked for."""
        return self.view.spec

    @property
    def name(self) -> str:
        """Of the variant."""
        return self.view.spec.name

    @property
    def current(self) -> int:
        """spec.replicas."""
        return self.workload.replicas

    @property
    def steady(self) -> int:
        """Replicas without the extra one of a rolling cap change."""
        roll = self.memory.roll
        return self.current - 1 if roll is not None and roll.surge and self.current > roll.base else self.current

    @property
    def ranks(self) -> int:
        """Data-parallel engines in one replica."""
        return max(1, self.view.spec.parallelism.data)

    def total(self, signal: Signal) -> float | None:
        """Sum over the measured pods; None when no pod tells."""
        values = [metrics.values[signal] for metrics in self.measured if signal in metrics.values]
        return sum(values) if values else None

    def seen(self, signal: Signal) -> float:
        """Sum over the measured pods that tell. It may be more: only a rise may rest on it."""
        return sum(metrics.values[signal] for metrics in self.measured if signal in metrics.values)

    def mean(self, signal: Signal) -> float | None:
        """Mean over the measured pods; None when no pod tells."""
        values = [metrics.values[signal] for metrics in self.measured if signal in metrics.values]
        return sum(values) / len(values) if values else None

    def seasoned(self, now: float, window: float) -> tuple[PodMetrics, ...]:
        """Measured pods without fresh ones: a router sends those a rush of prompts, which their latencies tell of."""
        ready_at = {pod.key: pod.ready_at for pod in self.living if pod.ready_at is not None}
        return tuple(pod for pod in self.measured if now - ready_at.get(pod.pod, now) >= SEASON_WINDOWS * window)

    @property
    def batch(self) -> float | None:
        """Decoding sequences per engine."""
        mean = self.mean(Signal.DECODING_SEQUENCES)
        if mean is None:
            mean = self.mean(Signal.RUNNING)
        return None if mean is None else mean / self.ranks


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """One service in this cycle.

    Attributes:
        missing: variants whose scale target cannot be used.
        cost: the account of its cost window.
        gateway_queue, gateway_rejections: requests held, and refused per second, before the engines; None if unknown.
        at_least: demand that is certainly there, in a cycle in which not all of it could be seen; None otherwise.
    """

    view: ServiceView
    memory: ServiceMemory
    snapshot: MetricsSnapshot | None
    catalog: Catalog
    settings: PlannerSettings
    now: float
    variants: tuple[VariantFacts, ...]
    missing: tuple[tuple[str, WorkloadMissing], ...]
    targets: Targets
    gateway_queue: float | None
    gateway_rejections: float | None
    cost: CostState
    at_least: DemandSample | None = None
    merged: dict[LatencyKind, Histogram | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def spec(self) -> ServiceSpec:
        """What the user asked for."""
        return self.view.spec

    @property
    def window(self) -> float:
        """Rate window in seconds."""
        return 60.0 if self.snapshot is None else self.snapshot.window_seconds

    @property
    def load(self) -> Load | None:
        """The mean request, None before any has finished."""
        shape = self.memory.shape
        if shape is None:
            return None
        return Load(shape.input_tokens, shape.output_tokens, shape.cached_share, shape.context).rounded()

    def total(self, signal: Signal) -> float | None:
        """Sum over all variants; None when no pod tells."""
        values = [value for variant in self.variants if (value := variant.total(signal)) is not None]
        return sum(values) if values else None

    @property
    def flowing(self) -> tuple[PodMetrics, ...]:
        """Metrics of all pods that still serve something."""
        return tuple(metrics for variant in self.variants for metrics in variant.flowing)

    def flow(self, signal: Signal) -> float | None:
        """Sum over all pods that still serve something; None when no pod tells."""
        values = [metrics.values[signal] for metrics in self.flowing if signal in metrics.values]
        return sum(values) if values else None

    def seen(self, signal: Signal) -> float:
        """Sum over all pods that serve something and tell. It may be more: only a rise may rest on it."""
        return sum(metrics.values[signal] for metrics in self.flowing if signal in metrics.values)

    @property
    def waiting(self) -> float | None:
        """Requests that are seen to wait, in engines and at the gateway; None where nobody tells."""
        told = [value for value in (self.total(Signal.WAITING), self.gateway_queue) if value is not None]
        return sum(told) if told else None

    @property
    def backlog(self) -> float:
        """Requests that are seen to wait. It may be more: only a rise, or a refusal to shrink, may rest on it."""
        waiting = self.waiting
        return 0.0 if waiting is None else waiting

    @property
    def samples(self) -> tuple[DemandSample, ...]:
        """Demand so far; what is known to be there at least counts where the history ends below it."""
        history, now = self.memory.demand, self.at_least
        if now is None or not history:
            return history
        last = history[-1]
        more = now.input_tokens > last.input_tokens or now.output_tokens > last.output_tokens
        return (*history, now) if more and now.at > last.at else history

    def histogram(self, kind: LatencyKind) -> Histogram | None:
        """One distribution over all variants (merged once per cycle)."""
        if kind in self.merged:
            return self.merged[kind]
        found = [
            metrics.histograms[kind]
            for variant in self.variants
            for metrics in variant.measured
            if kind in metrics.histograms
        ]
        self.merged[kind] = merge(found) if found else None
        return self.merged[kind]

    def seasoned_histogram(self, kind: LatencyKind) -> Histogram | None:
        """The same without fresh pods; None when there are no others."""
        found = [
            pod.histograms[kind]
            for variant in self.variants
            for pod in variant.seasoned(self.now, self.window)
            if kind in pod.histograms
        ]
        return merge(found) if found else None

    def with_memory(self, memory: ServiceMemory) -> ServiceFacts:
        """The same facts beside another memory."""
        return replace(self, memory=memory)


def gather(view: ServiceView, world: World, memory: ServiceMemory | None, now: float) -> ServiceFacts:
    """Sort one service's facts; metrics older than the profile allows are left out."""
    spec = view.spec
    if memory is None or memory.uid != spec.uid:
        memory = ServiceMemory(uid=spec.uid, seen_since=now)
    snapshot = world.metrics.get(spec.metrics_profile)
    pools = {pool.spec.name: pool.spec for pool in world.pools}
    variants, missing = [], []
    for variant in view.variants:
        if isinstance(variant.workload, WorkloadMissing):
            missing.append((variant.spec.name, variant.workload))
            continue
        found = _variant(variant, variant.workload, snapshot, pools.get(variant.spec.pool), now)
        variants.append(_with_engine(found, spec.model, memory.variants.get(variant.spec.name), world.catalog))
    key = (spec.key.namespace, spec.model.served_name)
    latency = spec.latency
    return ServiceFacts(
        view=view,
        memory=memory,
        snapshot=snapshot,
        catalog=world.catalog,
        settings=world.settings,
        now=now,
        variants=tuple(variants),
        missing=tuple(missing),
        targets=Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile),
        gateway_queue=None if snapshot is None else snapshot.gateway_queue.get(key),
        gateway_rejections=None if snapshot is None else snapshot.gateway_rejections_per_second.get(key),
        cost=world.costs.get(spec.key) or no_account("the world has no account of this service"),
    )


def _variant(
    view: VariantView, workload: WorkloadFact, snapshot: MetricsSnapshot | None, pool: PoolSpec | None, now: float
) -> VariantFacts:
    living = tuple(sorted(alive(view.pods), key=lambda pod: pod.key))
    ready = [pod for pod in living if pod.ready]
    per_replica = pods_per_replica(workload, living, "" if pool is None else pool.resource_name)
    window = 60.0 if snapshot is None else snapshot.window_seconds
    measured = _measured(ready, snapshot)
    # A pod that became ready within the rate window has had no chance to be seen.
    expected = sum(1 for pod in ready if pod.ready_at is not None and now - pod.ready_at > window)
    price = None if pool is None else pool.price_per_gpu_hour
    hourly = None
    if pool is not None and price is not None:
        hourly = float(price * pool.gpu_fraction) * workload.gpus_per_replica
    return VariantFacts(
        view=view,
        workload=workload,
        memory=VariantMemory(),
        pool=pool,
        living=living,
        ready=len(ready) // per_replica,
        starting=max(0, workload.replicas - len(ready) // per_replica),
        measured=measured,
        flowing=_measured([*ready, *(pod for pod in view.pods if pod.terminating and not pod.ended)], snapshot),
        silent=max(0, expected // per_replica - len(measured)),
        base_model=None,
        engine=None,
        usd_per_hour=hourly,
        pods_per_replica=per_replica,
    )


def _measured(pods: Iterable[PodFact], snapshot: MetricsSnapshot | None) -> tuple[PodMetrics, ...]:
    return () if snapshot is None else snapshot.fresh(pod.key for pod in pods)


def _base_model(model: ModelSpec, variant: VariantSpec, accelerator: str, catalog: Catalog) -> EngineModel | None:
    if variant.engine is EngineKind.GENERIC or not model.id:
        return None
    gpu = catalog.known_gpu(accelerator)
    if gpu is None:
        return None
    facts: tuple[tuple[str, Fact], ...] | None = model.architecture
    row = from_config(model.id, facts) if facts else catalog.known_model(model.id)
    if row is None or isinstance(row, Unknown):
        return None
    quantization = variant.quantization
    if quantization in ("", "bf16"):
        quantization = quantization_of(model.id) or quantization
    base = engine_model(row, gpu, variant.parallelism, quantization)
    return base.with_batched_tokens(variant.batching.max_batched_tokens)


def _with_engine(facts: VariantFacts, model: ModelSpec, memory: VariantMemory | None, catalog: Catalog) -> VariantFacts:
    memory = memory or VariantMemory()
    accelerator = "" if facts.pool is None else facts.pool.accelerator
    base = _base_model(model, facts.spec, accelerator, catalog)
    key = calibration_key(facts, model, accelerator) or memory.calibration.key
    memory = replace(memory, calibration=for_key(memory.calibration, key))
    if base is None:
        return replace(facts, memory=memory)
    capacity = facts.mean(Signal.KV_CAPACITY_TOKENS)
    if capacity is not None:
        capacity /= facts.ranks
    if (capacity or base.kv_capacity) <= 0:
        # The catalog says that the weights do not fit: then the catalog is no guide here.
        return replace(facts, memory=memory)
    base = base.with_batched_tokens(facts.workload.engine.batched_tokens)
    engine = Engine(base, memory.calibration.gains, facts.workload.max_sequences, capacity)
    return replace(facts, memory=memory, base_model=base, engine=_rounded(engine))


def _rounded(engine: Engine) -> Engine:
    """Gains to half a percent, so that results can be memoised and decisions do not follow noise."""
    gains = engine.gains
    rounded = type(gains)(
        round(gains.decode * 200) / 200, round(gains.prefill * 200) / 200, round(gains.ttft_offset, 2)
    )
    capacity = None if engine.kv_capacity is None else float(round(engine.kv_capacity))
    return replace(engine, gains=rounded, kv_capacity=capacity)


def calibration_key(facts: VariantFacts, model: ModelSpec, accelerator: str) -> str:
    """What a calibration belongs to: workload, pod template, model, GPU. The batch cap is not part of it.

    Empty while there are no pods that could tell the template.
    """
    newest = max(facts.living, key=lambda pod: (pod.created_at, pod.key), default=None)
    if newest is None:
        return ""
    template = newest.labels.get("pod-template-hash") or newest.labels.get("controller-revision-hash") or ""
    parallel = facts.spec.parallelism
    shape = f"{parallel.tensor}x{parallel.pipeline}x{parallel.data}"
    return f"{facts.workload.uid}/{template}/{model.id}/{accelerator}/{shape}/{facts.spec.quantization}"
