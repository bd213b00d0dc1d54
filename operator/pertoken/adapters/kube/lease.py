"""Leader election on a coordination.k8s.io Lease, fenced by a monotonic clock.

The elector runs in a thread of its own, so that a busy event loop does not cost the lease. The protocol is that of
client-go: a holder renews the Lease; others take it over when it has not changed for its duration, as seen by their
own monotonic clock, so clocks of machines need not agree.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pertoken.adapters.kube.client import ApiRequest, Caller
from pertoken.adapters.kube.resources import Resource
from pertoken.ports import AdapterError, Clock, Conflict, Json, NotFound

LOGGER = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


@dataclass(frozen=True, slots=True)
class LeaseSpec:
    """Which Lease, who we are, and the rhythm.

    Attributes:
        identity: shown in the Lease; a random suffix keeps two processes of one name apart.
        duration_seconds: others take over when the Lease has not changed for so long.
        renew_deadline_seconds: without a renewal for so long the lease counts as lost here.
        retry_seconds: distance of attempts.
    """

    namespace: str
    name: str = "pertoken"
    identity: str = "pertoken"
    duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Raises ValueError when a takeover could happen before the holder knows that it lost."""
        if not self.duration_seconds > self.renew_deadline_seconds > 2 * self.retry_seconds > 0:
            raise ValueError(
                f"lease of {self.duration_seconds:g} s must outlast its renew deadline "
                f"({self.renew_deadline_seconds:g} s), and that two retries ({self.retry_seconds:g} s each)"
            )

    @classmethod
    def lasting(cls, seconds: float, namespace: str, identity: str) -> LeaseSpec:
        """A lease of this duration in the usual proportions: 15 s are renewed every 2 s, lost after 10 s without."""
        renew, retry = seconds * 2 / 3, seconds * 2 / 15
        return cls(
            namespace,
            identity=identity,
            duration_seconds=seconds,
            renew_deadline_seconds=renew,
            retry_seconds=retry,
        )

    @property
    def margin_seconds(self) -> float:
        """Least time from the last instant at which the holder may write to the first at which another may lead."""
        return self.duration_seconds - self.renew_deadline_seconds

    @property
    def write_seconds(self) -> float:
        """How long a write may take so that it ends within the margin."""
        return 0.9 * self.margin_seconds

    def check_writes(self, write_seconds: float) -> None:
        """Raises ValueError when a write that was sent in time could still be under way after a takeover."""
        if write_seconds >= self.margin_seconds:
            raise ValueError(
                f"writes may take {write_seconds:g} s, but a lease of {self.duration_seconds:g} s that counts as lost "
                f"after {self.renew_deadline_seconds:g} s leaves less than {self.margin_seconds:g} s for them"
            )


@dataclass(slots=True)
class LeaseObservation:
    """How the Lease of another holder looked last, and since when (monotonic seconds)."""

    version: str = ""
    since: float = 0.0


class LeaseElector:
    """Implements `pertoken.ports.Leadership`: `start`, ask `valid` before every write, `stop`."""

    def __init__(
        self, client: Caller, spec: LeaseSpec, clock: Clock, on_change: Callable[[bool], None] | None = None
    ) -> None:
        """Contend for the Lease once started.

        Args:
            client: each request is limited to half the renew deadline.
            spec: the Lease.
            clock: for the monotonic deadlines and the stamps in the Lease.
            on_change: called in the elector's thread with True when the lease is won, False when it is lost.
        """
        self._client = client
        self._spec = spec
        self._clock = clock
        self._on_change = on_change
        self._identity = f"{spec.identity}_{secrets.token_hex(4)}"
        self._held: Json | None = None  # the Lease as our last write left it
        self._other = LeaseObservation()
        self._holder = ""
        self._valid_until = float("-inf")
        self._mine = False  # nobody else has held the Lease since we won it, as far as we have seen
        self._term = 0
        self._leading = False
        self._said = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def identity(self) -> str:
        """Our name in the Lease."""
        return self._identity

    @property
    def holder(self) -> str:
        """Who holds the Lease as last seen; empty if nobody."""
        return self._holder

    @property
    def term(self) -> int:
        """How often the lease was won."""
        return self._term

    def valid(self) -> bool:
        """The lease is ours and a renewal that succeeded was sent within the renew deadline."""
        return self._clock.monotonic() < self._valid_until

    def start(self) -> None:
        """Begin to contend."""
        if self._thread is not None:
            raise RuntimeError("the elector was started already")
        self._thread = threading.Thread(target=self._run, name="lease-elector", daemon=True)
        self._thread.start()

    def stop(self, *, release: bool = True) -> None:
        """End for good; with `release`, hand the Lease over so that a standby leads at once. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self._spec.renew_deadline_seconds)  # a request in flight is bounded
        held = self._held if self.valid() else None
        self._valid_until = float("-inf")
        self._tell()
        if release and held is not None:
            self._release(held)
        self._held = None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt()
            self._tell()
            # Random pauses, so that candidates that started together do not go on colliding.
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
            self._stop.wait(self._spec.retry_seconds * jitter)

    def _attempt(self) -> None:
        try:
            self._acquire_or_renew()
        except Conflict:
            self._held = None  # someone else wrote: look before the next write
        except AdapterError as error:
            self._say(f"lease {self._spec.namespace}/{self._spec.name} is not renewed: {error}", logging.WARNING)
        except Exception:
            # Every exception is caught: without this thread the operator could neither lead nor stand by.
            LOGGER.exception("an attempt at the lease failed")

    def _acquire_or_renew(self) -> None:
        lease = self._held or self._read()
        if lease is not None and not self._may_take(lease):
            self._valid_until = float("-inf")
            self._say(f"standing by: {self._holder} leads", logging.INFO)
            return
        sent = self._clock.monotonic()
        self._held = self._write(lease)
        self._holder = self._identity
        if not self._mine:
            self._mine = True
            self._term += 1
        # Others count from when they see this renewal, which is later than when it was sent.
        self._valid_until = sent + self._spec.renew_deadline_seconds

    def _may_take(self, lease: Json) -> bool:
        spec = lease.get("spec") or {}
        self._holder = spec.get("holderIdentity") or ""
        self._mine = self._mine and self._holder == self._identity
        if self._holder in {"", self._identity}:
            return True
        version = lease["metadata"]["resourceVersion"]
        now = self._clock.monotonic()
        if version != self._other.version:
            self._other = LeaseObservation(version, now)
        duration = float(spec.get("leaseDurationSeconds") or self._spec.duration_seconds)
        return now - self._other.since >= duration

    def _read(self) -> Json | None:
        path = LEASES.path(self._spec.namespace, self._spec.name)
        try:
            return self._client.call(ApiRequest("GET", path, read_seconds=self._limit))
        except NotFound:
            return None

    def _write(self, lease: Json | None) -> Json:
        """Create the Lease, take it over or renew it. The resourceVersion makes a lost race a Conflict."""
        now = self._stamp()
        spec = dict((lease or {}).get("spec") or {})
        if lease is not None and spec.get("holderIdentity") == self._identity:
            spec["renewTime"] = now
        else:
            transitions = 0 if lease is None else int(spec.get("leaseTransitions") or 0) + 1
            spec |= {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": math.ceil(self._spec.duration_seconds),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            }
        if lease is None:
            meta = {"namespace": self._spec.namespace, "name": self._spec.name}
            body: Json = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": meta, "spec": spec}
            path = LEASES.path(self._spec.namespace)
            return self._client.call(ApiRequest("POST", path, body=body, read_seconds=self._limit))
        return self._put({**lease, "spec": spec})

    def _release(self, lease: Json) -> None:
        spec = dict(lease["spec"]) | {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
        try:
            self._put({**lease, "spec": spec})
        except AdapterError as error:
            LOGGER.warning("the lease was not released, a standby waits for its end: %s", error)

    def _put(self, lease: Json) -> Json:
        path = LEASES.path(self._spec.namespace, self._spec.name)
        return self._client.call(ApiRequest("PUT", path, body=lease, read_seconds=self._limit))

    @property
    def _limit(self) -> float:
        return self._spec.renew_deadline_seconds / 2

    def _tell(self) -> None:
        leading = self.valid()
        if leading == self._leading:
            return
        self._leading = leading
        self._say("leading" if leading else "not leading any more", logging.INFO if leading else logging.WARNING)
        if self._on_change is not None:
            self._on_change(leading)

    def _say(self, words: str, level: int) -> None:
        """Log a message only if it differs from the last one: a standby would else write a line every two seconds."""
        if words != self._said:
            self._said = words
            LOGGER.log(level, "%s", words)

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
