"""Why pods of a scale target are not made: by its conditions, else by the events of its controllers.

A Deployment says in a condition that its pods are refused (quota, limit range, pod security, an admission webhook). A
StatefulSet, and with it a LeaderWorkerSet, says so in events alone. Resources made of others pass conditions on, each
in its own way.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pertoken.control.quantities import epoch
from pertoken.domain.identity import WorkloadRef
from pertoken.ports import AdapterError, Clock, EventSource, Json

LOGGER = logging.getLogger(__name__)

FAILED_CREATE: Final = "FailedCreate"
READ_SECONDS: Final = 30.0  # between two reads of one namespace's events
# A StatefulSet's controller waits up to 1,000 s between two tries.
RECENT_SECONDS: Final = 1200.0
# Conditions by which a controller says that it cannot make pods: type, status, reasons (empty for any).
_CONDITIONS: Final = (
    ("ReplicaFailure", "True", frozenset[str]()),
    ("Progressing", "False", frozenset({"ReplicaSetCreateError", FAILED_CREATE})),
)
# What the API server says when admission refuses an object; conditions of any type may pass it on.
_REFUSAL: Final = re.compile(
    r"exceeded quota|failed quota|is forbidden|violates PodSecurity|denied (?:the )?request|admission webhook|"
    r"maximum \S+ usage per|minimum \S+ usage per"
)
_HASH: Final = "[bcdfghjklmnpqrstvwxz2456789]+"  # the letters of Kubernetes' generated names
# Objects that make the pods of a kind, by what follows the target's name.
_MAKERS: Final = {
    "LeaderWorkerSet": re.compile(r"(?:-\d+)?"),  # the leaders' StatefulSet, and one per group
    "LLMInferenceService": re.compile(rf"-kserve(?:-mn(?:-\d+)?|-{_HASH})?"),
}


def failure_of(conditions: Iterable[Mapping[str, Any]]) -> str:
    """The controller's words for pods that it could not make; empty if none of its conditions says so."""
    told = [condition for condition in conditions if isinstance(condition, Mapping)]
    for kind, status, reasons in _CONDITIONS:
        for condition in told:
            if (condition.get("type"), condition.get("status")) != (kind, status):
                continue
            if not reasons or condition.get("reason") in reasons:
                return str(condition.get("message") or condition.get("reason") or "pods cannot be created")
    for condition in told:
        message = str(condition.get("message") or "")
        if condition.get("status") == "False" and _REFUSAL.search(message):
            return message
    return ""


@dataclass(frozen=True, slots=True)
class PodRefusal:
    """A controller's words for a pod that it could not make, and when (seconds since the epoch)."""

    words: str
    at: float


@dataclass(slots=True)
class CreationEvents:
    """Reads the events of namespaces in which replicas are missing, each at most once per `READ_SECONDS`."""

    source: EventSource
    clock: Clock
    _read: dict[str, tuple[float, tuple[Json, ...]]] = field(default_factory=dict)

    def of(self, target: WorkloadRef) -> PodRefusal | None:
        """The newest refusal of a target's pods; None if no recent event tells one."""
        since = self.clock.now() - RECENT_SECONDS
        told = [
            PodRefusal(str(event.get("message") or FAILED_CREATE), at)
            for event in self._events(target.namespace)
            if _concerns(event, target) and (at := _last_seen(event)) >= since
        ]
        return max(told, key=lambda refused: refused.at, default=None)

    def _events(self, namespace: str) -> tuple[Json, ...]:
        now = self.clock.monotonic()
        at, events = self._read.get(namespace, (float("-inf"), ()))
        if now - at < READ_SECONDS:
            return events
        try:
            events = tuple(self.source.events(namespace, FAILED_CREATE))
        except AdapterError as error:
            LOGGER.warning("events of %s cannot be read: %s", namespace, error)
        self._read[namespace] = now, events
        return events


def _concerns(event: Json, target: WorkloadRef) -> bool:
    involved = event.get("involvedObject") or {}
    name = str(involved.get("name") or "")
    if not name.startswith(target.name):
        return False
    rest = name[len(target.name) :]
    if involved.get("kind") == target.kind:
        return not rest
    makers = _MAKERS.get(target.kind)
    return makers is not None and makers.fullmatch(rest) is not None


def _last_seen(event: Json) -> float:
    series = event.get("series") or {}
    stamps = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return max((at for stamp in stamps if (at := epoch(stamp)) is not None), default=0.0)
