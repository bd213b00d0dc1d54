"""What the cluster holds, kept current by watch events and made certain by regular lists.

Watches lose objects that vanish while a watch is expired, so every kind is also listed at start and every few
minutes (`begin_resync` / `finish_resync`); planning waits until each kind was listed once. The store holds small parsed
values, one parse per event. All methods run in the event loop's thread; a snapshot is immutable and may leave it.

Objects are written by users: one that cannot be parsed is kept as `Unreadable`, in place of what was known of it
before, and never disturbs the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pertoken.control.facts import NamespaceFact, ReplicaSetFact
from pertoken.control.kinds import Kinds
from pertoken.control.objects import CapObject, PoolObject, ServiceObject
from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.shelf import PodShelf, Resync, Shelf
from pertoken.control.unreadable import Unreadable
from pertoken.control.workloads import AutoscalerFact, ScalableFact
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.ports import Clock, Json

TOLD_PER_SECOND = 1.0  # log lines on objects that cannot be parsed
TOLD_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one instant.

    Attributes:
        caps: ConfigMaps that hold a batch cap.
        vanished_pods: pods whose object is gone, kept for their bill and their last counters.
        unreadable: objects that are there and could not be parsed.
    """

    services: tuple[ServiceObject, ...] = ()
    pools: tuple[PoolObject, ...] = ()
    pods: tuple[PodFact, ...] = ()
    nodes: tuple[NodeFact, ...] = ()
    namespaces: tuple[NamespaceFact, ...] = ()
    deployments: tuple[ScalableFact, ...] = ()
    replicasets: tuple[ReplicaSetFact, ...] = ()
    caps: tuple[CapObject, ...] = ()
    autoscalers: tuple[AutoscalerFact, ...] = ()
    vanished_pods: tuple[PodFact, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class Inventory:
    """Store of parsed objects of every watched kind."""

    def __init__(self, kinds: Kinds, clock: Clock, *, keep_vanished_seconds: float = 600.0) -> None:
        """Hold nothing yet."""
        telling = RateLimiter(TOLD_PER_SECOND, TOLD_AT_ONCE, clock)
        self._clock = clock
        self._services = Shelf(kinds.services, clock, telling)
        self._pools = Shelf(kinds.pools, clock, telling)
        self._pods = PodShelf(kinds.pods, clock, telling, keep_vanished_seconds)
        self._nodes = Shelf(kinds.nodes, clock, telling)
        self._namespaces = Shelf(kinds.namespaces, clock, telling)
        self._deployments = Shelf(kinds.deployments, clock, telling)
        self._replicasets = Shelf(kinds.replicasets, clock, telling)
        self._caps = Shelf(kinds.caps, clock, telling)
        self._autoscalers = Shelf(kinds.autoscalers, clock, telling)
        shelves: tuple[Shelf[Any], ...] = (
            *(self._services, self._pools, self._pods, self._nodes, self._namespaces),
            *(self._deployments, self._replicasets, self._caps, self._autoscalers),
        )
        self._shelves: dict[str, Shelf[Any]] = {shelf.plural: shelf for shelf in shelves}

    @property
    def plurals(self) -> tuple[str, ...]:
        """The watched kinds."""
        return tuple(self._shelves)

    def put(self, plural: str, obj: Json) -> None:
        """Store a new or changed object. Never raises for what the object holds."""
        self._shelves[plural].put(obj)

    def drop(self, plural: str, obj: Json) -> None:
        """Forget a deleted object."""
        self._shelves[plural].drop(obj)

    def assume_terminating(self, uid: str) -> None:
        """Remember an eviction before its watch event comes, so that the next cycle does not evict one more."""
        self._pods.assume_terminating(uid)

    def begin_resync(self, plural: str) -> Resync:
        """Call before listing a kind."""
        return self._shelves[plural].begin_resync()

    def finish_resync(self, resync: Resync, items: Iterable[Json]) -> int:
        """Take a finished list over; returns how many ghosts (objects gone without an event) were dropped."""
        return self._shelves[resync.plural].finish_resync(resync, items)

    @property
    def synced(self) -> bool:
        """Every kind has been listed at least once."""
        return all(shelf.listed_at is not None for shelf in self._shelves.values())

    @property
    def resync_age_seconds(self) -> float | None:
        """Age of the oldest list; None before the first of each kind."""
        listed = [shelf.listed_at for shelf in self._shelves.values() if shelf.listed_at is not None]
        return self._clock.monotonic() - min(listed) if len(listed) == len(self._shelves) else None

    @property
    def unreadable(self) -> Mapping[str, int]:
        """How many objects of each kind could not be parsed."""
        return {plural: len(shelf.unreadable) for plural, shelf in self._shelves.items()}

    def snapshot(self) -> Snapshot:
        """An immutable copy of everything; the values themselves are frozen."""
        return Snapshot(
            services=tuple(self._services.objects.values()),
            pools=tuple(self._pools.objects.values()),
            pods=tuple(self._pods.objects.values()),
            nodes=tuple(self._nodes.objects.values()),
            namespaces=tuple(self._namespaces.objects.values()),
            deployments=tuple(self._deployments.objects.values()),
            replicasets=tuple(self._replicasets.objects.values()),
            caps=tuple(self._caps.objects.values()),
            autoscalers=tuple(self._autoscalers.objects.values()),
            vanished_pods=self._pods.vanished(),
            unreadable=tuple(each for shelf in self._shelves.values() for each in shelf.unreadable.values()),
        )
