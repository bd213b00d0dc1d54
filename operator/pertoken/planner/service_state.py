"""One service as the planner sees it in this cycle: pods sorted by state, metrics summed, model looked up. Values only.

`planner.gather` builds them; every stage reads them, and `notice` and `estimate` return them with a newer memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from pertoken.catalog.lookup import Catalog
from pertoken.domain.cluster import PodFact, WorkloadFact, WorkloadMissing, whole_replicas
from pertoken.domain.cost import CostState
from pertoken.domain.metrics import UNKNOWN_WINDOW_SECONDS, MetricsSnapshot, PodMetrics
from pertoken.domain.pool import PoolSpec, Purchase
from pertoken.domain.service import Freeze, ServiceSpec, VariantSpec
from pertoken.domain.signal import Signal
from pertoken.domain.world import PlannerSettings, ServiceView, TimedMinimum, VariantView
from pertoken.forecast.demand import DemandSample
from pertoken.forecast.error_budget import caution
from pertoken.forecast.losses import loss_rate
from pertoken.forecast.tuning import Budget
from pertoken.frozen import dataclass, derived, replace
from pertoken.performance.clumps import Spread
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine, Load, Targets
from pertoken.performance.step_time import EngineModel
from pertoken.planner.latency import LatencyEvidence
from pertoken.planner.memory import CapProof, ServiceMemory, Shape, VariantMemory
from pertoken.planner.tuning import TUNING, Estimate, Tuning
from pertoken.units import PER_CENT


def load_of(shape: Shape, tuning: Estimate) -> Load:
    """The mean request as the performance model takes it; how far lengths spread is not measured."""
    spread = Spread(tuning.prompt_spread, tuning.answer_spread)
    return Load(shape.input_tokens, shape.output_tokens, shape.cached_share, shape.context, spread=spread)


def total_of(pods: Iterable[PodMetrics], signal: Signal) -> float | None:
    """Sum of a signal over the pods that tell it; None when none does."""
    values = [pod.values[signal] for pod in pods if signal in pod.values]
    return sum(values) if values else None


def seen_of(pods: Iterable[PodMetrics], signal: Signal) -> float:
    """Sum of a signal over the pods that tell it. It may be more: only a rise may rest on it."""
    return sum(pod.values[signal] for pod in pods if signal in pod.values)


@dataclass(frozen=True)
class VariantState:
    """One variant in this cycle.

    Attributes:
        living: pods that exist and are to stay.
        ready: replicas that serve.
        starting: replicas on the way.
        measured: metrics of serving pods, fresh ones only.
        flowing: the same with pods that are on their way out and still serve what they have.
        warmed_up: those of `measured` that have served long enough for their latencies to be their own.
        unreported: replicas that have served for a whole rate window and have no fresh metrics.
        base_model: step-time coefficients, None when model or GPU is not known or the engine is generic.
        engine: the same with gains, cap and KV capacity of now.
        usd_per_hour: of one replica, None without a price.
        pods_per_replica: more than one where a replica spans several pods, of which one has metrics.
        refusal: why replicas that are asked for have no pods, in Kubernetes' words; empty if nothing is refused.
        backoff_until: the pool could not schedule such pods lately: no more of them before this instant.
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
    warmed_up: tuple[PodMetrics, ...]
    unreported: int
    base_model: EngineModel | None
    engine: Engine | None
    usd_per_hour: float | None
    pods_per_replica: int = 1
    refusal: str = ""
    backoff_until: float = 0.0

    @derived
    def spec(self) -> VariantSpec:
        """What the user asked for."""
        return self.view.spec

    @derived
    def name(self) -> str:
        """Of the variant."""
        return self.view.spec.name

    @derived
    def current(self) -> int:
        """spec.replicas."""
        return self.workload.replicas

    @derived
    def steady(self) -> int:
        """Replicas without the extra one of a rolling cap change."""
        roll = self.memory.roll
        return self.current - 1 if roll is not None and roll.surge and self.current > roll.base else self.current

    @derived
    def living_replicas(self) -> int:
        """Replicas whose pods exist and are to stay, serving or not."""
        return whole_replicas(self.living, self.pods_per_replica)

    @derived
    def ceiling(self) -> int:
        """Replicas that it can have: its maximum, or what exists while Kubernetes refuses more."""
        return min(self.spec.max_replicas, self.living_replicas) if self.refusal else self.spec.max_replicas

    @derived
    def cap_refuted(self) -> CapProof | None:
        """What shows that the engines do not run with the cap that their template tells; None where nothing does."""
        proof = self.memory.cap_proof
        return proof if proof is not None and proof.refuted else None

    @derived
    def cap_believed(self) -> bool:
        """The engines run with the cap: by their command line, or where that hides it by their own figures."""
        proven = self.workload.cap_certain or self.memory.cap_proof is not None
        return proven and self.cap_refuted is None

    @derived
    def max_sequences(self) -> int | None:
        """Sequences that an engine process runs at most; None where that is not known, or known to be wrong."""
        if self.cap_refuted is not None or (self.workload.cap is not None and not self.cap_believed):
            return None
        return self.workload.max_sequences

    @derived
    def batched_tokens(self) -> int | None:
        """Tokens per step of the engines; after a change those of before, until half of the pods have the new ones."""
        tokens, cap = self.workload.engine.batched_tokens, self.workload.cap
        if cap is None or cap.completed or cap.previous_chunk is None or not self.workload.engine.reads_chunk:
            return tokens
        renewed = sum(1 for pod in self.living if (pod.engine_started_at or 0.0) > cap.changed_at)
        return tokens if 2 * renewed >= len(self.living) else cap.previous_chunk

    @derived
    def ranks(self) -> int:
        """Data-parallel engines in one replica."""
        return max(1, self.view.spec.parallelism.data)

    def total(self, signal: Signal) -> float | None:
        """Sum over the measured pods; None when no pod tells."""
        return total_of(self.measured, signal)

    def seen(self, signal: Signal) -> float:
        """Sum over the measured pods that tell. It may be more: only a rise may rest on it."""
        return seen_of(self.measured, signal)

    def mean(self, signal: Signal) -> float | None:
        """Mean over the measured pods; None when no pod tells."""
        values = [metrics.values[signal] for metrics in self.measured if signal in metrics.values]
        return sum(values) / len(values) if values else None

    @derived
    def batch(self) -> float | None:
        """Decoding sequences per engine."""
        mean = self.mean(Signal.DECODING_SEQUENCES)
        if mean is None:
            mean = self.mean(Signal.RUNNING)
        return None if mean is None else mean / self.ranks


@dataclass(frozen=True)
class ServiceState:
    """One service in this cycle.

    Attributes:
        missing: variants whose scale target cannot be used.
        ttft, inter_token, stall: what was measured of each latency, with its objective.
        cost: the account of its cost window.
        gateway_queue, gateway_rejections: requests held, and refused per second, before the engines; None if unknown.
        wake: the signal that its spec names for waking it; None where it names none, or nobody tells it.
        profiles: names of the metrics profiles that there are.
        at_least: demand that is certainly there, in a cycle in which not all of it could be seen; None otherwise.
        results: of the performance model, kept from cycle to cycle.
        retired: workloads of variants that are no more; what they serve is demand, none of them is sized.
    """

    view: ServiceView
    memory: ServiceMemory
    snapshot: MetricsSnapshot | None
    catalog: Catalog
    settings: PlannerSettings
    now: float
    variants: tuple[VariantState, ...]
    missing: tuple[tuple[str, WorkloadMissing], ...]
    targets: Targets
    ttft: LatencyEvidence
    inter_token: LatencyEvidence
    stall: LatencyEvidence
    cost: CostState
    gateway_queue: float | None
    gateway_rejections: float | None
    wake: float | None = None
    profiles: tuple[str, ...] = ()
    at_least: DemandSample | None = None
    retired: tuple[VariantState, ...] = ()
    tuning: Tuning = field(default=TUNING, repr=False)
    results: Results = field(default_factory=Results, repr=False, compare=False)

    @derived
    def spec(self) -> ServiceSpec:
        """What the user asked for."""
        return self.view.spec

    @derived
    def scheduled(self) -> TimedMinimum | None:
        """The highest minimum of the schedule that holds now, or begins before a replica that is asked for now serves.

        None where none does, or where the service's own minimum is at least as high.
        """
        due = (minimum for minimum in self.view.minimums if minimum.start - self.lead_seconds <= self.now < minimum.end)
        highest = max(due, key=lambda minimum: (minimum.replicas, minimum.end), default=None)
        return None if highest is None or highest.replicas <= self.spec.min_replicas else highest

    @derived
    def frozen(self) -> Freeze | None:
        """The time of now in which replicas and batch caps stay as they are; None where it is no such time."""
        freeze = self.spec.freeze
        return freeze if freeze is not None and freeze.holds(self.now) else None

    @derived
    def woken(self) -> bool:
        """The signal that its spec names, a request that the gateway holds, or a route's split asks for a replica."""
        return any(told is not None and told > 0 for told in (self.wake, self.gateway_queue, self.view.routed))

    @derived
    def min_replicas(self) -> int:
        """Fewest replicas of all variants together: the service's minimum, its schedule's, or one while it is woken."""
        scheduled = self.scheduled
        if scheduled is not None:
            return scheduled.replicas
        return max(self.spec.min_replicas, 1) if self.woken else self.spec.min_replicas

    @derived
    def by_name(self) -> Mapping[str, VariantState]:
        """Variants by name."""
        return {variant.name: variant for variant in self.variants}

    @derived
    def window(self) -> float:
        """Rate window in seconds."""
        return UNKNOWN_WINDOW_SECONDS if self.snapshot is None else self.snapshot.window_seconds

    @derived
    def latencies(self) -> tuple[LatencyEvidence, ...]:
        """What was measured of each latency, inter-token first: it is the one that replicas help soonest."""
        return self.inter_token, self.stall, self.ttft

    @derived
    def serving(self) -> int:
        """Replicas that serve, of all variants."""
        return sum(variant.ready for variant in self.variants)

    @derived
    def load(self) -> Load | None:
        """The mean request, None before any has finished."""
        shape = self.memory.shape
        if shape is None:
            return None
        return load_of(shape, self.tuning.estimate).rounded()

    @derived
    def flowing(self) -> tuple[PodMetrics, ...]:
        """Metrics of all pods that still serve something."""
        return tuple(metrics for variant in (*self.variants, *self.retired) for metrics in variant.flowing)

    def total(self, signal: Signal) -> float | None:
        """Sum over all measured pods; None when no pod tells."""
        values = [value for variant in self.variants if (value := variant.total(signal)) is not None]
        return sum(values) if values else None

    def flow(self, signal: Signal) -> float | None:
        """Sum over all pods that still serve something; None when no pod tells."""
        return total_of(self.flowing, signal)

    def seen(self, signal: Signal) -> float:
        """Sum over all pods that serve something and tell. It may be more: only a rise may rest on it."""
        return seen_of(self.flowing, signal)

    @derived
    def waiting(self) -> float | None:
        """Requests that are seen to wait, in engines and at the gateway; None where nobody tells."""
        told = [value for value in (self.total(Signal.WAITING), self.gateway_queue) if value is not None]
        return sum(told) if told else None

    @derived
    def backlog(self) -> float:
        """Requests that are seen to wait. It may be more: only a rise, or a refusal to shrink, may rest on it."""
        waiting = self.waiting
        return 0.0 if waiting is None else waiting

    @derived
    def queue_grows(self) -> bool:
        """More requests wait than a rate window ago."""
        waiting, then = self.waiting, self.now - self.window
        before = next((sample for sample in reversed(self.memory.demand) if sample.at <= then), None)
        return waiting is not None and before is not None and waiting > before.backlog

    @derived
    def samples(self) -> tuple[DemandSample, ...]:
        """Demand so far; what is known to be there at least counts where the history ends below it."""
        history, now = self.memory.demand, self.at_least
        if now is None or not history:
            return history
        last = history[-1]
        more = now.input_tokens > last.input_tokens or now.output_tokens > last.output_tokens
        return (*history, now) if more and now.at > last.at else history

    @derived
    def lead_seconds(self) -> float:
        """Time until a replica that is asked for now would serve: start-up, one cycle, half a rate window."""
        known = [v.memory.start_seconds for v in self.variants if v.memory.start_seconds is not None]
        start = max(known) if known else self.settings.start_seconds
        return start + self.settings.cycle_seconds + self.window / 2

    @derived
    def budget_rules(self) -> Budget:
        """How the service's error budget is spent."""
        latency = self.spec.latency
        floor = None if latency.floor_percent is None else latency.floor_percent / PER_CENT
        return self.results.of(Budget.within, self.tuning.budget, latency.budget_seconds, floor)

    @derived
    def caution(self) -> float:
        """0 where replicas come soon, 1 where they come late."""
        return caution(self.lead_seconds, self.tuning.budget)

    @derived
    def inertia(self) -> float:
        """0 where an error is mended soon, 1 where it lasts: until replicas come, and requests at work have ended."""
        load, between = self.load, self.targets.inter_token
        residence = 0.0 if load is None or between is None else load.output_tokens * between
        longest = self.tuning.estimate.longest_residence
        return caution(self.lead_seconds + min(residence, longest), self.tuning.budget)

    @derived
    def knee(self) -> float:
        """Utilization at which the percentile is just kept, as far as sizing relies on it."""
        return self.memory.knee.trusted(self.caution, self.tuning.knee)

    @derived
    def idle(self) -> bool:
        """Nothing has been asked for during the service's idle time."""
        since = self.memory.idle_since
        return since is not None and self.now - since >= self.spec.idle_seconds

    def start_of(self, variant: VariantState) -> float:
        """Seconds from a node to Ready, learnt or as set."""
        known = variant.memory.start_seconds
        return self.settings.start_seconds if known is None else known

    def losses_of(self, variant: VariantState) -> float:
        """Replicas of a variant that get lost, per replica and hour."""
        numbers = self.tuning.losses
        spot = variant.pool is not None and variant.pool.purchase is Purchase.SPOT
        return loss_rate(variant.memory.losses, numbers.spot if spot else numbers.other, numbers)

    def with_memory(self, memory: ServiceMemory) -> ServiceState:
        """The same state beside another memory, that of its variants included."""
        newer = ((v, memory.variants.get(v.name, v.memory)) for v in self.variants)
        variants = tuple(v if known is v.memory else replace(v, memory=known) for v, known in newer)
        return replace(self, memory=memory, variants=variants)

    def with_variants(self, variants: Iterable[VariantState]) -> ServiceState:
        """The same state with other variants."""
        return replace(self, variants=tuple(variants))
