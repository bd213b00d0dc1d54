"""SageServe: an hourly forecast sets a budget of replicas, memory use spends it.

Sources: arXiv 2502.14617 and its code shashwatj07/SageServe 0b95ca2 (MIT), written anew from its rules. A region's
models become a service's variants; spot instances are left out; a start takes the documented cold start. Until half an
hour of traffic has been seen (the publication starts with a week of it) memory use alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from pertoken.performance.steady import Load, Targets
from pertoken_bench.policies.arima import forecast
from pertoken_bench.policies.prior import UNCALIBRATED, Profile, capacity, engine_of
from pertoken_bench.policies.view import View
from pertoken_bench.policy import Order, Orders, PodGauge, PolicyObservation, ServiceSeen, Total

TICK_SECONDS = 15.0
MINUTE = 60.0
LENGTH_SECONDS = 600.0
LEAST_MINUTES = 30
HISTORY_MINUTES = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class SageServeSettings:
    """Knobs of the publication and its code.

    Attributes:
        epoch: seconds between forecasts.
        window: minutes ahead whose largest forecast counts.
        up, down: shares of KV memory that let the budget be spent.
        ratio: actual / forecast prompt tokens per minute that adds a replica without budget; the code leaves it to
            the configuration.
        spin_down: seconds between removals while no forecast exists.
    """

    order: tuple[int, int, int] = (3, 1, 2)
    epoch: float = 3600.0
    window: tuple[int, int] = (20, 60)
    up: float = 0.5
    down: float = 0.25
    ratio: float = 2.0
    spin_down: float = 65.0


@dataclass(frozen=True, slots=True)
class Supply:
    """One variant in the allocation: replicas now, tokens per minute and USD per hour of one, bounds."""

    replicas: int
    tokens: float
    usd_per_hour: float
    least: int
    most: int


def allocate(supplies: Sequence[Supply], demand: float, start_hours: float) -> list[int]:
    """Changes of replicas that carry `demand` tokens per minute at the least cost of an hour and of starts.

    ``min sum(cost * dx + start * cost * max(dx, 0))  s.t.  sum((x + dx) * tokens) >= demand``; what cannot be carried
    is left to the maxima.
    """
    count = len(supplies)
    cost = np.array([s.usd_per_hour for s in supplies])
    tokens = np.array([s.tokens for s in supplies])
    now = np.array([s.replicas for s in supplies], dtype=np.float64)
    low = np.array([s.least for s in supplies]) - now
    high = np.maximum(np.array([s.most for s in supplies]) - now, low)
    reachable = min(demand, float(tokens @ (now + high)))
    eye = np.eye(count)
    result = milp(
        np.concatenate((cost, cost * start_hours)),
        constraints=[
            LinearConstraint(np.concatenate((tokens, np.zeros(count)))[None, :], lb=reachable - float(tokens @ now)),
            LinearConstraint(np.hstack((-eye, eye)), lb=0.0),
        ],
        bounds=Bounds(np.concatenate((low, np.zeros(count))), np.concatenate((high, np.maximum(high, 0.0)))),
        integrality=np.concatenate((np.ones(count), np.zeros(count))),
    )
    return [0] * count if result.x is None else [round(float(value)) for value in result.x[:count]]


@dataclass(slots=True)
class _Variant:
    budget: int | None = None  # None until the first forecast
    busy_until: float = float("-inf")


@dataclass(slots=True)
class _Service:
    minutes: list[float] = field(default_factory=list)
    next_minute: float = 0.0
    next_epoch: float | None = None
    path: list[float] = field(default_factory=list)
    path_from: float = 0.0
    variants: dict[str, _Variant] = field(default_factory=dict)


class SageServe:
    """The policy.

    Attributes:
        period_seconds: distance of ticks (the code looks at every arrival).
    """

    period_seconds = TICK_SECONDS

    def __init__(self, settings: SageServeSettings, profile: Profile = UNCALIBRATED) -> None:
        """Start without history."""
        self.settings = settings
        self.profile = profile
        self._services: dict[str, _Service] = {}

    def decide(self, seen: PolicyObservation) -> Orders:
        """Record the minute, forecast when due, then one step per variant."""
        orders: dict[tuple[str, str], Order] = {}
        for name, service in seen.services.items():
            memory = self._services.setdefault(name, _Service(next_minute=seen.now + MINUTE))
            self._record(seen, name, memory)
            if len(memory.minutes) >= LEAST_MINUTES and seen.now >= (memory.next_epoch or seen.now):
                self._plan(seen, service, memory)
            for variant in service.variants.values():
                view = View(seen, service, variant)
                wanted = self._step(view, memory, memory.variants.setdefault(variant.spec.name, _Variant()))
                if wanted != view.replicas:
                    orders[name, variant.spec.name] = Order(replicas=wanted)
        return orders

    def _record(self, seen: PolicyObservation, name: str, memory: _Service) -> None:
        if seen.now < memory.next_minute:
            return
        memory.next_minute += MINUTE
        rates = seen.metrics.rate(name, Total.PROMPT_TOKENS, MINUTE)
        memory.minutes.append(sum(rates.values()) * MINUTE)
        del memory.minutes[:-HISTORY_MINUTES]

    def _plan(self, seen: PolicyObservation, service: ServiceSeen, memory: _Service) -> None:
        memory.next_epoch = seen.now + self.settings.epoch
        first, last = self.settings.window
        memory.path = forecast(memory.minutes, self.settings.order, last)
        memory.path_from = seen.now
        views = [View(seen, service, variant) for variant in service.variants.values()]
        rates = [self._tokens_per_minute(view) for view in views]
        if any(rate is None for rate in rates):
            return
        supplies = [
            Supply(view.replicas, rate or 0.0, view.variant.usd_per_hour, view.least, view.most)
            for view, rate in zip(views, rates, strict=True)
        ]
        changes = allocate(supplies, max(memory.path[first - 1 :]), seen.cold_start_seconds / 3600.0)
        for view, change in zip(views, changes, strict=True):
            memory.variants.setdefault(view.variant.spec.name, _Variant()).budget = change

    def _tokens_per_minute(self, view: View) -> float | None:
        """Prompt tokens that one replica takes within the objectives."""
        engine, lengths = engine_of(view, self.profile), view.lengths(LENGTH_SECONDS)
        if engine is None or lengths is None:
            return None
        latency = view.service.spec.latency
        targets = Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile)
        load = Load(max(lengths[0], 1.0), max(lengths[1], 1.0), view.hit_rate(LENGTH_SECONDS))
        rate = capacity(engine, load, targets)
        return None if rate is None else rate * lengths[0] * MINUTE

    def _step(self, view: View, memory: _Service, variant: _Variant) -> int:
        """At most one replica up or down."""
        if view.replicas == 0:
            return view.clamp(max(1, view.least))
        uses = view.latest(PodGauge.KV_USAGE)
        if view.now < variant.busy_until or not uses:
            return view.replicas
        use = sum(uses.values()) / len(uses)
        change = react(use, variant.budget, self._surprise(view, memory), self.settings)
        wanted = view.clamp(max(view.replicas + change, 1))
        if wanted == view.replicas:
            return wanted
        if wanted > view.replicas:
            variant.busy_until = view.now + view.seen.cold_start_seconds
        elif variant.budget is None:
            variant.busy_until = view.now + self.settings.spin_down
        if variant.budget is not None:
            variant.budget -= wanted - view.replicas
        return wanted

    def _surprise(self, view: View, memory: _Service) -> float:
        """Prompt tokens of the last minute over those that were forecast for it; 0 without a forecast."""
        ahead = int((view.now - memory.path_from) // MINUTE)
        if not memory.minutes or not 0 <= ahead < len(memory.path) or memory.path[ahead] <= 0:
            return 0.0
        return memory.minutes[-1] / memory.path[ahead]


def react(use: float, budget: int | None, surprise: float, settings: SageServeSettings) -> int:
    """-1, 0 or 1 replica for memory use, what is left of the budget, and actual / forecast traffic."""
    if budget is None:
        return (use > settings.up) - (use < settings.down)
    if budget == 0:
        return 1 if surprise > settings.ratio else 0
    if budget > 0:
        return 1 if use > settings.up else 0
    return -1 if use < settings.down else 0
