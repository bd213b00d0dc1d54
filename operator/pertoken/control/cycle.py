"""The planning cycle: observe, account, plan, act. It is the only orchestration; reports follow on their own pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pertoken.control.account_and_plan import account_and_plan
from pertoken.control.actuate import Actuator, Outcome, Result, kind_of
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory, Snapshot
from pertoken.control.observer import Observer
from pertoken.control.owned import Keeper
from pertoken.control.routes import RouteObject, Router, with_outcomes
from pertoken.control.saved import NOTHING, Saved
from pertoken.control.state import StateStore
from pertoken.control.survey import Surveyed
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import EvictPod, Plan
from pertoken.domain.world import World
from pertoken.performance.results import Results
from pertoken.planner.tuning import TUNING, Tuning
from pertoken.ports import Clock, CycleSummary, Leadership


@dataclass(frozen=True, slots=True)
class CycleResult:
    """Everything that reports and telemetry need of one cycle.

    Attributes:
        term: of leadership in which it was planned: what is written of it is written in that term alone.
        now: seconds since the epoch, for which it was planned.
        started_from, handed_on: what `account_and_plan` was given and what it returned, besides the plan.
        again: something was just made that the next cycle should look at soon.
        routes: every ModelRoute; the decisions on them are in the plan.
        released: uids of services that may be deleted without what was made for them.
    """

    term: int
    now: float
    surveyed: Surveyed
    metrics: Mapping[str, MetricsSnapshot]
    world: World
    plan: Plan
    outcomes: tuple[Outcome, ...]
    summary: CycleSummary
    started_from: Saved
    handed_on: Saved
    again: bool = False
    routes: tuple[RouteObject, ...] = ()
    released: frozenset[str] = frozenset()


@dataclass(slots=True)
class Cycle:
    """Runs one cycle at a time.

    Attributes:
        fence: of every write of a cycle; opened anew by each.
        keeper: brings owned workloads in line with their templates before planning.
        store: of what a term has learnt.
        tuning: the numbers that decide.
        results: of the performance model, which the next cycle asks for again.
        saved: what the last cycle hands to the next one.
        router: reads ModelRoutes and writes their weights; None where there are none.
    """

    clock: Clock
    inventory: Inventory
    leadership: Leadership
    fence: Fence
    observer: Observer
    keeper: Keeper
    actuator: Actuator
    store: StateStore
    tuning: Tuning = TUNING
    saved: Saved = NOTHING
    results: Results = field(default_factory=Results)
    router: Router | None = None
    _term: int | None = None

    @property
    def due(self) -> bool:
        """This process leads and has seen every kind."""
        return self.inventory.synced and self.leadership.valid()

    async def run_once(self, number: int) -> CycleResult | None:
        """One cycle; None when it is not due."""
        if not self.due:
            return None
        term = await self._enter_term()
        stopwatch = _Stopwatch(self.clock)

        # Observe. Owned workloads are made and corrected first: what the server refuses is not planned this time.
        metrics = await asyncio.to_thread(self.observer.measure)
        surveyed = await asyncio.to_thread(self.observer.survey, self.inventory.snapshot())
        surveyed = surveyed.without(await asyncio.to_thread(self.keeper.keep, surveyed))
        world = await asyncio.to_thread(self.observer.world, surveyed, metrics)
        routes = () if self.router is None else await asyncio.to_thread(self.router.read)
        if self.router is not None and routes:
            world = replace(world, routes=await asyncio.to_thread(self.router.views, routes))
        now = self.clock.now()
        stopwatch.lap("observe")

        # Account and plan.
        before = self.saved
        plan, handed_on = await asyncio.to_thread(
            account_and_plan, world, before, now, stopwatch.lap, self.tuning, self.results
        )
        self.saved = _with_unplanned(handed_on, before, surveyed.snapshot)

        # Act.
        outcomes = await asyncio.to_thread(self.actuator.carry_out, plan.actions, surveyed)
        self._assume(outcomes)
        if self.router is not None and plan.routes:
            written = await asyncio.to_thread(self.router.carry_out, plan.routes)
            plan = replace(plan, routes=with_outcomes(plan.routes, written))
        stopwatch.lap("act")

        # Remember.
        await asyncio.to_thread(self.store.save, self.saved)
        stopwatch.lap("remember")
        summary = _summary(number, plan, outcomes, stopwatch.phases)
        again, released = self.keeper.awaits(surveyed), self.keeper.released(surveyed)
        return CycleResult(
            term, now, surveyed, metrics, world, plan, outcomes, summary, before, handed_on, again, routes, released
        )

    async def save(self) -> None:
        """Save at once what this term has learnt; nothing where the term is over, or never began."""
        if self._term is not None and self._term == self.leadership.term:
            await asyncio.to_thread(self.store.save, self.saved, force=True)

    async def _enter_term(self) -> int:
        """Write for this term only.

        Between two terms another leader may have come: its state counts, and what this process remembers of its own
        writes may be out of date.
        """
        term = self.leadership.term
        if term != self._term:
            self.keeper.forget()
            self.saved = await asyncio.to_thread(self.store.load)
            self._term = term
        self.fence.enter(term)
        return term

    def _assume(self, outcomes: tuple[Outcome, ...]) -> None:
        for outcome in outcomes:
            if isinstance(outcome.action, EvictPod) and outcome.result is Result.DONE:
                self.inventory.assume_terminating(outcome.action.uid)


@dataclass(slots=True)
class _Stopwatch:
    """How long each phase takes, in seconds."""

    clock: Clock
    phases: dict[str, float] = field(default_factory=dict)
    _mark: float = field(init=False)

    def __post_init__(self) -> None:
        self._mark = self.clock.monotonic()

    def lap(self, phase: str) -> None:
        """A phase is over."""
        now = self.clock.monotonic()
        self.phases[phase] = now - self._mark
        self._mark = now


def _summary(number: int, plan: Plan, outcomes: tuple[Outcome, ...], phases: Mapping[str, float]) -> CycleSummary:
    return CycleSummary(
        number=number,
        ok=True,
        phases=phases,
        outcomes=Counter((kind_of(outcome.action), outcome.result.value) for outcome in outcomes),
        services=tuple(decision.service for decision in plan.decisions),
    )


def _with_unplanned(saved: Saved, before: Saved, snapshot: Snapshot) -> Saved:
    """Keep memory and account of services that could not be planned; the next metrics count as after a gap."""
    kept = {}
    for service in snapshot.services:
        known = before.memory.service(service.key)
        if str(service.key) not in saved.memory.services and known is not None and known.uid == service.uid:
            kept[str(service.key)] = replace(known, fresh_since=None)
    if not kept:
        return saved
    accounts = {name: account for name, account in before.ledger.services.items() if name in kept}
    return Saved(
        replace(saved.memory, services={**saved.memory.services, **kept}),
        replace(saved.ledger, services={**accounts, **saved.ledger.services}),
        saved.routes,
    )
