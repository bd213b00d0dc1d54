"""llm-d's autoscaling by KEDA and the endpoint picker (September 2026): by queue, by tokens, by latency objective.

Sources: llm-d/llm-d guides and manifests (Apache-2.0), written anew from their formulas. The bounds of the variant
replace the manifests' 1 to 8 (or 3 to 8) replicas.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor

from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules
from pertoken.domain.signal import LatencyKind
from pertoken.performance.histogram import merge, quantile
from pertoken_bench.policies.hpa import HpaSettings
from pertoken_bench.policies.prior import UNCALIBRATED, Profile, engine_of, prefill_rate
from pertoken_bench.policies.scaled import ScaledObject, Trigger, keda_policy
from pertoken_bench.policies.view import View
from pertoken_bench.policy import PodGauge, Policy

POLL_SECONDS = 15.0
LENGTH_SECONDS = 300.0  # mean prompt of requests that the gateway holds
DOCUMENTED_PREFILL = 15928.0  # tokens/s of Qwen3-32B on two H100, where the catalog knows neither model nor GPU
HELD_BEYOND = 5.0  # `queueDepthThreshold` of the endpoint picker
_ROUNDING = 1e-9
_DOUBLE = (ScalingPolicy(PolicyType.PERCENT, 100, 15),)


def _one_pod(seconds: int) -> tuple[ScalingPolicy, ...]:
    return (ScalingPolicy(PolicyType.PODS, 1, seconds),)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The queue signal: requests queued and running, each with its own target per replica.

    Attributes:
        guard: the `queue-guard` manifest: pods on their way are taken off the wish, and nothing waits for a window.
    """

    queue: float = 1.0
    running: float = 16.0
    up_window: int = 300
    down_window: int = 300
    guard: bool = False


def queued(view: View) -> float:
    """Requests that the picker's flow control would hold.

    It hands a pod no more once `HELD_BEYOND` requests wait there (its saturation detector's default). This router
    hands everything on, so what waits beyond that in the engines is counted as held.
    """
    beyond = sum(max(0.0, value - HELD_BEYOND) for value in view.latest(PodGauge.WAITING).values())
    return view.gateway_queue() + beyond


def running(view: View) -> float:
    """Requests that the picker has handed on: in the batches and in the engines' short queues."""
    short = sum(min(value, HELD_BEYOND) for value in view.latest(PodGauge.WAITING).values())
    return (view.sum(PodGauge.RUNNING) or 0.0) + short


def guarded(replicas: int, pending: int, demand: float) -> float:
    """Replicas asked for by the queue guard: the demand, less the pods on their way, but not fewer than there are."""
    return demand if demand <= replicas else max(demand - pending, float(replicas))


def queue_policy(settings: QueueSettings) -> Policy:
    """ScaledObject of the queue signal, or of the guard."""
    window = 0 if settings.guard else settings.up_window
    hpa = HpaSettings(Behavior(ScalingRules(window, _DOUBLE), ScalingRules(settings.down_window, _DOUBLE)))

    def ask(view: View) -> float:
        demand = max(queued(view) / settings.queue, running(view) / settings.running)
        return guarded(view.replicas, view.waiting_pods, demand)

    plain = (Trigger(queued, settings.queue), Trigger(running, settings.running))
    triggers = (Trigger(ask, 1.0),) if settings.guard else plain
    return keda_policy(lambda _: ScaledObject(triggers, POLL_SECONDS, hpa=hpa))


@dataclass(frozen=True, slots=True)
class TokenTriggers:
    """The token signal: seconds of prefill that are queued per replica, and KV use per replica."""

    seconds: float = 1.5
    kv: float = 0.8
    up_period: int = 180
    down_period: int = 300
    down_window: int = 300


def token_policy(settings: TokenTriggers, profile: Profile = UNCALIBRATED) -> Policy:
    """ScaledObject of the token signal; the prefill rate of an idle replica is the profile's."""
    up = ScalingRules(0, _one_pod(settings.up_period))
    down = ScalingRules(settings.down_window, _one_pod(settings.down_period))
    hpa = HpaSettings(Behavior(up, down))

    def make(view: View) -> ScaledObject:
        engine = engine_of(view, profile)
        rate = DOCUMENTED_PREFILL if engine is None else prefill_rate(engine)

        def backlog(now: View) -> float:
            held = now.gateway_queue() * (now.lengths(LENGTH_SECONDS) or (1.0, 0.0))[0]
            return ((now.sum(PodGauge.QUEUED_PROMPT_TOKENS) or 0.0) + held) / rate

        def kv(now: View) -> float:
            return now.sum(PodGauge.KV_USAGE) or 0.0

        return ScaledObject((Trigger(backlog, settings.seconds), Trigger(kv, settings.kv)), POLL_SECONDS, hpa=hpa)

    return keda_policy(make)


@dataclass(frozen=True, slots=True)
class SloSettings:
    """The control law of the latency signal; `up` and `down` are shares of the objective."""

    up: float = 0.55
    down: float = 0.40
    smoothing: float = 45.0
    ceiling: float = 2.0
    window: float = 60.0
    percentile: float = 0.90
    up_window: int = 30
    down_window: int = 180
    down_period: int = 120


def slo_ask(replicas: int, ready: int, pressure: float, settings: SloSettings) -> int:
    """Replicas for a pressure (latency / objective).

    Pods on their way are credited by scaling the pressure with ready / replicas. The law as published can thereby ask
    for fewer than there are while most pods start; the HPA's window for scaling down holds that.
    """
    if pressure > settings.up:
        credit = ready / replicas if 0 < ready < replicas else 1.0
        return replicas + ceil(replicas * (pressure * credit / settings.up - 1.0) - _ROUNDING)
    if pressure < settings.down:
        return replicas - floor(replicas * (1.0 - pressure / settings.down) + _ROUNDING)
    return replicas


@dataclass(slots=True)
class SloLaw:
    """The recording rules' memory: pressure of the last polls."""

    settings: SloSettings = SloSettings()
    history: deque[tuple[float, float]] = field(default_factory=deque)

    def ask(self, view: View) -> float:
        """What the formula trigger yields: a replica count."""
        now, settings = view.now, self.settings
        self.history.append((now, min(self.raw(view), settings.ceiling)))
        while self.history[0][0] <= now - settings.smoothing:
            self.history.popleft()
        pressure = sum(value for _, value in self.history) / len(self.history)
        return float(max(slo_ask(view.replicas, view.ready, pressure, settings), 1))

    def raw(self, view: View) -> float:
        """Larger of both latencies' percentiles over their objectives; no traffic counts as 0."""
        latency = view.service.spec.latency
        shares = [
            measured / objective
            for kind, objective in (
                (LatencyKind.TTFT, latency.ttft_seconds),
                (LatencyKind.TIME_PER_OUTPUT_TOKEN, latency.inter_token_seconds),
            )
            if objective and (measured := self._percentile(view, kind)) is not None
        ]
        return max(shares, default=0.0)

    def _percentile(self, view: View, kind: LatencyKind) -> float | None:
        merged = merge(view.histograms(kind, self.settings.window))
        bounds = None if merged is None else quantile(merged, self.settings.percentile)
        return None if bounds is None else bounds.estimate


def slo_policy(settings: SloSettings) -> Policy:
    """ScaledObject of the latency signal."""
    up = ScalingRules(
        settings.up_window, (ScalingPolicy(PolicyType.PERCENT, 100, 60), ScalingPolicy(PolicyType.PODS, 4, 60))
    )
    hpa = HpaSettings(Behavior(up, ScalingRules(settings.down_window, _one_pod(settings.down_period))))

    def make(_: View) -> ScaledObject:
        ask: Callable[[View], float] = SloLaw(settings).ask
        return ScaledObject((Trigger(ask, 1.0),), POLL_SECONDS, hpa=hpa)

    return keda_policy(make)
