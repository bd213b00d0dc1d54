"""Stage `route`: one route's split in this cycle, after the plan and from its figures. Pure.

Split and replicas are solved together from cycle to cycle: the solved split is what the pools and prices of this plan
allow; weights go towards it as far as replicas serve, and what a service will get beyond its present traffic is asked
of the next plan (`RouteMemory.asked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

from pertoken.domain.plan import Condition, RouteDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import (
    RouteView,
    SetWeights,
    TierFigures,
)
from pertoken.frozen import replace
from pertoken.routing.backends import backends_of, changes, weights_of
from pertoken.routing.memory import RouteMemory
from pertoken.routing.offers import TierState, tier_states
from pertoken.routing.scene import Scene
from pertoken.routing.solve import LEAST_DEMAND, Solved, solve
from pertoken.routing.split import cost_of, quality_of
from pertoken.routing.standing import Standing, noticed, ref_text, standing_of
from pertoken.routing.tuning import Routing
from pertoken.routing.verdicts import Outcome, degraded, within_cost
from pertoken.units import PER_CENT, THOUSAND, TINY


def decide_route(view: RouteView, memory: RouteMemory | None, scene: Scene) -> tuple[RouteDecision, RouteMemory]:
    """What one route does in this cycle, and what it remembers."""
    route = view.spec
    before = memory if memory is not None and memory.uid == route.uid else RouteMemory(route.uid)
    states = tier_states(route, scene.services, scene.decisions, scene.tuning)
    backends = backends_of(route.tiers, scene.services)
    before = noticed(view, backends, before, scene)
    standing = standing_of(view, backends, before, scene)
    solved = solve(view, states, standing, before, scene)
    weights = weights_of(solved.points, states, backends)
    changed = changes(standing.rules.entries, weights) if standing.programmed is None else ()
    action = None
    if changed and view.live is not None:
        action = SetWeights(route.key, route.http_route, view.live.uid, changed, _told(states, solved))
    decision = _decision(view, states, solved, standing, action)
    asked = _asked(states, solved, scene.tuning) if standing.programmed is None else {}
    after = replace(
        before,
        target={state.spec.name: share for state, share in zip(states, solved.target, strict=True)},
        weights={ref_text(ref): weight for ref, weight in weights.items()} if standing.programmed is None else {},
        asked=asked,
        demand=before.demand if solved.demand is None else solved.demand,
    )
    return decision, after


def _asked(states: Sequence[TierState], solved: Solved, tuning: Routing) -> dict[str, float]:
    """Requests per second that services are to be ready for beyond what they serve now."""
    if solved.demand is None or solved.demand <= TINY:
        return {}
    more = {}
    for state, share in zip(states, solved.target, strict=True):
        served = state.served or 0.0
        if state.spec.service is not None and share - served / solved.demand > tuning.dead_band:
            more[str(state.spec.service)] = share * solved.demand - served
    return more


def _told(states: Sequence[TierState], solved: Solved) -> str:
    parts = [f"{state.spec.name} {points} %" for state, points in zip(states, solved.points, strict=True)]
    demand = "" if solved.demand is None else f" of {solved.demand:.3g} requests/s"
    return f"{', '.join(parts)}{demand}"


def _decision(
    view: RouteView,
    states: Sequence[TierState],
    solved: Solved,
    standing: Standing,
    action: SetWeights | None,
) -> RouteDecision:
    offers = [state.offer for state in states]
    demand = solved.demand or 0.0
    quality = (
        quality_of(offers, [points / sum(solved.points) for points in solved.points]) if any(solved.points) else None
    )
    usd, over = cost_of(offers, solved.shares, max(demand, LEAST_DEMAND))
    priced = solved.demand is not None and demand > TINY and all(s.usd_per_thousand is not None for s in states)
    outcome = Outcome(quality, usd / demand * THOUSAND if priced else None, over if demand > TINY else 0.0)
    moving = [abs(one - other) for one, other in zip(solved.shares, solved.target, strict=True)]
    reason, words = Reason.AT_SPLIT, _told(states, solved)
    if solved.demand is None:
        reason, words = Reason.DEMAND_UNKNOWN, f"{words}; what the route is asked for is not known, the split is held"
    elif max(moving, default=0.0) > 1 / PER_CENT:
        goal = ", ".join(
            f"{s.spec.name} {share * PER_CENT:.0f} %" for s, share in zip(states, solved.target, strict=True)
        )
        reason, words = Reason.WEIGHTS_MOVING, f"{words}, on the way to {goal}"
    programmed = standing.programmed or Condition(Verdict.TRUE, Reason.PROGRAMMED, words)
    return RouteDecision(
        route=view.spec.key,
        reason=reason if standing.programmed is None else standing.programmed.reason,
        message=words,
        tiers=tuple(_figures(state, solved, index) for index, state in enumerate(states)),
        conditions={
            "Programmed": programmed,
            "Degraded": degraded(view.spec, states, outcome),
            "WithinCostTarget": within_cost(view.spec, outcome),
        },
        quality=quality,
        usd_per_thousand=outcome.usd_per_thousand,
        requests=solved.demand,
        not_carried=outcome.not_carried,
        frontier=solved.frontier,
        action=action,
    )


def _figures(state: TierState, solved: Solved, index: int) -> TierFigures:
    measured = None
    if solved.demand and state.served is not None:
        measured = state.served / solved.demand
    room = state.offer.room if state.offer.segments else (0.0 if state.offer.shut else inf)
    return TierFigures(
        name=state.spec.name,
        weight=solved.points[index],
        target=solved.target[index],
        quality=state.spec.quality,
        measured=measured,
        usd_per_thousand=state.usd_per_thousand,
        capacity=room if isfinite(room) else None,
    )
