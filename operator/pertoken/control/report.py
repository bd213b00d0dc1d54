"""Telling users what was decided: statuses by server-side apply within a write budget, events on real changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pertoken.api.conditions import accepted, doubted, rejected
from pertoken.api.route_status import refused_route_status, route_status
from pertoken.api.significance import significant_change, urgent_change
from pertoken.api.status import StatusContext, pool_status, rejected_status, service_status
from pertoken.api.v1alpha1 import API_VERSION
from pertoken.control.actuate import Outcome, Result, describe
from pertoken.control.objects import PoolObject, Refusal, ServiceObject
from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.routes import RouteObject
from pertoken.domain.plan import Decision, EvictPod, Plan, PoolFigures, RouteDecision, SetReplicas, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.world import Rejection
from pertoken.ports import AdapterError, Clock, ClusterWriter, EventNote, Json, NotFound, Withheld

LOGGER = logging.getLogger(__name__)
FIELD_MANAGER = "pertoken"
WATCHED_CONDITIONS = ("Accepted", "MetricsAvailable", "WithinCostTarget", "WithinLatencyTarget", "Conflicted", "Ready")
BAD_WHEN_TRUE = frozenset({"Conflicted"})
# Reasons with which a condition that is True still gives an event.
NOTED = frozenset({Reason.WORKLOAD_LEFT_BEHIND.value, Reason.CAP_IGNORED.value})


@dataclass(frozen=True, slots=True)
class Subjects:
    """The objects whose status pertoken writes.

    Attributes:
        released: uids of services that may be deleted without what was made for them.
    """

    services: tuple[ServiceObject, ...]
    pools: tuple[PoolObject, ...]
    refusals: Mapping[str, Refusal]
    routes: tuple[RouteObject, ...] = ()
    released: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """What users are told of one cycle.

    Attributes:
        term: of leadership; it is told in that term only.
    """

    term: int
    subjects: Subjects
    plan: Plan
    outcomes: tuple[Outcome, ...]


@dataclass(slots=True)
class _Written:
    """What was last written of one object."""

    status: Mapping[str, Any]
    at: float


@dataclass(slots=True)
class Reporter:
    """Writes what changed.

    Attributes:
        writer: fenced.
        limiter: of status writes per second.
        numbers_seconds: least time between two writes of changed numbers of one object.
    """

    writer: ClusterWriter
    clock: Clock
    limiter: RateLimiter
    numbers_seconds: float = 60.0
    _written: dict[str, _Written] = field(default_factory=dict)

    def report(self, report: Report) -> None:
        """Statuses of all services, pools and routes, and events for what was done."""
        subjects, plan = report.subjects, report.plan
        decisions = {decision.service: decision for decision in plan.decisions}
        figures = {pool.name: pool for pool in plan.pools}
        now = self.clock.now()
        living = set()
        for service in subjects.services:
            living.add(service.uid)
            if service.deleting:
                continue
            try:
                self._service(service, decisions.get(service.key), subjects, now)
            except Exception:
                LOGGER.exception("%s: its status cannot be told", service.key)
        for pool in subjects.pools:
            living.add(pool.uid)
            try:
                self._pool(pool, figures.get(pool.name), subjects.refusals.get(pool.uid), now)
            except Exception:
                LOGGER.exception("pool %s: its status cannot be told", pool.name)
        routed = {decision.route: decision for decision in plan.routes}
        for route in subjects.routes:
            living.add(route.uid)
            try:
                self._route(route, routed.get(route.key), now)
            except Exception:
                LOGGER.exception("ModelRoute %s: its status cannot be told", route.key)
        self._written = {uid: written for uid, written in self._written.items() if uid in living}
        by_key = {service.key: service for service in subjects.services}
        for outcome in report.outcomes:
            owner = by_key.get(outcome.action.service)
            if owner is not None:
                self._post(owner, _event(owner, outcome))

    def forget(self) -> None:
        """Compare statuses with the objects again, as another leader may have written since the last write."""
        self._written.clear()

    def _pool(self, pool: PoolObject, figures: PoolFigures | None, refusal: Refusal | None, now: float) -> None:
        condition = rejected(refusal.reason, refusal.message) if refusal else accepted(pool.not_acted_on)
        if refusal is None and figures is not None and figures.condition is not None:
            condition = doubted(figures.condition, pool.not_acted_on)
        context = StatusContext(now, self._previous(pool.uid, pool.status), pool.not_acted_on)
        status = pool_status(None if refusal else figures, condition, pool.generation, context)
        self._write(_pool_reference(pool), status, pool.uid, pool.status)

    def _route(self, route: RouteObject, decision: RouteDecision | None, now: float) -> None:
        context = StatusContext(now, self._previous(route.uid, route.status))
        if route.spec is None:
            status = refused_route_status(Reason.INVALID_SPEC, "; ".join(route.refusals), route.generation, context)
        elif decision is not None:
            status = route_status(decision, route.generation, context)
        else:
            return
        self._write(_route_reference(route), status, route.uid, route.status)

    def _service(self, service: ServiceObject, decision: Decision | None, subjects: Subjects, now: float) -> None:
        refusal = subjects.refusals.get(service.uid)
        before = self._previous(service.uid, service.status)
        context = StatusContext(now, before, service.not_acted_on, released=service.uid in subjects.released)
        if refusal is not None:
            rejection = Rejection(
                service.key, service.uid, service.generation, refusal.reason, refusal.message, refusal.conflicted
            )
            status = rejected_status(rejection, context)
        elif decision is not None and service.spec is not None:
            status = service_status(service.spec, decision, context)
        else:
            return
        if self._write(_service_reference(service), status, service.uid, service.status):
            for note in _condition_events(service, before, status):
                self._post(service, note)

    def _previous(self, uid: str, seen: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status last written, which may be newer than the one that the watch has brought."""
        return self._written[uid].status if uid in self._written else seen

    def _write(self, reference: Json, status: Json, uid: str, seen: Mapping[str, Any]) -> bool:
        written = self._written.get(uid)
        before = written.status if written else seen
        if before:
            due = written is None or self.clock.monotonic() - written.at >= self.numbers_seconds
            if not urgent_change(before, status) and not (due and significant_change(before, status)):
                return False
        if not self.limiter.try_take():
            return False  # the next cycle tries again if the status still differs
        manifest = {
            "apiVersion": reference["apiVersion"],
            "kind": reference["kind"],
            "metadata": {key: reference[key] for key in ("name", "namespace", "uid") if key in reference},
            "status": status,
        }
        try:
            self.writer.apply_status(manifest, FIELD_MANAGER)
        except (NotFound, Withheld):
            return False
        except AdapterError as error:
            LOGGER.warning("status of %s %s was not written: %s", reference["kind"], reference["name"], error)
            return False
        self._written[uid] = _Written(status, self.clock.monotonic())
        return True

    def _post(self, service: ServiceObject, note: EventNote | None) -> None:
        if note is None:
            return
        try:
            self.writer.record(note)
        except Withheld:
            return
        except AdapterError as error:
            LOGGER.warning("event %s of %s was not posted: %s", note.reason, service.key, error)


def _service_reference(service: ServiceObject) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "namespace": service.key.namespace,
        "name": service.key.name,
        "uid": service.uid,
    }


def _route_reference(route: RouteObject) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelRoute",
        "namespace": route.key.namespace,
        "name": route.key.name,
        "uid": route.uid,
    }


def _pool_reference(pool: PoolObject) -> Json:
    return {"apiVersion": API_VERSION, "kind": "AcceleratorPool", "name": pool.name, "uid": pool.uid}


def _event(service: ServiceObject, outcome: Outcome) -> EventNote | None:
    action, reference = outcome.action, _service_reference(service)
    if outcome.result is Result.WITHHELD or outcome.result is Result.CONFLICT:
        return None  # planned anew in the next cycle
    if outcome.result is Result.REFUSED and isinstance(action, EvictPod):
        return None  # a disruption budget that says "not now" is no news
    if outcome.result is not Result.DONE:
        words = f"{describe(action)}: {outcome.why}"
        return EventNote(reference, "Warning", Reason.SCALE_FAILED.value, words, "Act")
    reason = action.reason
    if isinstance(action, SetReplicas) and reason is not Reason.RECLAIMED_FOR_PRIORITY:
        grown = action.desired > action.current
        reason = Reason.REPLICAS_INCREASED if grown else Reason.REPLICAS_DECREASED
    return EventNote(reference, "Normal", reason.value, action.message or describe(action), "Act")


def _condition_events(service: ServiceObject, before: Mapping[str, Any], status: Json) -> Iterable[EventNote]:
    """News of conditions that turned bad or good; the summary's only where no other condition tells the same."""
    old = {condition["type"]: condition for condition in before.get("conditions") or ()}
    told: set[str] = set()
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind in (*(kind for kind in conditions if kind != "Ready"), *(kind for kind in conditions if kind == "Ready")):
        condition, earlier = conditions[kind], old.get(kind) or {}
        if earlier.get("reason") == condition["reason"] and earlier.get("status") == condition["status"]:
            continue
        noted = condition["reason"] in NOTED
        if not noted and kind not in WATCHED_CONDITIONS:
            continue
        bad, was_bad = _bad(kind, condition), _bad(kind, earlier)
        news = condition["reason"] if bad else earlier.get("reason", "")
        if noted or ((bad or was_bad) and not (kind == "Ready" and news in told)):
            told.update({condition["reason"], earlier.get("reason", "")})
            words = f"{kind}={condition['status']}: {condition['message']}"
            kind_of_event = "Warning" if bad or noted else "Normal"
            yield EventNote(_service_reference(service), kind_of_event, condition["reason"], words, "Judge")


def _bad(kind: str, condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == (Verdict.TRUE.value if kind in BAD_WHEN_TRUE else Verdict.FALSE.value)
