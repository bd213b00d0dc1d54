"""Planner memory and ledger over restarts: compressed ConfigMaps in the operator's namespace, sharded by service."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pertoken.control.saved import (
    NOTHING,
    Saved,
    coarsened,
    from_json,
    merged,
    of_services,
    rounded,
    shortened,
    to_json,
)
from pertoken.domain.identity import WorkloadRef
from pertoken.ports import (
    AdapterError,
    Clock,
    ClusterReader,
    ClusterWriter,
    Conflict,
    Json,
    NotFound,
    Refused,
    Withheld,
)
from pertoken.raw.values import whole_number

LOGGER = logging.getLogger(__name__)

KEY = "memory.json.zlib"
SHARDS = "serving.pertoken.dev/memory-shards"  # annotation of the first shard: how many there are
FIELD_MANAGER = "pertoken-state"
LABELS = {"app.kubernetes.io/part-of": "pertoken", "app.kubernetes.io/component": "state"}
MAX_BYTES = 900_000  # a ConfigMap may hold 1 MiB
SERVICES_PER_SHARD: Final = 64
MOST_SHARDS: Final = 128
BYTES_PER_MINUTE: Final = 1_000_000  # compressed, of all shards together
ROUND_MINUTES: Final = 10  # in which every shard is to be written once


@dataclass(frozen=True, slots=True)
class _Level:
    """How much of a shard is kept.

    Attributes:
        cycles: of demand; None for all.
        short: figures are rounded.
        buckets: of each account; None for all.
    """

    cycles: int | None = None
    short: bool = True
    buckets: int | None = None


# The first that fits.
LEVELS: Final = (_Level(short=False), _Level(), _Level(40), _Level(0), _Level(0, buckets=24))


@dataclass(slots=True)
class _Shard:
    """What is known of one ConfigMap.

    Attributes:
        identity: uid and resourceVersion as we know them; None if there is none.
        looked: it was looked at since the last doubt.
        saved_at: when it was written last, by the monotonic clock.
        part: what was written.
        level: at which of `LEVELS`.
    """

    identity: Json | None = None
    looked: bool = False
    saved_at: float = float("-inf")
    part: Saved | None = None
    level: int = 0


@dataclass(slots=True)
class StateStore:
    """Loads what was saved when leadership begins, and saves each shard at most every `interval_seconds`.

    Each save names the version that was loaded or saved last, so that one which was sent before another leader saved
    its own is refused by the API server. A service's shard is told by its name. All shards together are written at no
    more than `bytes_per_minute`, the ones that waited longest first; a shard that has not changed is not written.

    Attributes:
        writer: fenced.
    """

    reader: ClusterReader
    writer: ClusterWriter
    clock: Clock
    namespace: str
    name: str = "pertoken-memory"
    interval_seconds: float = 60.0
    bytes_per_minute: int = BYTES_PER_MINUTE
    _shards: dict[int, _Shard] = field(default_factory=dict)
    _count: int = 1
    _allowed: float = float(BYTES_PER_MINUTE)
    _counted_at: float | None = None

    def load(self) -> Saved:
        """What was saved; a shard that cannot be read costs its services their memory (a cautious start), no others.

        Raises:
            AdapterError: it is not known whether there is one.
        """
        self._shards, self._count = {}, 1
        try:
            first = self._look(0)
        except Refused as error:
            LOGGER.warning("starting without memory, and none will be kept: %s", error)
            return NOTHING
        if first is None:
            return NOTHING
        self._count = _shards_of(first)
        parts = [_read(first, 0)]
        for index in range(1, self._count):
            try:
                stored = self._look(index)
            except Refused as error:
                LOGGER.warning("memory of some services is lost: %s", error)
                continue
            if stored is None:
                LOGGER.warning("shard %d of %d of the saved memory is missing, starting without it", index, self._count)
                continue
            parts.append(_read(stored, index))
        return merged(part for part in parts if part is not None)

    def save(self, saved: Saved, *, force: bool = False) -> None:
        """Write the shards that are due; a failure is logged and tried again later."""
        now = self.clock.monotonic()
        self._grow(len(saved.memory.services))
        due = [i for i in self._order() if force or now - self._shard(i).saved_at >= self.interval_seconds]
        if not due:
            return
        self._refill(now)
        parts = of_services(saved, self._count)
        for index in due:
            if self._allowed <= 0 and not force:
                return
            self._save(index, parts[index], now, force=force)

    def _save(self, index: int, part: Saved, now: float, *, force: bool) -> None:
        shard = self._shard(index)
        if not force and shard.looked and shard.part is not None and _same(shard.part, part):
            shard.saved_at = now
            return
        packed = self._packed(part, shard)
        if packed is None:
            LOGGER.warning(
                "the memory of %d services does not fit a ConfigMap; it is not kept", len(part.memory.services)
            )
            shard.saved_at = now
            return
        self._allowed -= len(packed)
        try:
            self._write(index, self._manifest(index, packed))
            shard.part = part
        except Withheld as error:
            LOGGER.info("planner memory is not saved: %s", error)
        except Conflict as error:
            shard.looked = False
            LOGGER.warning("planner memory was not saved, somebody else changed it: %s", error)
        except AdapterError as error:
            LOGGER.warning("planner memory was not saved: %s", error)
        shard.saved_at = now

    def _grow(self, services: int) -> None:
        """More shards, never fewer: what is in a shard that is no longer written is older than what replaces it."""
        while self._count < MOST_SHARDS and services > SERVICES_PER_SHARD * self._count:
            self._count *= 2
            for shard in self._shards.values():
                shard.saved_at, shard.part = float("-inf"), None

    def _order(self) -> list[int]:
        """Those that waited longest first; of the same age the first shard last: it says how many there are."""
        return sorted(range(self._count), key=lambda index: (self._shard(index).saved_at, -index))

    def _refill(self, now: float) -> None:
        if self._counted_at is not None:
            self._allowed += (now - self._counted_at) / 60.0 * self.bytes_per_minute
        self._allowed, self._counted_at = min(self._allowed, float(self.bytes_per_minute)), now

    def _packed(self, part: Saved, shard: _Shard) -> bytes | None:
        """At the first level that can be written in a round of all shards; else the least that fits a ConfigMap.

        Packing costs CPU: it begins one level above the last one.
        """
        share = min(MAX_BYTES, ROUND_MINUTES * self.bytes_per_minute // self._count)
        packed = b""
        for number in range(max(shard.level - 1, 0), len(LEVELS)):
            shard.level, level = number, LEVELS[number]
            kept = part if level.cycles is None else shortened(part, level.cycles)
            kept = kept if level.buckets is None else coarsened(kept, level.buckets)
            packed = _packed(kept, short=level.short)
            if len(packed) <= share:
                return packed
        return packed if len(packed) <= MAX_BYTES else None

    def _shard(self, index: int) -> _Shard:
        return self._shards.setdefault(index, _Shard())

    def _write(self, index: int, manifest: Json) -> None:
        shard = self._shard(index)
        if not shard.looked:
            self._look(index)
        if shard.identity is None:
            self._know(index, self.writer.create(manifest, FIELD_MANAGER))
            return
        named = {**manifest, "metadata": {**manifest["metadata"], **shard.identity}}
        self._know(index, self.writer.apply(named, FIELD_MANAGER))

    def _look(self, index: int) -> Json | None:
        """The ConfigMap as it is.

        Raises:
            Refused: it is somebody else's.
        """
        ref = WorkloadRef("v1", "ConfigMap", self.namespace, self._name(index))
        try:
            config_map = self.reader.get(ref)
        except NotFound:
            shard = self._shard(index)
            shard.identity, shard.looked = None, True
            return None
        if not LABELS.items() <= (config_map["metadata"].get("labels") or {}).items():
            raise Refused(f"{ref} is not pertoken's memory (it lacks the label component=state): rename or remove it")
        self._know(index, config_map)
        return config_map

    def _know(self, index: int, stored: Json) -> None:
        shard = self._shard(index)
        shard.identity = {key: stored["metadata"][key] for key in ("uid", "resourceVersion")}
        shard.looked = True

    def _name(self, index: int) -> str:
        return f"{self.name}-{index}" if index else self.name

    def _manifest(self, index: int, packed: bytes) -> Json:
        meta: Json = {"name": self._name(index), "namespace": self.namespace, "labels": dict(LABELS)}
        if not index and self._count > 1:
            meta["annotations"] = {SHARDS: str(self._count)}
        data = {KEY: base64.b64encode(packed).decode()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": data}


def _same(before: Saved, after: Saved) -> bool:
    """But for the instant of the plan."""
    at = after.memory.planned_at
    return replace(before, memory=replace(before.memory, planned_at=at)) == after


def _shards_of(first: Json) -> int:
    told = whole_number((first["metadata"].get("annotations") or {}).get(SHARDS, "1"), MOST_SHARDS)
    return max(told or 1, 1)


def _read(stored: Mapping[str, Any], index: int) -> Saved | None:
    try:
        packed = base64.b64decode(stored.get("binaryData", {})[KEY])
        return from_json(json.loads(zlib.decompress(packed)))
    except (KeyError, ValueError, TypeError, zlib.error) as error:
        LOGGER.warning("saved planner memory is unreadable (shard %d), starting without it: %s", index, error)
        return None


def _packed(saved: Saved, *, short: bool) -> bytes:
    data = to_json(saved)
    return zlib.compress(json.dumps(rounded(data) if short else data, separators=(",", ":")).encode(), 6)
