"""Objects that pertoken makes: looked at before anything is written, created by POST, applied over only when ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pertoken.api.ownership import (
    FIELD_MANAGER,
    OwnershipClaim,
    differs,
    handed_over,
    identified,
    marks_of,
    stranger,
)
from pertoken.domain.identity import WorkloadRef
from pertoken.ports import AlreadyExists, ClusterReader, ClusterWriter, Conflict, Json, NotFound

TRIES = 4  # of a write over an object whose controller writes to it at the same time


class NameTaken(Exception):
    """Somebody else's object has the name; the message names it and what to rename."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as it shall be.

    Attributes:
        claim: for whom.
        first: what it is created as, where that is not `manifest` itself.
    """

    manifest: Json
    claim: OwnershipClaim
    first: Json | None = None

    @property
    def ref(self) -> WorkloadRef:
        """Which object."""
        meta = self.manifest["metadata"]
        return WorkloadRef(self.manifest["apiVersion"], self.manifest["kind"], meta["namespace"], meta["name"])

    @property
    def new(self) -> Json:
        """What is sent when it does not exist."""
        return self.manifest if self.first is None else self.first


@dataclass(frozen=True, slots=True)
class Looked:
    """A wanted object beside the one that is there, None if there is none. What is there is ours."""

    wanted: Wanted
    live: Json | None


@dataclass(frozen=True, slots=True)
class _Applied:
    """An object before and after an apply, dry or not; `over` may be newer than what was looked at first."""

    over: Json
    stored: Json


@dataclass(frozen=True, slots=True)
class Maker:
    """Brings objects into being and into line, in three passes so that nothing is half applied."""

    reader: ClusterReader
    writer: ClusterWriter

    def look(self, wanted: Iterable[Wanted]) -> list[Looked]:
        """What is there under each name.

        Raises:
            NameTaken: one of them is not ours.
        """
        return [Looked(each, self._live(each)) for each in wanted]

    def rehearse(self, looked: Iterable[Looked]) -> list[Looked]:
        """Let the server check every object; returns those that are missing or differ from what is wanted.

        Raises:
            Refused: the server would not take one of them.
        """
        return [each for each in looked if self._would_change(each)]

    def would_roll(self, each: Looked) -> bool:
        """Whether writing it would change the pod template of what is there, and so replace its pods.

        Raises:
            Refused: the server would not take it.
        """
        if each.live is None:
            return False
        rehearsed = self._apply(each, dry_run=True)
        return bool(rehearsed.over["spec"].get("template") != rehearsed.stored["spec"].get("template"))

    def write(self, each: Looked) -> Json:
        """Create or apply one object; returns it as stored.

        Raises:
            NameTaken: somebody else was faster.
            Conflict: the object keeps changing, or is gone.
        """
        if each.live is None:
            return self._create(each.wanted)
        return self._apply(each, dry_run=False).stored

    def _live(self, wanted: Wanted) -> Json | None:
        try:
            live = self.reader.get(wanted.ref)
        except NotFound:
            return None
        why = stranger(marks_of(live), wanted.claim)
        if why:
            raise NameTaken(taken(wanted, why))
        return live

    def _would_change(self, each: Looked) -> bool:
        if each.live is None:
            self.writer.create(each.wanted.new, FIELD_MANAGER, dry_run=True)
            return True
        if handed_over(each.live["metadata"].get("managedFields") or ()) is not None:
            return True
        rehearsed = self._apply(each, dry_run=True)
        return differs(rehearsed.over, rehearsed.stored)

    def _apply(self, each: Looked, *, dry_run: bool) -> _Applied:
        """Apply over what is there; where a controller's status came in between, over what is there now."""
        live = each.live
        for _ in range(TRIES):
            if live is None:
                break
            live = live if dry_run else self._settled(live)
            manifest = identified(each.wanted.manifest, marks_of(live))
            try:
                return _Applied(live, self.writer.apply(manifest, FIELD_MANAGER, dry_run=dry_run))
            except Conflict:
                live = self._live(each.wanted)
        raise Conflict(f"{each.wanted.ref} keeps changing, or is gone")

    def _create(self, wanted: Wanted) -> Json:
        try:
            created = self.writer.create(wanted.new, FIELD_MANAGER)
        except AlreadyExists as error:
            raise NameTaken(taken(wanted, "it has just been made by somebody else")) from error
        return self._settled(created)

    def _settled(self, live: Json) -> Json:
        """Fields that were set by a creation belong to the applier, else a later apply could not take one away."""
        for _ in range(TRIES):
            fields = handed_over(live["metadata"].get("managedFields") or ())
            if fields is None:
                return live
            try:
                return self.writer.own_fields(live, fields)
            except Conflict:
                live = self.reader.get(marks_of(live).ref)
        return live  # it is handed over before the next apply


def taken(wanted: Wanted, why: str) -> str:
    """The message of NameTaken."""
    claim = wanted.claim
    return (
        f"{wanted.ref} exists and is not this InferenceService's: {why}. Nothing is applied over it; rename variant "
        f"{claim.variant} or the InferenceService, or remove that {wanted.ref.kind}"
    )
