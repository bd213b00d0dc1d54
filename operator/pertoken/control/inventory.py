"""What the cluster holds, kept current by watch events and made certain by regular lists.

Watches lose objects that vanish while a watch is expired, so every kind is also listed at start and every few
minutes (`begin_resync` / `finish_resync`); planning waits until each kind was listed once. The store holds small parsed
values, one parse per event. All methods run in the event loop's thread; a snapshot is immutable and may leave it.

Objects are written by users: one that cannot be parsed is kept as `Unreadable`, in place of what was known of it
before, and never disturbs the others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.unreadable import MOST_NAME, Unreadable, unreadable
from pertoken.domain.cluster import PodFact
from pertoken.ports import Clock, Json
from pertoken.raw.values import shown

LOGGER = logging.getLogger(__name__)

Parser = Callable[[Json], Any]

PODS = "pods"
TOLD_PER_SECOND = 1.0  # log lines on objects that cannot be parsed
TOLD_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one instant, by plural kind name and uid.

    Attributes:
        vanished_pods: pods whose object is gone, kept for their bill and their last counters.
        unreadable: objects that are there and could not be parsed.
    """

    objects: Mapping[str, Mapping[str, Any]]
    vanished_pods: tuple[PodFact, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

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
        self._unreadable: dict[str, dict[str, Unreadable]] = {plural: {} for plural in parsers}
        self._telling = RateLimiter(TOLD_PER_SECOND, TOLD_AT_ONCE, clock)
        self._vanished: dict[str, PodFact] = {}
        self._open: dict[str, Resync] = {}
        self._synced_at: dict[str, float] = {}

    @property
    def plurals(self) -> tuple[str, ...]:
        """The watched kinds."""
        return tuple(self._parsers)

    def put(self, plural: str, obj: Json) -> None:
        """Store a new or changed object. Never raises for what the object holds."""
        uid = _uid(obj)
        self._touch(plural, uid)
        try:
            parsed = self._ended(uid, self._parsers[plural](obj))
        except Exception as error:  # noqa: BLE001 - users write these objects: no form of one may end the process
            self._refuse(unreadable(plural, uid, obj, error), error)
            return
        self._unreadable[plural].pop(uid, None)
        if parsed is None:
            self._remove(plural, uid)
        else:
            self._objects[plural][uid] = parsed

    def _refuse(self, refused: Unreadable, error: Exception) -> None:
        """What was known before is no longer true, and the pod of an unreadable object has not vanished."""
        plural, uid = refused.plural, refused.uid
        self._objects[plural].pop(uid, None)
        before = self._unreadable[plural].get(uid)
        self._unreadable[plural][uid] = refused
        if (before is None or before.why != refused.why) and self._telling.try_take():
            LOGGER.warning("%s", refused)
            LOGGER.debug("parsing failed", exc_info=error)

    def drop(self, plural: str, obj: Json) -> None:
        """Forget a deleted object."""
        uid = _uid(obj)
        self._touch(plural, uid)
        self._unreadable[plural].pop(uid, None)
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
            uid = _uid(obj)
            listed.add(uid)
            if uid not in resync.touched:
                self.put(plural, obj)
        known = (*self._objects[plural], *self._unreadable[plural])
        ghosts = [uid for uid in known if uid not in listed and uid not in resync.touched]
        for uid in ghosts:
            self._unreadable[plural].pop(uid, None)
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

    @property
    def unreadable(self) -> Mapping[str, int]:
        """How many objects of each kind could not be parsed."""
        return Counter({plural: len(found) for plural, found in self._unreadable.items()})

    def snapshot(self) -> Snapshot:
        """An immutable copy of everything; the values themselves are frozen."""
        self._expire_vanished()
        objects = {plural: dict(items) for plural, items in self._objects.items()}
        refused = tuple(one for found in self._unreadable.values() for one in found.values())
        return Snapshot(objects=objects, vanished_pods=tuple(self._vanished.values()), unreadable=refused)

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


def _uid(obj: Any) -> str:
    """The object's uid; what lacks one is known by its name, or not at all."""
    meta = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(meta, Mapping):
        return ""
    uid = meta.get("uid")
    if isinstance(uid, str) and uid:
        return uid
    parts = (meta.get("namespace"), meta.get("name"))
    return "/".join(part if isinstance(part, str) else shown(part) for part in parts)[:MOST_NAME]
