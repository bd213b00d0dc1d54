"""ModelRoutes and their HTTPRoutes: listed and read in every cycle, and their weights written.

They are not watched: a cluster may lack the kind, or the Gateway API. There are few of them, and what a user changes is
seen by the next cycle.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pertoken.api.errors import FieldError, Rejected
from pertoken.api.modelroute import GATEWAY_API, http_route_fact, translate_route
from pertoken.control.actuate import Result
from pertoken.control.quantities import epoch
from pertoken.control.unreadable import words
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import Condition, RouteDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import RouteSpec, RouteView, SetWeights
from pertoken.ports import (
    AdapterError,
    Clock,
    ClusterReader,
    Forbidden,
    Json,
    NotFound,
    ObjectPatcher,
    Refused,
    Withheld,
)
from pertoken.raw.values import MOST_DIGITS, whole_number
from pertoken.routing.standing import MANAGER

LOGGER = logging.getLogger(__name__)
PLURAL: Final = "modelroutes"


@dataclass(frozen=True, slots=True)
class RouteObject:
    """One ModelRoute: what it asks for, or why it cannot be understood.

    Attributes:
        spec: None when it is refused.
        refusals: one line per mistake.
        status: as last seen.
    """

    key: ServiceKey
    uid: str
    generation: int
    spec: RouteSpec | None
    refusals: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """One write of weights with its result; `why` is empty when it is done."""

    action: SetWeights
    result: Result
    why: str = ""


@dataclass(slots=True)
class Router:
    """Reads ModelRoutes for the plan, and carries out what was decided on them.

    Attributes:
        writer: fenced.
        absent_seconds: how long a cluster that does not serve the kind is not asked again.
    """

    reader: ClusterReader
    writer: ObjectPatcher
    clock: Clock
    read_only: bool = False
    absent_seconds: float = 60.0
    _absent_until: float = float("-inf")
    _last: tuple[RouteObject, ...] = ()

    def read(self) -> tuple[RouteObject, ...]:
        """All ModelRoutes; what was known stands while the API server does not answer."""
        if self.clock.monotonic() < self._absent_until:
            return ()
        try:
            listing = self.reader.list(PLURAL)
        except (NotFound, Forbidden) as error:
            LOGGER.info("there are no ModelRoutes: %s", error)
            self._absent_until = self.clock.monotonic() + self.absent_seconds
            self._last = ()
        except AdapterError as error:
            LOGGER.warning("ModelRoutes cannot be listed: %s", error)
        else:
            living = (obj for obj in listing.items if "deletionTimestamp" not in obj["metadata"])
            self._last = tuple(parsed for obj in living if (parsed := _parsed(obj)) is not None)
        return self._last

    def views(self, objects: Iterable[RouteObject]) -> tuple[RouteView, ...]:
        """The accepted routes with their HTTPRoutes as they stand."""
        return tuple(self._view(each.spec) for each in objects if each.spec is not None)

    def carry_out(self, decisions: Sequence[RouteDecision]) -> tuple[RouteOutcome, ...]:
        """Write the weights that changed. One route that fails does not stop the others."""
        return tuple(self._one(decision.action) for decision in decisions if decision.action is not None)

    def _view(self, spec: RouteSpec) -> RouteView:
        if not spec.http_route:
            return RouteView(spec)
        ref = _http_route(spec.key.namespace, spec.http_route)
        try:
            return RouteView(spec, http_route_fact(self.reader.get(ref)))
        except NotFound:
            return RouteView(spec, why=f"HTTPRoute {spec.http_route} does not exist, or the cluster has no Gateway API")
        except AdapterError as error:
            return RouteView(spec, why=f"HTTPRoute {spec.http_route} cannot be read: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it holds, it concerns this route alone
            return RouteView(spec, why=f"HTTPRoute {spec.http_route} cannot be understood: {words(error)}")

    def _one(self, action: SetWeights) -> RouteOutcome:
        if self.read_only:
            return RouteOutcome(action, Result.WITHHELD, "read-only mode")
        target = _http_route(action.route.namespace, action.http_route)
        try:
            self.writer.patch(target, operations(action), MANAGER)
        except Withheld as error:
            return RouteOutcome(action, Result.WITHHELD, str(error))
        except (Refused, NotFound) as error:
            # Somebody changed the HTTPRoute since it was read: the next cycle decides anew.
            LOGGER.warning("weights of %s were not written: %s", target, error)
            return RouteOutcome(action, Result.CONFLICT, str(error))
        except AdapterError as error:
            LOGGER.warning("weights of %s were not written: %s", target, error)
            result = Result.FORBIDDEN if isinstance(error, Forbidden) else Result.FAILED
            return RouteOutcome(action, result, str(error))
        LOGGER.info("weights of %s: %s", target, action.message, extra={"route": str(action.route)})
        return RouteOutcome(action, Result.DONE)


def _http_route(namespace: str, name: str) -> WorkloadRef:
    return WorkloadRef(GATEWAY_API, "HTTPRoute", namespace, name)


def operations(action: SetWeights) -> list[Json]:
    """The JSON patch of an action. Lists have no keys: it is tested that each entry is still the one that was read."""
    steps: list[Json] = [{"op": "test", "path": "/metadata/uid", "value": action.uid}]
    for change in action.changes:
        entry = change.entry
        path = f"/spec/rules/{entry.rule}/backendRefs/{entry.entry}"
        steps += [
            {"op": "test", "path": f"{path}/name", "value": entry.ref.name},
            {"op": "test", "path": f"{path}/weight", "value": entry.weight},
            {"op": "replace", "path": f"{path}/weight", "value": change.weight},
        ]
    return steps


def with_outcomes(decisions: Sequence[RouteDecision], outcomes: Sequence[RouteOutcome]) -> tuple[RouteDecision, ...]:
    """The decisions, of which those whose weights could not be written say so."""
    failed = {outcome.action.route: outcome for outcome in outcomes if outcome.result is not Result.DONE}
    told = []
    for decision in decisions:
        outcome = failed.get(decision.route)
        if outcome is not None and outcome.result is not Result.CONFLICT:
            condition = Condition(Verdict.FALSE, Reason.WRITE_FAILED, f"{outcome.result.value}: {outcome.why}")
            decision = replace(decision, conditions={**decision.conditions, "Programmed": condition})  # noqa: PLW2901
        told.append(decision)
    return tuple(told)


def _parsed(obj: Json) -> RouteObject | None:
    """A ModelRoute; mistakes are kept as refusals. None for one without even a name."""
    try:
        meta = obj["metadata"]
        common: dict[str, Any] = {
            "key": ServiceKey(str(meta["namespace"]), str(meta["name"])),
            "uid": str(meta["uid"]),
            "generation": whole_number(meta.get("generation", 0), 10**MOST_DIGITS) or 0,
            "status": dict(obj.get("status") or {}),
        }
        translated = _translated(obj)
    except Exception as error:  # noqa: BLE001 - whatever a user wrote, it must not end the cycle
        LOGGER.warning("one of the %s cannot be read: %s", PLURAL, words(error))
        return None
    if isinstance(translated, Rejected):
        return RouteObject(**common, spec=None, refusals=tuple(str(error) for error in translated.errors))
    return RouteObject(**common, spec=replace(translated, created_at=epoch(meta.get("creationTimestamp")) or 0.0))


def _translated(obj: Json) -> RouteSpec | Rejected:
    try:
        translated = translate_route(obj)
    except Exception as error:
        LOGGER.debug("a spec could not be translated", exc_info=error)
        return Rejected((FieldError("spec", obj.get("spec"), words(error)),))
    return translated if isinstance(translated, Rejected) else translated.spec
