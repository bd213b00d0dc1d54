"""All routes of one cycle, after the plan. A route that cannot be decided on is told, and the others go on."""

from __future__ import annotations

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Condition, Plan, RouteDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import RouteView
from pertoken.domain.world import World
from pertoken.frozen import replace
from pertoken.routing.decide import decide_route
from pertoken.routing.memory import RouteMemory, Routes
from pertoken.routing.scene import Scene
from pertoken.routing.tuning import ROUTING, Routing
from pertoken.units import fault_words


def with_routes(world: World, routes: Routes) -> World:
    """The world in which services behind a route know what the split will send to them."""
    behind = {tier.service for view in world.routes for tier in view.spec.tiers if tier.service is not None}
    if not behind:
        return world
    asked = routes.asked
    services = tuple(
        replace(view, routed=asked.get(str(view.spec.key), 0.0)) if view.spec.key in behind else view
        for view in world.services
    )
    return replace(world, services=services)


def route(world: World, plan: Plan, routes: Routes, now: float, tuning: Routing = ROUTING) -> tuple[Plan, Routes]:
    """The plan with a decision on every route, and what the next cycle starts from.

    Args:
        world: that the plan was made on.
        plan: of this cycle.
        routes: what the last cycle returned.
        now: seconds since the epoch.
        tuning: the numbers that decide.
    """
    scene = Scene(
        {view.spec.key: view.spec for view in world.services},
        {decision.service: decision for decision in plan.decisions},
        world.metrics,
        now,
        tuning,
    )
    decisions: list[RouteDecision] = []
    kept: dict[str, RouteMemory] = {}
    taken: dict[ServiceKey, ServiceKey] = {}
    # The older route keeps a service: what it serves is counted for one route alone.
    for view in sorted(world.routes, key=lambda view: (view.spec.created_at, view.spec.key)):
        name, before = str(view.spec.key), routes.routes.get(str(view.spec.key))
        rival = next((taken[t.service] for t in view.spec.tiers if t.service is not None and t.service in taken), None)
        if rival is not None:
            decisions.append(
                _refused(view, Reason.SERVICE_TAKEN, f"route {rival.name} has one of its services already")
            )
            continue
        taken.update({tier.service: view.spec.key for tier in view.spec.tiers if tier.service is not None})
        try:
            decision, kept[name] = decide_route(view, before, scene)
        except Exception as error:  # noqa: BLE001 - one bad route must not fail the cycle
            decision = _refused(view, Reason.PLANNING_FAILED, f"the split cannot be worked out: {fault_words(error)}")
            if before is not None:
                kept[name] = replace(before, asked={})
        decisions.append(decision)
    decisions.sort(key=lambda decision: decision.route)
    return replace(plan, routes=tuple(decisions)), Routes(kept)


def _refused(view: RouteView, reason: Reason, words: str) -> RouteDecision:
    told = Condition(Verdict.FALSE, reason, words)
    unknown = Condition(Verdict.UNKNOWN, reason, words)
    return RouteDecision(
        view.spec.key,
        reason,
        words,
        conditions={"Programmed": told, "Degraded": unknown, "WithinCostTarget": unknown},
    )
