"""What the planning cycle needs from the outside. Adapters implement these; the simulator has its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pertoken.catalog.lookup import Catalog
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot

Json = dict[str, Any]


class AdapterError(Exception):
    """Something outside failed.

    Tree: AdapterError > Timeout, Unavailable, Conflict (> AlreadyExists), NotFound, Forbidden, Refused, Withheld.
    """


class Timeout(AdapterError):
    """No answer in time."""


class Unavailable(AdapterError):
    """No connection, or the server is not able to answer now."""


class Conflict(AdapterError):
    """The object changed meanwhile (409)."""


class AlreadyExists(Conflict):
    """The name of a new object is taken (409)."""


class NotFound(AdapterError):
    """The object does not exist (404)."""


class Forbidden(AdapterError):
    """Permission missing (401, 403); the message names verb and resource."""


class Refused(AdapterError):
    """The server understood and refused (400, 422, 429 of an eviction); the message says why."""


class Withheld(AdapterError):
    """Nothing was sent: this process may not write (any more)."""


class Clock(Protocol):
    """Time, so that tests and the simulator can set it."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps."""


class MetricsSource(Protocol):
    """Reads one metrics profile."""

    def observe(self) -> MetricsSnapshot:
        """All pods' metrics now. Never raises for an unreachable source: the snapshot's health tells."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A consistent list of one kind."""

    items: Sequence[Json]
    resource_version: str = ""


class CatalogSource(Protocol):
    """The GPUs and models that are known now."""

    def catalog(self) -> Catalog:
        """Never raises: what cannot be read is left out, and told in the log."""


class ClusterReader(Protocol):
    """Lists of the kinds that the inventory holds. Raises AdapterError."""

    def list(self, plural: str) -> Listing:
        """All objects of one watched kind, by its plural name (``inferenceservices``, ``pods`` …)."""

    def scale(self, target: WorkloadRef) -> Json:
        """The scale subresource of any allowed kind."""

    def get(self, target: WorkloadRef) -> Json:
        """The whole object behind a reference."""


class EventSource(Protocol):
    """Events that others have posted."""

    def events(self, namespace: str, reason: str) -> Sequence[Json]:
        """Those of one reason in a namespace. Raises AdapterError."""


@dataclass(frozen=True, slots=True)
class EventNote:
    """One Kubernetes Event on a user's object.

    Attributes:
        type: ``Normal`` or ``Warning``.
    """

    regarding: Json  # apiVersion, kind, namespace, name, uid
    type: str
    reason: str
    message: str
    action: str = "Plan"


class ClusterWriter(Protocol):
    """Every write to the cluster. Raises AdapterError, Withheld where this process may not write."""

    def set_replicas(self, target: WorkloadRef, replicas: int, resource_version: str) -> None:
        """Through the scale subresource; Conflict when `resource_version` is no longer current."""

    def evict(self, pod: PodKey, uid: str) -> None:
        """Through the Eviction API; Refused when a disruption budget forbids it now."""

    def create(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Make a new object; AlreadyExists when the name is taken, by whomever."""

    def apply(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Server-side apply over one object of ours, whose uid and resourceVersion `manifest` names: else Conflict."""

    def own_fields(self, live: Json, managed_fields: Sequence[Json]) -> Json:
        """Replace the record of who owns which field of an object; Conflict when it changed since `live` was read."""

    def apply_status(self, manifest: Json, field_manager: str) -> Json:
        """Server-side apply of the status subresource; `manifest` has apiVersion, kind, metadata (uid) and status."""

    def delete(self, manifest: Json, *, foreground: bool = False) -> None:
        """Delete one owned object; in the foreground it stays until its dependents are gone. NotFound is no error."""

    def record(self, note: EventNote) -> None:
        """Post an Event (events.k8s.io/v1)."""


class ObjectPatcher(Protocol):
    """Changes single fields of users' objects. Raises AdapterError, Withheld where this process may not write."""

    def patch(self, target: WorkloadRef, operations: Sequence[Json], field_manager: str) -> None:
        """JSON patch of one object; Refused when one of its ``test`` operations does not hold."""


class Leadership(Protocol):
    """Whether this process may write."""

    @property
    def term(self) -> int:
        """How often the lease was won; another holder may have led between two terms, never within one."""

    def valid(self) -> bool:
        """The lease is ours and has not run out; checked before every write."""


@dataclass(frozen=True, slots=True)
class CycleSummary:
    """What telemetry is told after each cycle.

    Attributes:
        phases: seconds per phase (observe, account, plan, act, remember).
        outcomes: actions by (kind, outcome), outcome in done, conflict, failed, withheld.
    """

    number: int
    ok: bool
    phases: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    error: str = ""
    services: tuple[ServiceKey, ...] = ()


class Recordings(Protocol):
    """Where recorded cycles go: segments of lines, of which the oldest make room for new ones. Raises OSError."""

    def begin(self, name: str) -> None:
        """Begin a segment; names are in the order of time."""

    def append(self, line: bytes) -> int:
        """Add a line to the segment that was begun last; returns that segment's bytes."""
