"""Chiron: a local batch from back-pressure, a global count of replicas from the share that is busy.

Sources: arXiv 2501.08090 for the local rule, its port in shashwatj07/SageServe 0b95ca2 (MIT) for the global one,
written anew. Chiron's router packs requests onto as few instances as its batch allows and counts those that are busy;
under a router that spreads all are. The count that packing would need is taken instead: requests in the engines over
the local batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pertoken_bench.policies.prior import UNCALIBRATED, Profile, engine_of, prefill_rate
from pertoken_bench.policies.view import View
from pertoken_bench.policy import Order, Orders, PodGauge, PolicyObservation, Total

TICK_SECONDS = 15.0
WINDOW_SECONDS = 60.0
LENGTH_SECONDS = 600.0
FULL = 0.9  # share of the batch that counts as full
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ChironSettings:
    """Knobs.

    Attributes:
        theta: share of busy replicas above which one is added, else one is removed.
        first_batch: local batch at the start.
        growth: sequences added per step at back-pressure 1 (divided by the back-pressure).
        spin_down: seconds between removals.
        batch_deadline: time-to-first-token objective (seconds) from which a service is a batch service, scaled by the
            time that its queue takes.
        live: the local batch is set in running engines, as the publication has it. No released engine can.
    """

    theta: float = 0.6
    first_batch: float = 32.0
    growth: float = 4.0
    spin_down: float = 65.0
    batch_deadline: float = 3600.0
    live: bool = True


def back_pressure(inter_token: float, objective: float, before: float | None, now: float) -> float:
    """Larger of latency over objective and the throughput of before over that of now (1 without a former one)."""
    lost = before / now if before is not None and now > 0 else 0.0
    return max(inter_token / objective, lost)


def next_batch(batch: float, pressure: float, settings: ChironSettings, most: float) -> float:
    """Grow by steps that shrink with the pressure below 1; halve above."""
    if pressure > 1.0:
        return max(1.0, batch / 2.0)
    return min(most, batch + max(1.0, settings.growth / max(pressure, 0.25)))


def busy_share(requests: float, batch: float, replicas: int) -> float:
    """Share of replicas that packing by the local batch would keep busy."""
    return min(1.0, ceil(requests / batch - _ROUNDING) / replicas)


def drain_seconds(waiting: float, prompt_seconds: float, tokens: float, rate: float) -> float:
    """Seconds until a batch queue is worked off: prompts one by one, tokens at the fleet's rate."""
    return waiting * prompt_seconds + (tokens / rate if rate > 0 else float("inf") if tokens > 0 else 0.0)


@dataclass(slots=True)
class _Memory:
    batch: float
    throughput: float | None = None
    busy_until: float = float("-inf")


class Chiron:
    """The policy.

    Attributes:
        period_seconds: distance of ticks.
    """

    period_seconds = TICK_SECONDS

    def __init__(self, settings: ChironSettings, profile: Profile = UNCALIBRATED) -> None:
        """Start at the first batch."""
        self.settings = settings
        self.profile = profile
        self._memories: dict[tuple[str, str], _Memory] = {}

    def decide(self, seen: PolicyObservation) -> Orders:
        """The local rule, then the global one, for every variant."""
        orders: dict[tuple[str, str], Order] = {}
        for name, service in seen.services.items():
            for variant in service.variants.values():
                view = View(seen, service, variant)
                key = (name, variant.spec.name)
                memory = self._memories.setdefault(key, _Memory(min(self.settings.first_batch, float(variant.cap))))
                self._local(view, memory)
                wanted = self._global(view, memory)
                live = int(memory.batch) if self.settings.live else None
                if wanted != view.replicas or live is not None:
                    orders[key] = Order(replicas=wanted if wanted != view.replicas else None, live_cap=live)
        return orders

    def _local(self, view: View, memory: _Memory) -> None:
        objective = view.service.spec.latency.inter_token_seconds
        tokens, seconds = (
            view.rate(Total.INTER_TOKENS, WINDOW_SECONDS),
            view.rate(Total.INTER_TOKEN_SECONDS, WINDOW_SECONDS),
        )
        produced = view.rate(Total.GENERATION_TOKENS, WINDOW_SECONDS)
        if not objective or not tokens or seconds is None or produced is None or view.ready == 0:
            return
        # Packed instances are full, so the rule speaks of the batch that runs: it grows from full batches alone,
        # shrinks from what runs, and asks after throughput once it has grown.
        runs = (view.sum(PodGauge.RUNNING) or 0.0) / view.ready
        full = runs >= FULL * memory.batch
        now = produced / view.ready
        pressure = back_pressure(seconds / tokens, objective, memory.throughput if full else None, now)
        memory.throughput = None
        if pressure > 1.0:
            memory.batch = next_batch(
                min(memory.batch, max(runs, 1.0)), pressure, self.settings, float(view.variant.cap)
            )
        elif full:
            memory.batch = next_batch(memory.batch, pressure, self.settings, float(view.variant.cap))
            memory.throughput = now

    def _global(self, view: View, memory: _Memory) -> int:
        if view.replicas == 0:
            held = view.seen.metrics.gateway_queue(view.service.name) > 0
            return view.clamp(1) if held or view.least > 0 else 0
        if view.now < memory.busy_until:
            return view.replicas
        objective = view.service.spec.latency.ttft_seconds
        batch = objective is not None and objective >= self.settings.batch_deadline
        change = self._for_batch(view, objective or 0.0) if batch else self._for_interactive(view, memory)
        wanted = view.clamp(max(view.replicas + change, 0 if batch else 1))
        if wanted > view.replicas:
            memory.busy_until = view.now + view.seen.cold_start_seconds
        elif wanted < view.replicas:
            memory.busy_until = view.now + self.settings.spin_down
        return wanted

    def _for_interactive(self, view: View, memory: _Memory) -> int:
        running, waiting = view.sum(PodGauge.RUNNING), view.sum(PodGauge.WAITING)
        if running is None:
            return 0
        share = busy_share(running + (waiting or 0.0), memory.batch, view.replicas)
        return 1 if share > self.settings.theta else -1

    def _for_batch(self, view: View, deadline: float) -> int:
        waiting = (view.sum(PodGauge.WAITING) or 0.0) + view.gateway_queue()
        running = view.sum(PodGauge.RUNNING) or 0.0
        if waiting + running <= 0:
            return -view.replicas
        lengths, engine = view.lengths(LENGTH_SECONDS), engine_of(view, self.profile)
        if lengths is None or engine is None:
            return 0
        rate = view.rate(Total.GENERATION_TOKENS, WINDOW_SECONDS) or 0.0
        seconds = drain_seconds(waiting, lengths[0] / prefill_rate(engine), waiting * lengths[1], rate)
        return 1 if seconds > deadline else 0
