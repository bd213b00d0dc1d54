"""Kubernetes Events (events.k8s.io/v1): repeats become a series, floods are cut off per object."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from pertoken.adapters.kube.client import MERGE_PATCH, ApiRequest, Caller
from pertoken.adapters.kube.resources import Resource
from pertoken.control.rate_limiter import RateLimiter
from pertoken.ports import Clock, EventNote, Json, NotFound

EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
CONTROLLER = "pertoken"
SERIES_SECONDS = 600.0  # repeats within this time belong together
SERIES_WRITE_SECONDS = 60.0  # a running series is written at most this often
BURST_PER_OBJECT = 25  # then one new event per minute: enough for every decision, no flood
REFILL_PER_SECOND = 1 / 60
MAX_NOTE = 1024  # limits of the events.k8s.io/v1 validation, in bytes
MAX_CODE = 128

Key = tuple[str, ...]


@dataclass(slots=True)
class EventSeries:
    """One posted event and its repeats; times are monotonic seconds."""

    namespace: str
    name: str
    count: int
    seen_at: float
    written_at: float


class EventRecorder:
    """Posts and aggregates. Thread-safe."""

    def __init__(self, client: Caller, clock: Clock, instance: str) -> None:
        """Report as `instance` of the controller ``pertoken``."""
        self._client = client
        self._clock = clock
        self._instance = instance[:MAX_CODE]
        self._series: dict[Key, EventSeries] = {}
        self._limiters: dict[str, RateLimiter] = {}
        self._lock = threading.Lock()

    def record(self, note: EventNote) -> None:
        """Post a new event, or add to the series of an equal one. Raises AdapterError."""
        with self._lock:
            self._forget()
            key = _key(note)
            series = self._series.get(key)
            if series is not None and self._continued(series):
                return
            self._create(note, key)

    def _create(self, note: EventNote, key: Key) -> None:
        about = key[0]
        limiter = self._limiters.setdefault(about, RateLimiter(REFILL_PER_SECOND, BURST_PER_OBJECT, self._clock))
        if not limiter.try_take():
            return
        namespace = note.regarding.get("namespace") or "default"  # cluster-scoped objects' events live there
        # Object names have at most 253 characters; the suffix makes every event unique.
        name = f"{note.regarding['name'][:236]}.{secrets.token_hex(8)}"
        body: Json = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": self._stamp(),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": note.action[:MAX_CODE],
            "reason": note.reason[:MAX_CODE],
            "note": _cut(note.message),
            "type": note.type,
            "regarding": note.regarding,
        }
        self._client.call(ApiRequest("POST", EVENTS.path(namespace), body=body))
        now = self._clock.monotonic()
        self._series[key] = EventSeries(namespace, name, count=1, seen_at=now, written_at=float("-inf"))

    def _continued(self, series: EventSeries) -> bool:
        """Count a repeat; False when the event is no longer there (they expire), so that a new one is posted."""
        now = self._clock.monotonic()
        series.count += 1
        series.seen_at = now
        if now - series.written_at < SERIES_WRITE_SECONDS:
            return True
        body: Json = {"series": {"count": series.count, "lastObservedTime": self._stamp()}}
        path = EVENTS.path(series.namespace, series.name)
        try:
            self._client.call(ApiRequest("PATCH", path, body=body, content_type=MERGE_PATCH))
        except NotFound:
            return False
        series.written_at = now
        return True

    def _forget(self) -> None:
        horizon = self._clock.monotonic() - SERIES_SECONDS
        self._series = {key: series for key, series in self._series.items() if series.seen_at > horizon}
        if len(self._limiters) > 4096:
            # Drop the buckets of objects without recent events, so that they do not pile up.
            about = {key[0] for key in self._series}
            self._limiters = {name: limiter for name, limiter in self._limiters.items() if name in about}

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _key(note: EventNote) -> Key:
    about = note.regarding
    identity = about.get("uid") or f"{about.get('kind')}/{about.get('namespace', '')}/{about['name']}"
    return (identity, note.type, note.reason, note.action, note.message)


def _cut(message: str) -> str:
    raw = message.encode()
    if len(raw) <= MAX_NOTE:
        return message
    return raw[: MAX_NOTE - 3].decode("utf-8", "ignore") + "…"
