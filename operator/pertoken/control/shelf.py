"""What is known of the objects of one kind, kept current by watch events and made certain by lists."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pertoken.control.kinds import WatchedKind
from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.unreadable import MOST_NAME, Unreadable, unreadable
from pertoken.domain.cluster import PodFact
from pertoken.ports import Clock, Json
from pertoken.raw.values import shown

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Resync:
    """A list in flight: what watch events touched since it began is newer than the list."""

    plural: str
    touched: set[str] = field(default_factory=set)


class Shelf(Generic[T]):
    """The parsed objects of one kind by uid, and those that cannot be parsed."""

    def __init__(self, kind: WatchedKind[T], clock: Clock, telling: RateLimiter) -> None:
        """Keep nothing yet; `telling` limits the log lines on objects that cannot be parsed."""
        self.plural = kind.plural
        self.objects: dict[str, T] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.listed_at: float | None = None
        self._parse = kind.parse
        self._clock = clock
        self._telling = telling
        self._listing: Resync | None = None

    def put(self, obj: Json) -> None:
        """Store a new or changed object. Never raises for what the object holds."""
        uid = uid_of(obj)
        self._touch(uid)
        try:
            parsed = self._parse(obj)
            if parsed is not None:
                parsed = self._amended(uid, parsed)
        except Exception as error:  # noqa: BLE001 - users write these objects: no form of one may end the process
            self._refuse(unreadable(self.plural, uid, obj, error), error)
            return
        self.unreadable.pop(uid, None)
        if parsed is None:
            self._remove(uid)
        else:
            self.objects[uid] = parsed

    def drop(self, obj: Json) -> None:
        """Forget a deleted object."""
        uid = uid_of(obj)
        self._touch(uid)
        self._forget(uid)

    def begin_resync(self) -> Resync:
        """Call before listing."""
        self._listing = Resync(self.plural)
        return self._listing

    def finish_resync(self, resync: Resync, items: Iterable[Json]) -> int:
        """Take a finished list over; returns how many ghosts (objects gone without an event) were dropped."""
        listed = set()
        for obj in items:
            uid = uid_of(obj)
            listed.add(uid)
            if uid not in resync.touched:
                self.put(obj)
        known = (*self.objects, *self.unreadable)
        ghosts = [uid for uid in known if uid not in listed and uid not in resync.touched]
        for uid in ghosts:
            self._forget(uid)
        self._listing = None
        self.listed_at = self._clock.monotonic()
        return len(ghosts)

    def _amended(self, _uid: str, parsed: T) -> T:
        """The parsed object with what is known from before."""
        return parsed

    def _remove(self, uid: str) -> None:
        self.objects.pop(uid, None)

    def _forget(self, uid: str) -> None:
        self.unreadable.pop(uid, None)
        self._remove(uid)

    def _refuse(self, refused: Unreadable, error: Exception) -> None:
        """What was known before is no longer true, and the pod of an unreadable object has not vanished."""
        self.objects.pop(refused.uid, None)
        before = self.unreadable.get(refused.uid)
        self.unreadable[refused.uid] = refused
        if (before is None or before.why != refused.why) and self._telling.try_take():
            LOGGER.warning("%s", refused)
            LOGGER.debug("parsing failed", exc_info=error)

    def _touch(self, uid: str) -> None:
        if self._listing is not None:
            self._listing.touched.add(uid)


class PodShelf(Shelf[PodFact]):
    """Pods: those that vanished are kept for a while, for their bill and their last counters."""

    def __init__(
        self, kind: WatchedKind[PodFact], clock: Clock, telling: RateLimiter, keep_vanished_seconds: float
    ) -> None:
        """Keep nothing yet."""
        super().__init__(kind, clock, telling)
        self._keep_vanished_seconds = keep_vanished_seconds
        self._vanished: dict[str, PodFact] = {}

    def assume_terminating(self, uid: str) -> None:
        """Remember an eviction before its watch event comes."""
        pod = self.objects.get(uid)
        if pod is not None:
            self.objects[uid] = replace(pod, terminating=True)

    def vanished(self) -> tuple[PodFact, ...]:
        """Pods whose object has gone lately."""
        horizon = self._clock.now() - self._keep_vanished_seconds
        self._vanished = {uid: pod for uid, pod in self._vanished.items() if (pod.deleted_at or 0.0) > horizon}
        return tuple(self._vanished.values())

    def _amended(self, uid: str, parsed: PodFact) -> PodFact:
        """A finished pod keeps the end known first; where nothing tells of it, it is when the pod was first seen so."""
        if not parsed.finished:
            return parsed
        before = self.objects.get(uid)
        known = before.finished_at if before is not None and before.finished else None
        if known is None:
            known = self._clock.now() if parsed.finished_at is None else parsed.finished_at
        return replace(parsed, finished_at=known)

    def _remove(self, uid: str) -> None:
        gone = self.objects.pop(uid, None)
        if gone is not None and gone.bound_at is not None:
            self._vanished[uid] = replace(gone, deleted_at=self._clock.now())


def uid_of(obj: Any) -> str:
    """The object's uid; what lacks one is known by its name, or not at all."""
    meta = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(meta, Mapping):
        return ""
    uid = meta.get("uid")
    if isinstance(uid, str) and uid:
        return uid
    parts = (meta.get("namespace"), meta.get("name"))
    return "/".join(part if isinstance(part, str) else shown(part) for part in parts)[:MOST_NAME]
