"""One operator's planning cycle over a cluster in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kept import Cluster
from watched import HEALTHY, RULES, StandingClock, filled

from pertoken.adapters.catalog_files import CatalogFolder
from pertoken.control.actuate import Actuator
from pertoken.control.caps import CapReader
from pertoken.control.cycle import Cycle
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory
from pertoken.control.observer import Observer
from pertoken.control.owned import Keeper
from pertoken.control.parse import KINDS
from pertoken.control.state import StateStore
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot
from pertoken.domain.world import PlannerSettings


@dataclass
class Leader:
    """A leadership that tests give and take."""

    term: int = 1
    held: bool = True

    def valid(self) -> bool:
        return self.held


@dataclass
class Silent:
    """A metrics source that gives no answer; `fault` makes it raise."""

    fault: Exception | None = None
    asked: int = 0

    def observe(self) -> MetricsSnapshot:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return MetricsSnapshot(MetricsHealth(ok=False, why="no answer"), 90.0, 60.0)


@dataclass
class Cycling:
    """Everything that a cycle needs. The cluster in memory is its clock, too."""

    folder: Path | None = None
    inventory: Inventory = field(default_factory=filled)
    cluster: Cluster = field(default_factory=lambda: Cluster(now_at=1_790_000_000.0))
    leader: Leader = field(default_factory=Leader)
    source: Silent = field(default_factory=Silent)

    def cycle(self) -> Cycle:
        cluster: Any = self.cluster
        observer = Observer(
            reader=cluster,
            sources={"default": self.source},
            catalog=CatalogFolder(self.folder),
            caps=CapReader(cluster, cluster),
            rules=replace(RULES, owned_everywhere=True),
            settings=PlannerSettings(),
        )
        return Cycle(
            clock=cluster,
            inventory=self.inventory,
            leadership=self.leader,
            fence=Fence(self.leader),
            observer=observer,
            keeper=Keeper(cluster, cluster, cluster, observer.catalog),
            actuator=Actuator(cluster, cluster),
            store=StateStore(cluster, cluster, cluster, "pertoken-system", interval_seconds=0.0),
        )


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until it is so; a test that waits for half a minute has failed."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads, too
            await asyncio.sleep(0.005)


def unsynced() -> Inventory:
    """All kinds but one were listed."""
    inventory = Inventory(KINDS, StandingClock())
    for plural in inventory.plurals[1:]:
        inventory.finish_resync(inventory.begin_resync(plural), HEALTHY[plural])
    return inventory
