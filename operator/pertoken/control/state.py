"""Planner memory and ledger over restarts: one compressed ConfigMap in the operator's own namespace."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from dataclasses import dataclass

from pertoken.control.saved import NOTHING, Saved, from_json, shortened, to_json
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

LOGGER = logging.getLogger(__name__)

KEY = "memory.json.zlib"
FIELD_MANAGER = "pertoken-state"
LABELS = {"app.kubernetes.io/part-of": "pertoken", "app.kubernetes.io/component": "state"}
MAX_BYTES = 900_000  # a ConfigMap may hold 1 MiB
DEMAND_CYCLES = (None, 40, 0)  # all, or as many of the last ones as fit


@dataclass(slots=True)
class StateStore:
    """Loads what was saved when leadership begins and saves at most every `interval_seconds`.

    Each save names the version that was loaded or saved last, so that one which was sent before another leader saved
    its own is refused by the API server.

    Attributes:
        writer: fenced.
    """

    reader: ClusterReader
    writer: ClusterWriter
    clock: Clock
    namespace: str
    name: str = "pertoken-memory"
    interval_seconds: float = 60.0
    _saved_at: float = float("-inf")
    _looked: bool = False
    _identity: Json | None = None  # uid and resourceVersion of the ConfigMap as we know it; None if there is none

    def load(self) -> Saved:
        """What was saved, or nothing (a cautious start) when there is none or it cannot be read.

        Raises:
            AdapterError: it is not known whether there is one.
        """
        try:
            stored = self._look()
        except Refused as error:
            LOGGER.warning("starting without memory, and none will be kept: %s", error)
            return NOTHING
        if stored is None:
            return NOTHING
        try:
            packed = base64.b64decode(stored.get("binaryData", {})[KEY])
            return from_json(json.loads(zlib.decompress(packed)))
        except (KeyError, ValueError, TypeError, zlib.error) as error:
            LOGGER.warning("saved planner memory is unreadable, starting without it: %s", error)
            return NOTHING

    def save(self, saved: Saved, *, force: bool = False) -> None:
        """Write memory and ledger if the last write is old enough; a failure is logged and tried again later."""
        if not force and self.clock.monotonic() - self._saved_at < self.interval_seconds:
            return
        sizes = (_packed(saved if cycles is None else shortened(saved, cycles)) for cycles in DEMAND_CYCLES)
        packed = next((size for size in sizes if len(size) <= MAX_BYTES), None)
        if packed is None:
            LOGGER.warning(
                "the memory of %d services does not fit a ConfigMap; it is not kept", len(saved.memory.services)
            )
            return
        try:
            self._write(self._manifest(packed))
        except Withheld as error:
            LOGGER.info("planner memory is not saved: %s", error)
        except Conflict as error:
            self._looked = False
            LOGGER.warning("planner memory was not saved, somebody else changed it: %s", error)
        except AdapterError as error:
            LOGGER.warning("planner memory was not saved: %s", error)
        self._saved_at = self.clock.monotonic()

    def _write(self, manifest: Json) -> None:
        if not self._looked:
            self._look()
        if self._identity is None:
            self._know(self.writer.create(manifest, FIELD_MANAGER))
            return
        named = {**manifest, "metadata": {**manifest["metadata"], **self._identity}}
        self._know(self.writer.apply(named, FIELD_MANAGER))

    def _look(self) -> Json | None:
        """The ConfigMap as it is.

        Raises:
            Refused: it is somebody else's.
        """
        ref = WorkloadRef("v1", "ConfigMap", self.namespace, self.name)
        try:
            config_map = self.reader.get(ref)
        except NotFound:
            self._identity, self._looked = None, True
            return None
        if not LABELS.items() <= (config_map["metadata"].get("labels") or {}).items():
            raise Refused(f"{ref} is not pertoken's memory (it lacks the label component=state): rename or remove it")
        self._know(config_map)
        return config_map

    def _know(self, stored: Json) -> None:
        self._identity = {key: stored["metadata"][key] for key in ("uid", "resourceVersion")}
        self._looked = True

    def _manifest(self, packed: bytes) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": dict(LABELS),
            },
            "binaryData": {KEY: base64.b64encode(packed).decode()},
        }


def _packed(saved: Saved) -> bytes:
    return zlib.compress(json.dumps(to_json(saved), separators=(",", ":")).encode(), 6)
