"""The planning cycle: gate, observe, account, plan, act, report. The only orchestration there is."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from pertoken.control.actuate import Actuator, Outcome, Result, kind_of
from pertoken.control.decide import decide
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory, Snapshot
from pertoken.control.saved import NOTHING, Saved
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import EvictPod, Plan
from pertoken.domain.world import World
from pertoken.ports import Clock, CycleSummary, Leadership, MetricsSource

LOGGER = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The world of one cycle, and what could not become part of it."""

    world: World
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class CycleResult:
    """Everything that the report stage and telemetry need of one cycle."""

    number: int
    now: float
    observed: Observed
    plan: Plan
    outcomes: tuple[Outcome, ...]
    metrics: Mapping[str, MetricsSnapshot]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a cycle plans on.

    Attributes:
        again: something was just made that the next cycle should look at soon.
    """

    snapshot: Snapshot
    again: bool = False


Observer = Callable[[Snapshot, Mapping[str, MetricsSnapshot]], World]
Prepare = Callable[[Snapshot], Prepared]
Reporter = Callable[[CycleResult], None]
Listener = Callable[[CycleResult | None, CycleSummary], None]


@dataclass(slots=True)
class Cycle:
    """Runs one cycle after another.

    Attributes:
        sources: metrics profile -> where its metrics come from.
        fence: of every write; opened anew by each cycle.
        recall: loads the state that the last leader saved; asked at the first cycle of each term.
        prepare: brings owned workloads in line with their templates before planning; returns the snapshot to plan on.
        observe: builds the world (pure).
        report: writes statuses and events.
        listen: told of every finished cycle.
        remember: told of the new state after every cycle.
    """

    clock: Clock
    inventory: Inventory
    sources: Mapping[str, MetricsSource]
    leadership: Leadership
    fence: Fence
    recall: Callable[[], Saved]
    prepare: Prepare
    observe: Observer
    actuator: Actuator
    report: Reporter
    listen: Listener
    remember: Callable[[Saved], None]
    interval_seconds: float = 15.0
    saved: Saved = NOTHING
    number: int = 0
    finished_at: float | None = None
    _term: int | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def remembers(self) -> bool:
        """The state is that of this term, and so may be saved."""
        return self._term is not None and self._term == self.leadership.term

    def wake(self) -> None:
        """Ask for a cycle soon (debounced)."""
        self._wake.set()

    async def run(self) -> None:
        """Cycle until cancelled. A cycle that fails is logged and counted; the next one starts afresh."""
        while True:
            started = self.clock.monotonic()
            await self._guarded()
            await self._pause(started)

    async def _guarded(self) -> None:
        self.number += 1
        try:
            await self.run_once()
        except Exception as error:
            LOGGER.exception("cycle %d failed", self.number)
            self.listen(None, CycleSummary(number=self.number, ok=False, error=f"{type(error).__name__}: {error}"))

    async def _pause(self, started: float) -> None:
        left = self.interval_seconds - (self.clock.monotonic() - started)
        try:
            await asyncio.wait_for(self._wake.wait(), timeout=max(left, 0.05))
        except TimeoutError:
            return
        # Several changes often come together: let them gather.
        await asyncio.sleep(min(DEBOUNCE_SECONDS, self.interval_seconds))
        self._wake.clear()

    async def run_once(self) -> CycleResult | None:
        """One cycle; None when the gate is closed (standby, or the inventory is not complete yet)."""
        if not self.inventory.synced or not self.leadership.valid():
            return None
        phases: dict[str, float] = {}
        mark = self.clock.monotonic()

        def lap(phase: str) -> None:
            nonlocal mark
            phases[phase] = self.clock.monotonic() - mark
            mark = self.clock.monotonic()

        await self._enter()
        metrics = await self._metrics()
        prepared = await asyncio.to_thread(self.prepare, self.inventory.snapshot())
        if prepared.again:
            self.wake()
        snapshot = prepared.snapshot
        world = await asyncio.to_thread(self.observe, snapshot, metrics)
        now = self.clock.now()
        lap("observe")
        plan, saved = await asyncio.to_thread(decide, world, self.saved, now, lap)
        self.saved = _with_refused(saved, self.saved, snapshot)
        outcomes = await asyncio.to_thread(self.actuator.carry_out, plan.actions)
        self._assume(outcomes)
        lap("act")
        result = CycleResult(self.number, now, Observed(world, snapshot), plan, outcomes, metrics)
        await asyncio.to_thread(self.report, result)
        await asyncio.to_thread(self.remember, self.saved)
        lap("report")
        self.finished_at = self.clock.monotonic()
        self.listen(result, self._summary(plan, outcomes, phases))
        return result

    async def _enter(self) -> None:
        """Write for this term only. Another leader may have come between two terms: its state counts then."""
        term = self.leadership.term
        if term != self._term:
            self.saved = await asyncio.to_thread(self.recall)
            self._term = term
        self.fence.enter(term)

    async def _metrics(self) -> dict[str, MetricsSnapshot]:
        names = list(self.sources)
        reads: list[Awaitable[MetricsSnapshot]] = [asyncio.to_thread(self.sources[name].observe) for name in names]
        return dict(zip(names, await asyncio.gather(*reads), strict=True))

    def _assume(self, outcomes: tuple[Outcome, ...]) -> None:
        for outcome in outcomes:
            if isinstance(outcome.action, EvictPod) and outcome.result is Result.DONE:
                self.inventory.assume_terminating(outcome.action.uid)

    def _summary(self, plan: Plan, outcomes: tuple[Outcome, ...], phases: Mapping[str, float]) -> CycleSummary:
        counts = Counter((kind_of(outcome.action), outcome.result.value) for outcome in outcomes)
        return CycleSummary(
            number=self.number,
            ok=True,
            phases=phases,
            outcomes=counts,
            services=tuple(decision.service for decision in plan.decisions),
        )


def _with_refused(saved: Saved, before: Saved, snapshot: Snapshot) -> Saved:
    """A service that could not be planned this time is not forgotten; what it learns next comes after a gap."""
    kept = {}
    for service in snapshot.of("inferenceservices"):
        known = before.memory.service(service.key)
        if str(service.key) not in saved.memory.services and known is not None and known.uid == service.uid:
            kept[str(service.key)] = replace(known, fresh_since=None)
    if not kept:
        return saved
    accounts = {name: account for name, account in before.ledger.services.items() if name in kept}
    return Saved(
        replace(saved.memory, services={**saved.memory.services, **kept}),
        replace(saved.ledger, services={**accounts, **saved.ledger.services}),
    )
