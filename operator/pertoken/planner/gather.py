"""Builds the state of one service from the world and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pertoken.catalog.lookup import Catalog
from pertoken.domain.cluster import PodFact, WorkloadFact, WorkloadMissing, pods_per_replica, whole_replicas
from pertoken.domain.cost import no_account
from pertoken.domain.metrics import UNKNOWN_WINDOW_SECONDS, MetricsSnapshot, PodMetrics
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ModelSpec
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.domain.world import ServiceView, VariantView, World
from pertoken.forecast.slo_knee import unlearnt
from pertoken.frozen import dataclass, replace
from pertoken.performance.calibrate import for_key
from pertoken.performance.replica import Models, replica_model
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine, Targets
from pertoken.performance.step_time import EngineModel
from pertoken.planner.cap_evidence import cap_proof, template_of
from pertoken.planner.latency import LatencyEvidence, OwedLatency, evidence
from pertoken.planner.memory import GATEWAY, Memory, ServiceMemory, VariantMemory
from pertoken.planner.pool_state import alive
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True)
class _Sight:
    """What all variants of a service are seen through."""

    snapshot: MetricsSnapshot | None
    now: float
    tuning: Tuning

    @property
    def window(self) -> float:
        return UNKNOWN_WINDOW_SECONDS if self.snapshot is None else self.snapshot.window_seconds


def gather(
    view: ServiceView,
    world: World,
    memory: Memory,
    now: float,
    tuning: Tuning = TUNING,
    results: Results | None = None,
) -> ServiceState:
    """Sort one service's facts; metrics older than the profile allows are left out."""
    results = Results() if results is None else results
    spec = view.spec
    remembered = memory.service(spec.key)
    if remembered is None or remembered.uid != spec.uid:
        remembered = ServiceMemory(uid=spec.uid, seen_since=now, knee=unlearnt(tuning.knee))
    snapshot = world.metrics.get(spec.metrics_profile)
    pools = {pool.spec.name: pool.spec for pool in world.pools}
    sight = _Sight(snapshot, now, tuning)
    variants, missing = [], []
    for variant in view.variants:
        if isinstance(variant.workload, WorkloadMissing):
            missing.append((variant.spec.name, variant.workload))
            continue
        state = _variant(variant, variant.workload, sight, pools.get(variant.spec.pool))
        known = remembered.variants.get(variant.spec.name, VariantMemory())
        proof = cap_proof(state, known.cap_proof, now, tuning)
        known = known if proof is known.cap_proof else replace(known, cap_proof=proof)
        state = _with_engine(state, spec.model, known, Models(world.catalog, results))
        refused = memory.pool(variant.spec.pool, spec.key, variant.spec.name)
        variants.append(replace(state, backoff_until=refused.backoff_until) if refused.backoff_until else state)
    retired = [
        _variant(variant, variant.workload, sight, pools.get(variant.spec.pool))
        for variant in view.retired
        if isinstance(variant.workload, WorkloadFact) and not _gone(variant.workload, variant.pods)
    ]
    queue_key = (spec.key.namespace, spec.model.served_name)
    latency = spec.latency
    targets = Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile, latency.stall_seconds)
    return ServiceState(
        view=view,
        memory=remembered,
        snapshot=snapshot,
        catalog=world.catalog,
        settings=world.settings,
        now=now,
        variants=tuple(variants),
        missing=tuple(missing),
        targets=targets,
        ttft=_evidence(LatencyKind.TTFT, targets, variants, sight),
        inter_token=_evidence(LatencyKind.TIME_PER_OUTPUT_TOKEN, targets, variants, sight),
        stall=_evidence(LatencyKind.INTER_TOKEN, targets, variants, sight),
        cost=world.costs.get(spec.key) or no_account("the world has no account of this service"),
        wake=None if snapshot is None else snapshot.wake_signals.get((spec.wake_signal, *queue_key)),
        gateway_queue=None if snapshot is None else _gateway_queue(snapshot, queue_key, remembered),
        gateway_rejections=None if snapshot is None else snapshot.gateway_rejections_per_second.get(queue_key),
        profiles=tuple(sorted(world.metrics)),
        retired=tuple(retired),
        tuning=tuning,
        results=results,
    )


def _gone(workload: WorkloadFact, pods: Iterable[PodFact]) -> bool:
    """Of what was removed only its bill is left."""
    return workload.deleting and all(pod.ended for pod in pods)


def _gateway_queue(snapshot: MetricsSnapshot, key: tuple[str, str], remembered: ServiceMemory) -> float | None:
    """Requests that the gateway holds for a service; None while it has never told of that service.

    A gateway's queues begin with the first request since its start: one that has told of the service, and is there
    without telling, holds nothing.
    """
    held = snapshot.gateway_queue.get(key)
    if held is None and key[0] in snapshot.gateways and GATEWAY in remembered.told:
        return 0.0
    return held


def _evidence(kind: LatencyKind, targets: Targets, variants: Sequence[VariantState], sight: _Sight) -> LatencyEvidence:
    each = {LatencyKind.TTFT: targets.ttft, LatencyKind.INTER_TOKEN: targets.stall}
    objective = each.get(kind, targets.inter_token)
    measured = [pod for variant in variants for pod in variant.measured]
    warmed_up = [pod for variant in variants for pod in variant.warmed_up]
    return evidence(kind, OwedLatency(objective, targets.percentile), sight.window, measured, warmed_up)


def _variant(view: VariantView, workload: WorkloadFact, sight: _Sight, pool: PoolSpec | None) -> VariantState:
    living = tuple(sorted(alive(view.pods), key=lambda pod: pod.key))
    ready = [pod for pod in living if pod.ready]
    per_replica = pods_per_replica(workload, living, "" if pool is None else pool.resource_name)
    measured = _measured(ready, sight.snapshot)
    # A pod that became ready within the rate window has had no chance to be seen.
    expected = [pod for pod in ready if pod.ready_at is not None and sight.now - pod.ready_at > sight.window]
    serving = whole_replicas(ready, per_replica)
    price = None if pool is None else pool.price_per_gpu_hour
    hourly = None
    if pool is not None and price is not None:
        hourly = float(price * pool.gpu_fraction) * workload.gpus_per_replica
    return VariantState(
        view=view,
        workload=workload,
        memory=VariantMemory(),
        pool=pool,
        living=living,
        ready=serving,
        starting=max(0, workload.replicas - serving),
        measured=measured,
        flowing=_measured([*ready, *(pod for pod in view.pods if pod.terminating and not pod.ended)], sight.snapshot),
        warmed_up=_warmed_up(living, measured, sight),
        unreported=max(0, whole_replicas(expected, per_replica) - len(measured)),
        base_model=None,
        engine=None,
        usd_per_hour=hourly,
        pods_per_replica=per_replica,
    )


def _warmed_up(living: Iterable[PodFact], measured: Iterable[PodMetrics], sight: _Sight) -> tuple[PodMetrics, ...]:
    ready_at = {pod.key: pod.ready_at for pod in living if pod.ready_at is not None}
    least = sight.tuning.evidence.warmup_windows * sight.window
    return tuple(pod for pod in measured if sight.now - ready_at.get(pod.pod, sight.now) >= least)


def _measured(pods: Iterable[PodFact], snapshot: MetricsSnapshot | None) -> tuple[PodMetrics, ...]:
    return () if snapshot is None else snapshot.fresh(pod.key for pod in pods)


def _with_engine(state: VariantState, model: ModelSpec, memory: VariantMemory, models: Models) -> VariantState:
    accelerator = "" if state.pool is None else state.pool.accelerator
    base = replica_model(model, state.spec, accelerator, models)
    key = calibration_key(state, model, accelerator) or memory.calibration.key
    gpu = models.results.of(Catalog.known_gpu, models.catalog, accelerator)
    measured = gpu is None or gpu.efficiency.measured
    calibration = for_key(memory.calibration, key, measured=measured)
    memory = memory if calibration is memory.calibration else replace(memory, calibration=calibration)
    state = replace(state, memory=memory)  # what the engines' own figures say of the cap counts from here on
    if base is None:
        return state
    told = state.mean(Signal.KV_CAPACITY_TOKENS)
    # An engine that tells a cache of no tokens has not made it yet.
    capacity = told / state.ranks if told else None
    if (capacity or base.kv_capacity) <= 0:
        # By the catalog the weights would not fit, yet the engine runs: the model is not used for it.
        return state
    base = models.results.of(EngineModel.with_batched_tokens, base, state.batched_tokens)
    clumping = memory.clumping.share()
    engine = Engine(base, memory.calibration.gains, state.max_sequences, capacity, clumping)
    return replace(state, base_model=base, engine=engine.rounded())


def calibration_key(state: VariantState, model: ModelSpec, accelerator: str) -> str:
    """What a calibration belongs to: workload, pod template, model, GPU. The batch cap is not part of it.

    Empty while there are no pods that could tell the template.
    """
    newest = max(state.living, key=lambda pod: (pod.created_at, pod.key), default=None)
    if newest is None:
        return ""
    template = template_of(newest)
    parallel = state.spec.parallelism
    shape = f"{parallel.tensor}x{parallel.pipeline}x{parallel.data}"
    return f"{state.workload.uid}/{template}/{model.id}/{accelerator}/{shape}/{state.spec.quantization}"
