"""The workload-variant-autoscaler as a controller: measure, analyze, publish; an HPA follows the published number.

The chain is kept: gauges' maxima over a minute, a cycle of 15 s, a published number that the HPA sees one sync later,
its 10 % tolerance (which hides steps of one from eleven replicas on) and the sample HPA's limits. Needs no profile:
capacities come from the engines' own metrics and flags. Latency objectives are not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pertoken.domain.service import Behavior
from pertoken_bench.policies.hpa import TOLERANCE
from pertoken_bench.policies.published import SAMPLE_HPA, Follower
from pertoken_bench.policies.view import View
from pertoken_bench.policies.wva_allocate import Choice, ModelNeed, cost_aware, greedy_by_score
from pertoken_bench.policies.wva_saturation import (
    Ask,
    ModelVariant,
    ReplicaLoad,
    SaturationSettings,
    VariantTarget,
    analyze,
    enforce,
    limit,
    targets,
)
from pertoken_bench.policies.wva_tokens import (
    CapacityRecords,
    EngineFlags,
    HeldQueue,
    ReplicaTokens,
    TokenSettings,
    ZeroReplica,
    balance,
    median,
)
from pertoken_bench.policy import Order, Orders, PodGauge, PolicyObservation, ServiceSeen

CYCLE_SECONDS = 15.0
WAKE_SECONDS = 5.0  # upstream polls the gateway's queue every 0.1 s; this policy as often as it ticks
MAXIMUM_SECONDS = 60.0
LENGTH_SECONDS = 300.0
RETENTION_SECONDS = 600.0
BYTES_PER_TOKEN = 4.0


class AnalyzerVersion(StrEnum):
    """Which saturation analyzer decides."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class WvaSettings:
    """The controller's ConfigMaps and its HPA.

    Attributes:
        limiter: `enableLimiter`: scale-ups share the free GPUs of their pool.
        tolerance: of the HPA; 0 for the variant `fixed`, whose numbers are followed to the letter.
    """

    analyzer: AnalyzerVersion = AnalyzerVersion.V2
    saturation: SaturationSettings = field(default_factory=SaturationSettings)
    tokens: TokenSettings = field(default_factory=TokenSettings)
    limiter: bool = False
    tolerance: float = TOLERANCE
    behavior: Behavior = SAMPLE_HPA


@dataclass(slots=True)
class _Maxima:
    """``max_over_time(gauge[1m])`` of each pod from the samples of this policy's ticks."""

    samples: deque[tuple[float, Mapping[str, float]]] = field(default_factory=deque)

    def add(self, now: float, values: Mapping[str, float]) -> dict[str, float]:
        self.samples.append((now, values))
        while self.samples[0][0] <= now - MAXIMUM_SECONDS:
            self.samples.popleft()
        return {pod: max(old[pod] for _, old in self.samples if pod in old) for pod in values}


@dataclass(slots=True)
class _Model:
    """Memory of one service (one model with its variants)."""

    follower: Follower
    kv: _Maxima = field(default_factory=_Maxima)
    queue: _Maxima = field(default_factory=_Maxima)
    live: dict[str, float] = field(default_factory=dict)


class Wva:
    """The policy.

    Attributes:
        period_seconds: distance of ticks; analysis and HPA run on every third.
    """

    period_seconds = WAKE_SECONDS

    def __init__(self, settings: WvaSettings) -> None:
        """Start without records, as after every restart of the controller."""
        self.settings = settings
        self._models: dict[str, _Model] = {}
        self._records = CapacityRecords(settings.tokens)
        self._next = float("-inf")

    def decide(self, seen: PolicyObservation) -> Orders:
        """Wake what is at zero and has a queue; on every third tick sync the HPAs, then analyze and publish."""
        due = seen.now >= self._next - 1e-6
        if due:
            self._next = seen.now + CYCLE_SECONDS
        orders: dict[tuple[str, str], Order] = {}
        for name, service in seen.services.items():
            model = self._models.setdefault(name, _Model(Follower(self.settings.behavior, self.settings.tolerance)))
            views = [View(seen, service, variant) for variant in service.variants.values()]
            replicas = {view.variant.spec.name: self._woken(view) for view in views}
            if due:
                for view in views:
                    key = view.variant.spec.name
                    replicas[key] = model.follower.sync(view) if view.replicas else replicas[key]
                model.follower.published = self._analyze(seen, service, model, views)
            for view in views:
                wanted = replicas[view.variant.spec.name]
                if wanted != view.replicas:
                    orders[name, view.variant.spec.name] = Order(replicas=wanted)
        return orders

    def _woken(self, view: View) -> int:
        """Scale from zero: every variant of a model with a queue gets one replica (upstream: "TODO cheapest only")."""
        if view.replicas == 0 and view.seen.metrics.gateway_queue(view.service.name) > 0:
            return view.clamp(1)
        return view.replicas

    def _analyze(
        self, seen: PolicyObservation, service: ServiceSeen, model: _Model, views: Sequence[View]
    ) -> dict[str, int]:
        metrics = seen.metrics
        ready = {pod.name for view in views for pod in view.pods if pod.ready_at is not None}
        kv = {p: v for p, v in metrics.latest(service.name, PodGauge.KV_USAGE).items() if p in ready}
        queue = {p: v for p, v in metrics.latest(service.name, PodGauge.WAITING).items() if p in ready}
        if ready and not kv:
            return model.follower.published  # nothing measured: the model is left out of this cycle
        kv, queue = model.kv.add(seen.now, kv), model.queue.add(seen.now, queue)
        wanted = (
            self._v1(model, views, kv, queue)
            if self.settings.analyzer is AnalyzerVersion.V1
            else self._v2(model, views, kv, queue)
        )
        requests = metrics.request_rate(service.name, RETENTION_SECONDS)
        idle = all(view.least == 0 for view in views) and seen.now - seen.start >= RETENTION_SECONDS
        kept = [VariantTarget(v.variant.spec.name, v.variant.usd_per_hour, wanted[v.variant.spec.name]) for v in views]
        return enforce(kept, requests, to_zero=idle)

    def _v1(
        self, model: _Model, views: Sequence[View], kv: Mapping[str, float], queue: Mapping[str, float]
    ) -> dict[str, int]:
        verdict = analyze([ReplicaLoad(kv[p], queue.get(p, 0.0)) for p in sorted(kv)], self.settings.saturation)
        states = [
            ModelVariant(
                view.variant.spec.name,
                view.variant.usd_per_hour,
                view.replicas,
                model.follower.published.get(view.variant.spec.name, 0),
                view.waiting_pods,
                view.least,
                view.most,
            )
            for view in views
        ]
        wanted = targets(verdict, states)
        return self._limited_v1(views, wanted, verdict.spare_kv) if self.settings.limiter else wanted

    @staticmethod
    def _limited_v1(views: Sequence[View], wanted: dict[str, int], spare: float) -> dict[str, int]:
        for pool in {view.variant.spec.pool for view in views}:
            asks = [
                Ask(
                    view.variant.spec.name,
                    view.replicas,
                    wanted[view.variant.spec.name],
                    view.variant.gpus_per_replica,
                    spare,
                    view.variant.usd_per_hour,
                    view.least,
                    view.most,
                )
                for view in views
                if view.variant.spec.pool == pool
            ]
            wanted = wanted | limit(asks, views[0].seen.free_gpus.get(pool, 0)).targets
        return wanted

    def _v2(
        self, model: _Model, views: Sequence[View], kv: Mapping[str, float], queue: Mapping[str, float]
    ) -> dict[str, int]:
        demand = supply = anticipated = 0.0
        choices = []
        for view in views:
            replicas = _replicas(view, kv, queue)
            flags = EngineFlags(view.variant.max_batched_tokens, view.variant.cap)
            kind = f"{view.service.name}|{view.variant.accelerator}|{view.variant.gpus_per_replica}"
            capacities = [float(self._records.capacity(kind, replica, flags)) for replica in replicas]
            capacity = self._capacity(model, view, capacities, flags)
            demand += sum(replica.demand for replica in replicas)
            supply += len(replicas) * capacity  # only replicas that tell count
            anticipated += view.replicas * capacity
            choices.append(_choice(view, capacity))
        demand += _held(views[0]).demand
        gap = balance(demand, supply, anticipated, self.settings.tokens)
        if not self.settings.limiter:
            return cost_aware(gap.required, gap.spare, choices)
        need = ModelNeed(views[0].service.name, gap.required, gap.spare, choices)
        return greedy_by_score(
            [need], {view.variant.spec.pool: view.seen.free_gpus.get(view.variant.spec.pool, 0) for view in views}
        )

    def _capacity(self, model: _Model, view: View, measured: Sequence[float], flags: EngineFlags) -> float:
        name = view.variant.spec.name
        if measured:
            model.live[name] = float(median(measured))
            return model.live[name]
        record = ZeroReplica(model.live.get(name), None, flags, None, float(view.variant.kv_capacity_tokens))
        lengths = view.lengths(LENGTH_SECONDS) or (0.0, 0.0)
        return record.capacity(*lengths, self.settings.tokens)


def _replicas(view: View, kv: Mapping[str, float], queue: Mapping[str, float]) -> list[ReplicaTokens]:
    lengths = view.lengths(LENGTH_SECONDS) or (0.0, 0.0)
    total = float(view.variant.kv_capacity_tokens)
    return [
        ReplicaTokens(total, kv[pod.name] * total, queue.get(pod.name, 0.0), *lengths)
        for pod in view.pods
        if pod.name in kv
    ]


def _choice(view: View, capacity: float) -> Choice:
    variant = view.variant
    return Choice(
        variant.spec.name,
        variant.usd_per_hour,
        capacity,
        view.replicas,
        view.least,
        view.most,
        variant.spec.pool,
        variant.gpus_per_replica,
    )


def _held(view: View) -> HeldQueue:
    """The gateway's queue; prompts are counted in tokens here, so bodies are four bytes a token by construction."""
    held = view.seen.metrics.gateway_queue(view.service.name)
    prompt, answer = view.lengths(LENGTH_SECONDS) or (0.0, 0.0)
    return HeldQueue(held, held * prompt * BYTES_PER_TOKEN, prompt, answer, view.hit_rate(LENGTH_SECONDS))
