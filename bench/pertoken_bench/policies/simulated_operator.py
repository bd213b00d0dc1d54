"""The operator's parts, put together as `pertoken.app` does, on the simulated cluster behind the operator's ports."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final, ParamSpec, TypeVar

from pertoken.adapters.alone import Alone
from pertoken.catalog.lookup import SHIPPED, Catalog
from pertoken.control.actuate import Actuator
from pertoken.control.caps import CapReader
from pertoken.control.cycle import Cycle, CycleResult
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory
from pertoken.control.kinds import Kinds, WatchedKind
from pertoken.control.observer import Observer
from pertoken.control.owned import Keeper
from pertoken.control.parse import KINDS
from pertoken.control.saved import Saved
from pertoken.control.state import StateStore
from pertoken.control.survey import Surveyed
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.world import World
from pertoken.planner.tuning import TUNING, Tuning
from pertoken.settings import Settings
from pertoken_bench.cluster.accepted import PROFILE, pool_object, service_object
from pertoken_bench.cluster.api_server import ApiServer
from pertoken_bench.cluster.metrics_source import SimulatedSource
from pertoken_bench.cluster.prometheus import Prometheus
from pertoken_bench.cluster.writer import Writer

LEAST_SCRAPES: Final = 4  # in the rate window, and before a sample is stale
PARSED: Final = "parsed"  # services and pools reach the inventory as they are after the scenario's own check

P = ParamSpec("P")
T = TypeVar("T")
Change = Callable[[World], World]


@dataclass(frozen=True, slots=True)
class ShippedCatalog:
    """Implements `pertoken.ports.CatalogSource` without files of an administrator."""

    def catalog(self) -> Catalog:
        """The shipped rows."""
        return SHIPPED


@dataclass(frozen=True, slots=True)
class AblatedObserver(Observer):
    """The operator's observer, whose world is changed before it is planned on."""

    change: Change | None = None

    def world(self, surveyed: Surveyed, metrics: Mapping[str, MetricsSnapshot]) -> World:
        """The world to plan on."""
        world = Observer.world(self, surveyed, metrics)
        return world if self.change is None else self.change(world)


@dataclass(slots=True)
class SimulatedOperator:
    """A running operator: told of changes by the API server, asked for one cycle at a time."""

    server: ApiServer
    inventory: Inventory
    cycle: Cycle
    _loop: asyncio.AbstractEventLoop | None = None
    _number: int = 0

    @property
    def saved(self) -> Saved:
        """What the last cycle hands to the next one."""
        return self.cycle.saved

    def watch(self) -> None:
        """Watch events arrive."""
        self.server.tell(self.inventory)

    def run_cycle(self) -> CycleResult | None:
        """One planning cycle."""
        if self._loop is None:
            self._loop = _event_loop()
        self._number += 1
        return self._loop.run_until_complete(self.cycle.run_once(self._number))

    def close(self) -> None:
        """End the event loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None


def start(
    server: ApiServer,
    prometheus: Prometheus,
    settings: Settings,
    *,
    tuning: Tuning = TUNING,
    make_writer: Callable[[ApiServer, Fence], Writer] = Writer,
    change: Change | None = None,
) -> SimulatedOperator:
    """An operator that leads and has seen the whole cluster.

    Args:
        server: the simulated cluster.
        prometheus: that scrapes it.
        settings: of the operator.
        tuning: of its planner.
        make_writer: its writer, of which an ablation may make another.
        change: what an ablation does to what the planner sees.
    """
    clock, leadership = server.clock, Alone()
    fence = Fence(leadership)
    writer = make_writer(server, fence)
    settings = scraped_every(settings, prometheus.scrape_seconds)
    observer = AblatedObserver(
        reader=server,
        sources={PROFILE: SimulatedSource(prometheus, settings.metrics_profile())},
        catalog=ShippedCatalog(),
        caps=CapReader(server, clock),
        rules=settings.rules(),
        settings=settings.planner(),
        change=change,
    )
    cycle = Cycle(
        clock=clock,
        inventory=_inventory(server),
        leadership=leadership,
        fence=fence,
        observer=observer,
        keeper=Keeper(server, writer, clock, observer.catalog),
        actuator=Actuator(writer, clock),
        # A run has one term, so that nobody reads what is saved; once is enough.
        store=StateStore(server, writer, clock, settings.operator_namespace, interval_seconds=math.inf),
        tuning=tuning,
    )
    return SimulatedOperator(server, cycle.inventory, cycle)


def scraped_every(settings: Settings, seconds: float) -> Settings:
    """Settings that fit a Prometheus which scrapes every so many seconds."""
    return settings.model_copy(
        update={
            "scrape_interval_seconds": seconds,
            "rate_window_seconds": max(settings.rate_window_seconds, LEAST_SCRAPES * seconds),
            "fresh_seconds": max(settings.fresh_seconds, LEAST_SCRAPES * seconds),
        }
    )


def _inventory(server: ApiServer) -> Inventory:
    """The operator's inventory after its first lists: services and pools, which do not change, and everything else."""
    kinds: Kinds = replace(
        KINDS,
        services=WatchedKind(KINDS.services.plural, itemgetter(PARSED)),
        pools=WatchedKind(KINDS.pools.plural, itemgetter(PARSED)),
    )
    inventory = Inventory(kinds, server.clock)
    workloads, elastic = server.cluster.workloads, server.cluster.elastic
    pools = {workload.pool.name: pool_object(workload.pool, elastic=elastic) for workload in workloads}
    services = {workload.service.key: service_object(workload.service) for workload in workloads}
    fixed: dict[str, list[dict[str, Any]]] = {
        kinds.pools.plural: [{"metadata": {"uid": pool.uid}, PARSED: pool} for pool in pools.values()],
        kinds.services.plural: [{"metadata": {"uid": service.uid}, PARSED: service} for service in services.values()],
    }
    for plural in inventory.plurals:
        inventory.finish_resync(inventory.begin_resync(plural), fixed.get(plural, ()))
    server.tell(inventory)
    return inventory


class _Inline(ThreadPoolExecutor):
    """Runs at once, in the caller's thread: the simulation's time stands still meanwhile."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)
        return future


def _event_loop() -> asyncio.AbstractEventLoop:
    """Not asyncio.Runner: its handling of signals costs more than a cycle."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Inline())
    return loop
