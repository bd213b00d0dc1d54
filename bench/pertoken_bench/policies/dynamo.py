"""NVIDIA Dynamo's planner with `optimization_target: sla`, aggregated engines: a forecast floor and a reactive loop.

Source: ai-dynamo/dynamo planner core at 0c6da1e and 0c9050c (Apache-2.0), written anew from its rules. Its performance
model (aiconfigurator, tuned online) is the common profile here, its objectives are the service's, its GPU budget the
variant's maximum. Latencies are means, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from pertoken.performance.steady import Engine, Load, Targets
from pertoken.performance.step_time import iteration_time
from pertoken_bench.policies.arima import best_order, forecast
from pertoken_bench.policies.prior import UNCALIBRATED, Profile, capacity, engine_of
from pertoken_bench.policies.view import PerVariant, View
from pertoken_bench.policy import PodGauge, Policy, Total

TICK_SECONDS = 5.0
LEAST_POINTS = 5  # below it the last value is the forecast
MEAN_PERCENTILE = 50


class Predictor(StrEnum):
    """Load predictors that are offered here."""

    ARIMA = "arima"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class DynamoSettings:
    """`PlannerConfig`.

    Attributes:
        interval: seconds between forecasts.
        share: of the service's objectives that is given as `ttft` and `itl`.
        sensitivity: share of a latency budget that a consolidation may use.
        most_step: replicas that one decision may add or remove.
        easy_up, easy_down: KV shares of the target `throughput`, used where the profile does not know the model.
    """

    predictor: Predictor = Predictor.ARIMA
    interval: float = 180.0
    share: float = 1.0
    sensitivity: float = 0.8
    most_step: int = 8
    min_endpoint: int = 1
    easy_up: float = 1.0
    easy_down: float = 0.6


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """One engine's forward-pass figures: tokens in the KV cache, queued prompt tokens, sequences decoding."""

    resident: float
    queued: float
    batch: float


@dataclass(frozen=True, slots=True)
class StepTraffic:
    """What a request and a step look like: prompt tokens computed per request and per step."""

    prompt: float
    prompt_per_step: float


def ttft(engine: Engine, load: EngineLoad, traffic: StepTraffic) -> float:
    """Seconds until a prompt that arrives now is computed behind the queued ones, in steps beside the decodes."""
    left = load.queued + traffic.prompt
    chunk = max(1.0, engine.model.batched_tokens - load.batch)
    full, rest = divmod(left, chunk)
    gain = engine.gains.prefill
    seconds = full * gain * iteration_time(engine.model, chunk, 0.0, load.batch, load.resident)
    return seconds + (gain * iteration_time(engine.model, rest, 0.0, load.batch, load.resident) if rest > 0 else 0.0)


def inter_token(engine: Engine, load: EngineLoad, traffic: StepTraffic) -> float:
    """Seconds of the next step with the usual share of prompts in it."""
    return engine.gains.decode * iteration_time(
        engine.model, traffic.prompt_per_step, 0.0, max(load.batch, 1.0), load.resident
    )


def by_ttft(
    engine: Engine, loads: Sequence[EngineLoad], traffic: StepTraffic, objective: float, sensitivity: float
) -> int:
    """-1, 0 or 1: replicas to add by time to first token, whose objective is in seconds."""
    if all(ttft(engine, load, traffic) > objective for load in loads):
        return 1
    if len(loads) < 2:
        return 0
    for load in loads:
        after = _consolidated(load, len(loads))
        own = ttft(engine, EngineLoad(after.resident, 0.0, after.batch), traffic)
        budget = (objective - own) * sensitivity
        if budget <= 0 or ttft(engine, after, traffic) - own >= budget:
            return 0
    return -1


def by_inter_token(
    engine: Engine, loads: Sequence[EngineLoad], traffic: StepTraffic, objective: float, sensitivity: float
) -> int:
    """-1, 0 or 1: replicas to add by inter-token latency, whose objective is in seconds.

    A replica is given up only if its sequences fit the KV cache of those that stay.
    """
    if all(inter_token(engine, load, traffic) > objective for load in loads):
        return 1
    if len(loads) < 2:
        return 0
    for load in loads:
        after = _consolidated(EngineLoad(load.resident + load.queued, 0.0, load.batch), len(loads))
        if after.resident >= engine.kv_tokens or inter_token(engine, after, traffic) >= objective * sensitivity:
            return 0
    return -1


def _consolidated(load: EngineLoad, workers: int) -> EngineLoad:
    growth = workers / (workers - 1)
    return EngineLoad(load.resident * growth, load.queued * growth, load.batch * growth)


def easy(uses: Sequence[float], settings: DynamoSettings) -> int:
    """-1, 0 or 1 by KV use with queued prompts (target `throughput`)."""
    if any(use > settings.easy_up for use in uses):
        return 1
    return -1 if len(uses) > 1 and all(use < settings.easy_down for use in uses) else 0


@dataclass(slots=True)
class Dynamo:
    """The planner's memory of one variant."""

    settings: DynamoSettings
    profile: Profile = UNCALIBRATED
    floor: int = 0
    next_forecast: float | None = None
    requests: list[float] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)

    def desired(self, view: View) -> int | None:
        """One tick: the forecast when it is due, then the load loop; nothing while a change is under way."""
        engine = engine_of(view, self.profile)
        if self.next_forecast is None:
            self.next_forecast = view.now + self.settings.interval
        if view.now >= self.next_forecast:
            self.next_forecast = view.now + self.settings.interval
            self._forecast(view, engine)
        if view.replicas == 0:
            return max(view.least, self.settings.min_endpoint)
        if view.ready != view.replicas:
            return None
        loads = self._loads(view)
        if len(loads) != view.ready:
            return None  # a worker without figures: counts do not match
        wanted = max(view.replicas + self._step(view, engine, loads), self.floor, self.settings.min_endpoint)
        step = self.settings.most_step
        return view.clamp(min(max(wanted, view.replicas - step), view.replicas + step))

    def _loads(self, view: View) -> list[EngineLoad]:
        kv, queued = view.latest(PodGauge.KV_USAGE), view.latest(PodGauge.QUEUED_PROMPT_TOKENS)
        running, total = view.latest(PodGauge.RUNNING), float(view.variant.kv_capacity_tokens)
        return [EngineLoad(kv[pod] * total, queued.get(pod, 0.0), running.get(pod, 0.0)) for pod in sorted(kv)]

    def _step(self, view: View, engine: Engine | None, loads: Sequence[EngineLoad]) -> int:
        latency = self._objectives(view)
        if engine is None:
            total = float(view.variant.kv_capacity_tokens)
            return easy([(load.resident + load.queued) / total for load in loads], self.settings)
        traffic = self._traffic(view)
        steps = []
        if latency.ttft is not None:
            steps.append(by_ttft(engine, loads, traffic, latency.ttft, self.settings.sensitivity))
        if latency.inter_token is not None:
            steps.append(by_inter_token(engine, loads, traffic, latency.inter_token, self.settings.sensitivity))
        if not steps:
            return 0
        return 1 if max(steps) > 0 else max(steps)

    def _objectives(self, view: View) -> Targets:
        latency, share = view.service.spec.latency, self.settings.share
        inter_token, ttft = latency.inter_token_seconds, latency.ttft_seconds
        return Targets(inter_token and inter_token * share, ttft and ttft * share, MEAN_PERCENTILE)

    def _traffic(self, view: View) -> StepTraffic:
        window = self.settings.interval
        computed = (view.rate(Total.PROMPT_TOKENS, window) or 0.0) * (1.0 - view.hit_rate(window))
        requests, steps = view.rate(Total.FIRST_TOKENS, window), view.rate(Total.STEPS, window)
        return StepTraffic(computed / requests if requests else 0.0, computed / steps if steps else 0.0)

    def _forecast(self, view: View, engine: Engine | None) -> None:
        lengths = view.lengths(self.settings.interval)
        if lengths is None or engine is None:
            return
        self.requests.append(view.request_rate(self.settings.interval))
        self.prompts.append(lengths[0])
        self.answers.append(lengths[1])
        rate, prompt, answer = (self._next(series) for series in (self.requests, self.prompts, self.answers))
        latency = self._objectives(view)
        load = Load(max(prompt, 1.0), max(answer, 1.0), view.hit_rate(self.settings.interval))
        per_engine = capacity(engine, load, latency)
        if per_engine:
            self.floor = max(ceil(rate / per_engine - 1e-9), self.settings.min_endpoint)

    def _next(self, series: Sequence[float]) -> float:
        if self.settings.predictor is Predictor.CONSTANT or len(series) < LEAST_POINTS:
            return series[-1]
        return forecast(series, best_order(series), 1)[0]


def dynamo_policy(settings: DynamoSettings, profile: Profile = UNCALIBRATED) -> Policy:
    """One planner per variant."""
    return PerVariant(TICK_SECONDS, lambda: Dynamo(settings, profile))
