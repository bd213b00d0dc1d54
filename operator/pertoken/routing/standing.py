"""How the HTTPRoute of a route stands, who changes its weights, and whether it may be written."""

from __future__ import annotations

from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import BackendRef, RouteSpec, RouteView
from pertoken.frozen import dataclass, replace
from pertoken.routing.backends import Backends, Managed, managed, shares_of
from pertoken.routing.memory import RouteMemory
from pertoken.routing.scene import Scene
from pertoken.routing.verdicts import alias_condition

MANAGER = "pertoken-route"


@dataclass(frozen=True, slots=True)
class Standing:
    """How the HTTPRoute stands, and whether it may be written.

    Attributes:
        programmed: what `Programmed` says where nothing can be written; None where the weights may be.
    """

    rules: Managed
    present: tuple[float, ...] | None
    programmed: Condition | None


def ref_text(ref: BackendRef) -> str:
    """Under which name a backend's weight is remembered."""
    return f"{ref.group}/{ref.kind}/{ref.name}"


def noticed(view: RouteView, backends: Backends, before: RouteMemory, scene: Scene) -> RouteMemory:
    """With another revert in the memory, where somebody else has changed the weights that were written."""
    recent = tuple(at for at in before.reverts if scene.now - at < scene.tuning.revert_seconds)
    if view.live is None or not before.weights or view.live.manager in {"", MANAGER}:
        return replace(before, reverts=recent)
    rules = managed(view.live, backends)
    seen = {ref_text(entry.ref): entry.weight for entry in rules.entries}
    if not seen or all(before.weights.get(name) == weight for name, weight in seen.items()):
        return replace(before, reverts=recent)
    return replace(before, reverts=(*recent, scene.now), manager=view.live.manager)


def standing_of(view: RouteView, backends: Backends, before: RouteMemory, scene: Scene) -> Standing:
    """Which rules are to be written, how they split now, and what forbids it."""
    live = view.live
    rules = Managed() if live is None else managed(live, backends)
    present = shares_of(rules.weights(), backends) if rules.entries else None
    return Standing(rules, present, _not_programmed(view, rules, before, scene))


def _not_programmed(view: RouteView, rules: Managed, before: RouteMemory, scene: Scene) -> Condition | None:
    """Why the HTTPRoute is not written; None where it is."""
    route = view.spec
    if not route.http_route:
        return Condition(Verdict.FALSE, Reason.RECOMMENDING, "spec.httpRoute is not set: the split is only shown")
    if view.live is None:
        return Condition(Verdict.FALSE, Reason.HTTP_ROUTE_NOT_FOUND, view.why or "the HTTPRoute does not exist")
    if rules.missing or not rules.entries:
        names = ", ".join(str(ref) for ref in rules.missing) or "every tier"
        words = f"no rule of HTTPRoute {route.http_route} has backendRefs for all tiers; add {names}"
        return Condition(Verdict.FALSE, Reason.BACKENDS_MISSING, words)
    if len(before.reverts) >= scene.tuning.reverts:
        words = (
            f"{before.manager} changed the weights back {len(before.reverts)} times; nothing is written until it stops"
        )
        return Condition(Verdict.FALSE, Reason.CONFLICTING_MANAGER, words)
    return alias_condition(route, scene.services) or _held(route)


def _held(route: RouteSpec) -> Condition | None:
    """What the user says against writing."""
    if route.paused:
        return Condition(Verdict.FALSE, Reason.PAUSED, "paused by annotation: nothing is written")
    if not route.acts:
        return Condition(Verdict.FALSE, Reason.RECOMMENDING, "mode Recommend: the split is only shown")
    return None
