"""What the cluster holds, kept current by watch events and made certain by regular lists.

Watches lose objects that vanish while a watch is expired, so every kind is also listed at start and every few
minutes (`begin_resync` / `finish_resync`); planning waits until each kind was listed once. The store holds small parsed
values, one parse per event. All methods run in the event loop's thread; a snapshot is immutable and may leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pertoken.domain.cluster import PodFact
from pertoken.ports import Clock, Json

Parser = Callable[[Json], Any]

PODS = "pods"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one instant, by plural kind name and uid.

    Attributes:
        vanished_pods: pods whose object is gone, kept for their bill and their last counters.
    """

    objects: Mapping[str, Mapping[str, Any]]
    vanished_pods: tuple[PodFact, ...] = ()

    def of(self, plural: str) -> tuple[Any, ...]:
        """All parsed objects of one kind."""
        return tuple(self.objects.get(plural, {}).values())


@dataclass(slots=True)
class Resync:
    """A list in flight: what watch events touched since it began is newer than the list."""

    plural: str
    touched: set[str] = field(default_factory=set)


class Inventory:
    """Uid-keyed store of parsed objects of every watched kind."""

    def __init__(self, parsers: Mapping[str, Parser], clock: Clock, *, keep_vanished_seconds: float = 600.0) -> None:
        """Watch the kinds that `parsers` names; a parser returns None for objects of no interest."""
        self._parsers = dict(parsers)
        self._clock = clock
        self._keep_vanished_seconds = keep_vanished_seconds
        self._objects: dict[str, dict[str, Any]] = {plural: {} for plural in parsers}
        self._vanished: dict[str, PodFact] = {}
        self._open: dict[str, Resync] = {}
        self._synced_at: dict[str, float] = {}

    @property
    def plurals(self) -> tuple[str, ...]:
        """The watched kinds."""
        return tuple(self._parsers)

    def put(self, plural: str, obj: Json) -> None:
        """Store a new or changed object."""
        uid = obj["metadata"]["uid"]
        self._touch(plural, uid)
        parsed = self._ended(uid, self._parsers[plural](obj))
        if parsed is None:
            self._remove(plural, uid)
        else:
            self._objects[plural][uid] = parsed

    def drop(self, plural: str, obj: Json) -> None:
        """Forget a deleted object."""
        uid = obj["metadata"]["uid"]
        self._touch(plural, uid)
        self._remove(plural, uid)

    def assume_terminating(self, uid: str) -> None:
        """Remember an eviction before its watch event comes, so that the next cycle does not evict one more."""
        pod = self._objects[PODS].get(uid)
        if isinstance(pod, PodFact):
            self._objects[PODS][uid] = replace(pod, terminating=True)

    def begin_resync(self, plural: str) -> Resync:
        """Call before listing a kind."""
        resync = Resync(plural)
        self._open[plural] = resync
        return resync

    def finish_resync(self, resync: Resync, items: Iterable[Json]) -> int:
        """Take a finished list over; returns how many ghosts (objects gone without an event) were dropped."""
        plural = resync.plural
        listed = set()
        for obj in items:
            uid = obj["metadata"]["uid"]
            listed.add(uid)
            if uid not in resync.touched:
                self.put(plural, obj)
        ghosts = [uid for uid in self._objects[plural] if uid not in listed and uid not in resync.touched]
        for uid in ghosts:
            self._remove(plural, uid)
        self._open.pop(plural, None)
        self._synced_at[plural] = self._clock.monotonic()
        return len(ghosts)

    @property
    def synced(self) -> bool:
        """Every kind has been listed at least once."""
        return len(self._synced_at) == len(self._parsers)

    @property
    def resync_age_seconds(self) -> float | None:
        """Age of the oldest list; None before the first of each kind."""
        if not self.synced:
            return None
        return self._clock.monotonic() - min(self._synced_at.values())

    def snapshot(self) -> Snapshot:
        """An immutable copy of everything; the values themselves are frozen."""
        self._expire_vanished()
        objects = {plural: dict(items) for plural, items in self._objects.items()}
        return Snapshot(objects=objects, vanished_pods=tuple(self._vanished.values()))

    def _touch(self, plural: str, uid: str) -> None:
        if plural in self._open:
            self._open[plural].touched.add(uid)

    def _ended(self, uid: str, parsed: Any) -> Any:
        """A finished pod keeps the end known first; where nothing tells of it, it is when the pod was first seen so."""
        if not isinstance(parsed, PodFact) or not parsed.finished:
            return parsed
        before = self._objects[PODS].get(uid)
        known = before.finished_at if isinstance(before, PodFact) and before.finished else None
        if known is None:
            known = self._clock.now() if parsed.finished_at is None else parsed.finished_at
        return replace(parsed, finished_at=known)

    def _remove(self, plural: str, uid: str) -> None:
        gone = self._objects[plural].pop(uid, None)
        if isinstance(gone, PodFact) and gone.bound_at is not None:
            self._vanished[uid] = replace(gone, deleted_at=self._clock.now())

    def _expire_vanished(self) -> None:
        horizon = self._clock.now() - self._keep_vanished_seconds
        self._vanished = {uid: pod for uid, pod in self._vanished.items() if (pod.deleted_at or 0.0) > horizon}
