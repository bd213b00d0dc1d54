"""Work items of the planner for one service, to be bent by each test: values that are valid together, no loop.

The service is that of `lab`: an 8B model on A100s, requests of 1000 and 200 tokens, five requests per second on every
replica, of about 7.8 that it sustains. What is not named is as on a quiet day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from lab import GPU, MODEL, START, node, pool_spec, service_spec, spread, variant_spec

from pertoken.catalog.lookup import SHIPPED, Catalog
from pertoken.domain.cluster import PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.cost import CostState
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.domain.signal import Histogram, LatencyKind, Signal
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, VariantView, World
from pertoken.forecast.demand import DemandSample
from pertoken.performance.steady import Engine, Load, at_rate
from pertoken.performance.step_time import Gains, engine_model
from pertoken.planner.assessment import Assessment, Grade
from pertoken.planner.gather import gather
from pertoken.planner.grant import NOTHING_GRANTED, Grant
from pertoken.planner.memory import Memory, PoolMemory, ServiceMemory, Shape, VariantMemory, backoff_key
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Proposal, Stance, Status, VariantProposal, begun
from pertoken.planner.service_state import ServiceState
from pertoken.planner.settle import settle
from pertoken.planner.settlement import Settlement

NOW = START
CYCLE = 15.0
WINDOW = 60.0
LOAD = Load(1000.0, 200.0)
H100 = {"accelerator": "h100-sxm", "price_per_gpu_hour": Decimal(30)}  # a dear pool
ENGINE = Engine(engine_model(SHIPPED.model(MODEL), SHIPPED.gpu(GPU), variant_spec().parallelism), Gains(), 256)


def pod(name: str = "a100-0", *, served: float | None = 3600.0, **changes: Any) -> PodFact:
    """A pod that has been Ready for `served` seconds; with None it got its node ten seconds ago."""
    began = NOW - (10.0 if served is None else served + 60.0)
    fact = PodFact(
        PodKey("llm", name),
        f"uid-{name}",
        {"nvidia.com/gpu": 1},
        {"pod-template-hash": "abc"},
        node="n0",
        created_at=began,
        bound_at=began,
        engine_started_at=began,
        ready_at=None if served is None else NOW - served,
    )
    return replace(fact, **changes)


def signals(rate: float, waiting: float = 0.0) -> dict[Signal, float]:
    """What a pod at `rate` requests per second tells; with a queue it works as before and `waiting` requests wait."""
    point = at_rate(ENGINE, LOAD, rate)
    assert point is not None, "more than an engine can do"
    return {
        Signal.RUNNING: point.batch,
        Signal.WAITING: waiting,
        Signal.DECODING_SEQUENCES: point.batch,
        Signal.STEP_SECONDS: point.inter_token,
        Signal.PROMPT_TOKENS_PER_SECOND: rate * LOAD.input_tokens,
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 0.0,
        Signal.GENERATION_TOKENS_PER_SECOND: rate * LOAD.output_tokens,
        Signal.FINISHED_PER_SECOND: rate,
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: rate * LOAD.input_tokens,
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: rate * LOAD.output_tokens,
        Signal.PREEMPTIONS_PER_SECOND: 0.0,
        Signal.KV_CAPACITY_TOKENS: ENGINE.model.kv_capacity,
        Signal.KV_USAGE: min(1.0, point.batch * LOAD.resident / ENGINE.model.kv_capacity),
        Signal.GPU_UTILIZATION: min(1.0, point.batch / 4),
        Signal.TTFT_MEAN_SECONDS: point.ttft,
    }


def histograms(rate: float, ttft: float = 0.1, inter_token: float = 0.012) -> dict[LatencyKind, Histogram]:
    """Narrow distributions around these means in seconds."""
    return {
        LatencyKind.TIME_PER_OUTPUT_TOKEN: spread(inter_token, rate),
        LatencyKind.TTFT: spread(ttft, rate, sigma=0.4),
    }


@dataclass(frozen=True)
class Variant:
    """One variant and what its pods tell.

    Attributes:
        ready: replicas that serve, of `replicas`; the others got their nodes ten seconds ago.
        pods: instead of those.
        rate: requests per second on every serving pod.
        tells: signals of every serving pod that are other than `rate` says; None for one that is not told.
        latency: means in seconds by `histograms`' names; None where no pod tells histograms.
        silent: how many serving pods have no series.
        workload: fields of the WorkloadFact; or a WorkloadMissing.
        samples: observations of the calibration.
        pool: fields of its pool.
        backoff_until: the pool could not schedule its pods lately.
    """

    spec: VariantSpec = field(default_factory=variant_spec)
    replicas: int = 2
    ready: int | None = None
    pods: Sequence[PodFact] | None = None
    rate: float = 5.0
    tells: Mapping[Signal, float | None] = field(default_factory=dict)
    latency: Mapping[str, float] | None = field(default_factory=dict)
    silent: int = 0
    workload: Mapping[str, Any] | WorkloadMissing = field(default_factory=dict)
    memory: VariantMemory = field(default_factory=VariantMemory)
    samples: int = 100
    pool: Mapping[str, Any] = field(default_factory=dict)
    backoff_until: float = 0.0

    @property
    def facts(self) -> tuple[PodFact, ...]:
        if self.pods is not None:
            return tuple(self.pods)
        ready = self.replicas if self.ready is None else self.ready
        names = [f"{self.spec.name}-{index}" for index in range(self.replicas)]
        return tuple(pod(name, served=3600.0 if index < ready else None) for index, name in enumerate(names))

    @property
    def view(self) -> VariantView:
        if isinstance(self.workload, WorkloadMissing):
            return VariantView(self.spec, self.workload, ())
        fact = WorkloadFact(self.spec.workload, f"uid-{self.spec.name}", self.replicas, 1, resource_version="1")
        return VariantView(self.spec, replace(fact, **self.workload), self.facts)

    def series(self) -> dict[PodKey, PodMetrics]:
        values = {**signals(self.rate), **self.tells}
        told = {signal: value for signal, value in values.items() if value is not None}
        shown = {} if self.latency is None else histograms(self.rate, **self.latency)
        serving = [fact for fact in self.facts if fact.ready_at is not None and fact.deleted_at is None]
        return {fact.key: PodMetrics(fact.key, 5.0, told, {}, shown) for fact in serving[self.silent :]}


def samples(*rates: float, backlog: float = 0.0) -> tuple[DemandSample, ...]:
    """Demand in requests per second, one sample per cycle, the last one a cycle ago."""
    first = NOW - CYCLE * len(rates)
    return tuple(
        DemandSample(first + CYCLE * index, rate, rate * LOAD.input_tokens, rate * LOAD.output_tokens, backlog)
        for index, rate in enumerate(rates)
    )


def world_of(
    *variants: Variant,
    metrics: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    catalog: Catalog = SHIPPED,
    view: Mapping[str, Any] | None = None,
    **spec: Any,
) -> World:
    """A world of this one service; `metrics` are fields of the snapshot, `view` of the ServiceView."""
    variants = variants or (Variant(),)
    service: ServiceSpec = service_spec(variants=tuple(variant.spec for variant in variants), **spec)
    specs = {variant.spec.pool: pool_spec(variant.spec.pool, **variant.pool) for variant in reversed(variants)}
    pools = tuple(PoolView(specs[name], (node("n0", 8, name),)) for name in sorted(specs))
    series = {key: told for variant in variants for key, told in variant.series().items()}
    seen = replace(MetricsSnapshot(MetricsHealth(ok=True), WINDOW, 30.0, series), **(metrics or {}))
    shown = replace(ServiceView(service, tuple(variant.view for variant in variants)), **(view or {}))
    facts = tuple(fact for variant in shown.variants for fact in variant.pods)
    limits = replace(PlannerSettings(), **(settings or {}))
    return World((shown,), pools, facts, {"default": seen}, catalog, limits)


def memory_of(*variants: Variant, demand: Sequence[float] | None = None, **changes: Any) -> Memory:
    """What is remembered of the service: an hour of fresh metrics, the mean request, ten minutes of steady demand."""
    variants = variants or (Variant(),)
    key = service_spec().key
    serving = sum(variant.rate * len(variant.series()) for variant in variants)
    remembered = ServiceMemory(
        "uid-chat",
        NOW - 3600.0,
        NOW - 3600.0,
        Shape(LOAD.input_tokens, LOAD.output_tokens),
        samples(*([serving] * 41 if demand is None else demand)),
        variants={variant.spec.name: variant.memory for variant in variants},
    )
    refused = {
        backoff_key(variant.spec.pool, key, variant.spec.name): PoolMemory(variant.backoff_until, 1)
        for variant in variants
        if variant.backoff_until
    }
    return Memory({str(key): replace(remembered, **changes)}, refused, NOW - CYCLE)


def service_state(
    *variants: Variant,
    demand: Sequence[float] | None = None,
    memory: Mapping[str, Any] | None = None,
    account: CostState | None = None,
    **world: Any,
) -> ServiceState:
    """One service in this cycle.

    Args:
        variants: by default one, `Variant()`.
        demand: requests per second of the last cycles, oldest first; by default what is served now, for ten minutes.
        memory: fields of the ServiceMemory.
        account: of its cost window; none by default.
        world: see `world_of`.
    """
    variants = variants or (Variant(),)
    seen = world_of(*variants, **world)
    if account is not None:
        seen = replace(seen, costs={seen.services[0].spec.key: account})
    state = gather(seen.services[0], seen, memory_of(*variants, demand=demand, **(memory or {})), NOW)
    learnt = {variant.spec.name: variant.samples for variant in variants}
    calibrated = {
        variant.name: replace(
            variant.memory, calibration=replace(variant.memory.calibration, samples=learnt[variant.name])
        )
        for variant in state.variants
    }
    return state.with_memory(replace(state.memory, variants={**state.memory.variants, **calibrated}))


def assessment(grade: Grade = Grade.NORMAL, **changes: Any) -> Assessment:
    """What metrics of this grade allow."""
    told = Condition(Verdict.TRUE, Reason.METRICS_FRESH, "2 pods, oldest sample 5 s")
    return replace(Assessment(grade, told, NOW - 3600.0), **changes)


def proposal(
    *variants: Variant,
    wants: Sequence[int] | None = None,
    grade: Grade = Grade.NORMAL,
    status: Status = Status.FREE,
    stance: Stance | None = None,
    **state: Any,
) -> Proposal:
    """The service on its way through the first half; `wants` are replicas by variant, by default those that are."""
    now = service_state(*variants, **state)
    counts = [variant.steady for variant in now.variants] if wants is None else wants
    asked = (
        VariantProposal(variant, count, Reason.AT_DESIRED, status, sized=count)
        for variant, count in zip(now.variants, counts, strict=True)
    )
    assessed = replace(begun(now).with_variants(asked), assessment=assessment(grade))
    return assessed if stance is None else replace(assessed, stance=stance)


def pool_state(free: Sequence[int] = (8,), committed: Mapping[int, int] | None = None, **spec: Any) -> PoolState:
    """A pool of one node for each number of free GPUs."""
    nodes = {f"n{index}": gpus for index, gpus in enumerate(free)}
    return PoolState(pool_spec(**spec), sum(free), 0, nodes, dict(committed or {}))


def settlement(
    asked: Proposal | None = None, grant: Grant = NOTHING_GRANTED, pools: Mapping[str, PoolState] | None = None
) -> Settlement:
    """The service at the beginning of the second half."""
    return settle(asked or proposal(), grant, {"a100": pool_state()} if pools is None else pools)
