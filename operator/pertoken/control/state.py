"""Planner memory over restarts: one compressed ConfigMap in the operator's own namespace."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from dataclasses import dataclass

from pertoken.domain.identity import WorkloadRef
from pertoken.planner.memory import EMPTY, Memory, from_json, shortened, to_json
from pertoken.ports import AdapterError, Clock, ClusterReader, ClusterWriter, Json, NotFound

LOGGER = logging.getLogger(__name__)

KEY = "memory.json.zlib"
FIELD_MANAGER = "pertoken-state"
MAX_BYTES = 900_000  # a ConfigMap may hold 1 MiB
DEMAND_CYCLES = (None, 40, 0)  # all, or as many of the last ones as fit


@dataclass(slots=True)
class MemoryStore:
    """Loads the memory at start and saves it at most every `interval_seconds`."""

    reader: ClusterReader
    writer: ClusterWriter
    clock: Clock
    namespace: str
    name: str = "pertoken-memory"
    interval_seconds: float = 60.0
    _saved_at: float = float("-inf")

    def load(self) -> Memory:
        """The saved memory, or an empty one (a cautious start) when there is none or it cannot be read."""
        try:
            saved = self.reader.get(WorkloadRef("v1", "ConfigMap", self.namespace, self.name))
        except NotFound:
            return EMPTY
        try:
            packed = base64.b64decode(saved.get("binaryData", {})[KEY])
            return from_json(json.loads(zlib.decompress(packed)))
        except (KeyError, ValueError, TypeError, zlib.error) as error:
            LOGGER.warning("saved planner memory is unreadable, starting without it: %s", error)
            return EMPTY

    def save(self, memory: Memory, *, force: bool = False) -> None:
        """Write the memory if the last write is old enough; a failure is logged and tried again later."""
        if not force and self.clock.monotonic() - self._saved_at < self.interval_seconds:
            return
        sizes = (_packed(memory if cycles is None else shortened(memory, cycles)) for cycles in DEMAND_CYCLES)
        packed = next((one for one in sizes if len(one) <= MAX_BYTES), None)
        if packed is None:
            LOGGER.warning("the memory of %d services does not fit a ConfigMap; it is not kept", len(memory.services))
            return
        try:
            self.writer.apply(self._manifest(packed), FIELD_MANAGER)
        except AdapterError as error:
            LOGGER.warning("planner memory was not saved: %s", error)
        self._saved_at = self.clock.monotonic()

    def _manifest(self, packed: bytes) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/part-of": "pertoken", "app.kubernetes.io/component": "state"},
            },
            "binaryData": {KEY: base64.b64encode(packed).decode()},
        }


def _packed(memory: Memory) -> bytes:
    return zlib.compress(json.dumps(to_json(memory), separators=(",", ":")).encode(), 6)
