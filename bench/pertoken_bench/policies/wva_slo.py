"""WVA's parked latency path (inferno), with the fault mended that kept it from scaling up.

As merged, its supply was ``ceil(rate / rate*) * rate*``, the wish itself, so that nothing was ever missing. Here the
wish is published. Sizing by the state-dependent queue, accelerators by cost with a penalty for moving. Source:
llm-d/llm-d-workload-variant-autoscaler b08b1c7 and llm-inferno (Apache-2.0), written anew from their formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pertoken.performance.steady import Load
from pertoken_bench.policies.prior import UNCALIBRATED, Profile, engine_of, linear_step
from pertoken_bench.policies.published import Follower
from pertoken_bench.policies.queueing import (
    Analyzer,
    MeanObjectives,
    ReplicaQueue,
    RequestSize,
    Sized,
    StepTime,
    replicas_for,
)
from pertoken_bench.policies.view import View
from pertoken_bench.policy import Order, Orders, PolicyObservation

CYCLE_SECONDS = 15.0
RATE_SECONDS = 60.0
LENGTH_SECONDS = 300.0
QUEUE_FACTOR = 10  # places in the queue per place in the batch
MOVE_PENALTY = 0.1  # of both costs together, for another accelerator


@dataclass(frozen=True, slots=True)
class AcceleratorChoice:
    """Replicas of one accelerator for a service's whole load; `cost` of all of them."""

    accelerator: str
    replicas: int
    cost: float
    inter_token: float = 0.0
    ttft: float = 0.0


@dataclass(frozen=True, slots=True)
class AcceleratorOffer:
    """One accelerator: its step time, largest batch, cost of one replica."""

    accelerator: str
    step: StepTime
    batch: int
    cost: float
    least: int = 0


def batch_for(largest: float, at_tokens: float, output: float) -> int:
    """Batch for answers of `output` tokens where `largest` was measured with `at_tokens`."""
    return max(int(largest * at_tokens / output), 1)


def allocate(
    offer: AcceleratorOffer, rate: float, size: RequestSize, objectives: MeanObjectives
) -> AcceleratorChoice | None:
    """Size one accelerator for `rate` requests per second; None when even one request alone misses an objective."""
    if rate <= 0:
        return AcceleratorChoice(offer.accelerator, offer.least, offer.least * offer.cost)
    analyzer, sized = _sized(offer.step, size, offer.batch, objectives)
    if sized is None:
        return None
    replicas = replicas_for(rate, sized, offer.least)
    each = analyzer.at(min(rate / replicas, analyzer.highest))
    return AcceleratorChoice(offer.accelerator, replicas, replicas * offer.cost, each.inter_token, each.ttft)


@lru_cache(maxsize=256)
def _sized(step: StepTime, size: RequestSize, batch: int, objectives: MeanObjectives) -> tuple[Analyzer, Sized | None]:
    """One replica's queue and its highest rate within the objectives."""
    analyzer = Analyzer(ReplicaQueue(step, size, batch, QUEUE_FACTOR * batch))
    return analyzer, analyzer.size(objectives)


def move_value(old: AcceleratorChoice, new: AcceleratorChoice) -> float:
    """What a change costs: the difference, and a penalty for another accelerator."""
    difference = new.cost - old.cost
    if old.accelerator == new.accelerator:
        return difference
    return MOVE_PENALTY * (old.cost + new.cost) + difference


def cheapest(old: AcceleratorChoice | None, allocations: Sequence[AcceleratorChoice]) -> AcceleratorChoice:
    """The allocation of least value (of least cost where nothing runs yet)."""
    return min(allocations, key=lambda new: (new.cost if old is None else move_value(old, new), new.accelerator))


@dataclass(frozen=True, slots=True)
class WvaSloSettings:
    """Share of the service's objectives that the mean latencies must keep (1: as published, means)."""

    share: float = 1.0


class WvaSlo:
    """The policy.

    Attributes:
        period_seconds: distance of ticks.
    """

    period_seconds = CYCLE_SECONDS

    def __init__(self, settings: WvaSloSettings, profile: Profile = UNCALIBRATED) -> None:
        """Nothing is published at first."""
        self.settings = settings
        self.profile = profile
        self._followers: dict[str, Follower] = {}
        self._chosen: dict[str, AcceleratorChoice] = {}

    def decide(self, seen: PolicyObservation) -> Orders:
        """Follow what was published, then size anew."""
        orders: dict[tuple[str, str], Order] = {}
        for name, service in seen.services.items():
            follower = self._followers.setdefault(name, Follower())
            views = [View(seen, service, variant) for variant in service.variants.values()]
            for view in views:
                wanted = follower.sync(view) if view.replicas else self._started(follower, view)
                if wanted != view.replicas:
                    orders[name, view.variant.spec.name] = Order(replicas=wanted)
            self._publish(name, follower, views)
        return orders

    @staticmethod
    def _started(follower: Follower, view: View) -> int:
        held = view.seen.metrics.gateway_queue(view.service.name) > 0
        return view.clamp(1) if held or follower.published.get(view.variant.spec.name, 0) > 0 else view.least

    def _publish(self, name: str, follower: Follower, views: Sequence[View]) -> None:
        lengths = [length for view in views if (length := view.lengths(LENGTH_SECONDS)) is not None]
        if not lengths:
            return
        prompt = sum(length[0] for length in lengths) / len(lengths)
        answer = sum(length[1] for length in lengths) / len(lengths)
        latency = views[0].service.spec.latency
        objectives = MeanObjectives(
            1e3 * self.settings.share * (latency.ttft_seconds or 0.0),
            1e3 * self.settings.share * (latency.inter_token_seconds or 0.0),
        )
        # On a grid of about 2 %: small drifts neither move decisions nor defeat memoisation.
        load = Load(prompt, max(answer, 1.0)).rounded()
        size = RequestSize(load.input_tokens, max(load.output_tokens, 1.0))
        rate = views[0].seen.metrics.request_rate(name, RATE_SECONDS)
        offers = [offer for view in views if (offer := self._offer(view)) is not None]
        sized = [a for offer in offers if (a := allocate(offer, rate, size, objectives)) is not None]
        if not sized:
            return
        self._chosen[name] = cheapest(self._chosen.get(name), sized)
        for view in views:
            mine = view.variant.spec.name == self._chosen[name].accelerator
            follower.published[view.variant.spec.name] = view.clamp(self._chosen[name].replicas if mine else 0)

    def _offer(self, view: View) -> AcceleratorOffer | None:
        engine = engine_of(view, self.profile)
        if engine is None:
            return None
        variant = view.variant
        return AcceleratorOffer(
            variant.spec.name, linear_step(engine), variant.cap, variant.usd_per_hour, max(view.least, 0)
        )
