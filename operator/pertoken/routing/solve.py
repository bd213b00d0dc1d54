"""The split of one route in one cycle: what is asked for, what is aimed at, and how far weights go now."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.route import FrontierFigures, RouteOptimize, RouteView
from pertoken.forecast.demand import blend
from pertoken.frozen import dataclass
from pertoken.routing.memory import RouteMemory
from pertoken.routing.offers import TierState
from pertoken.routing.pace import Terms, kept_or, step
from pertoken.routing.points import points_within
from pertoken.routing.scene import Scene
from pertoken.routing.split import Split, TierOffer, cheapest
from pertoken.routing.standing import Standing
from pertoken.units import HALVINGS, THOUSAND, TINY

LEAST_DEMAND = 1e-3  # requests per second with which a route without traffic is solved


@dataclass(frozen=True, slots=True)
class Solved:
    """The split of one cycle.

    Attributes:
        target: shares by tier that are aimed at.
        shares: of this cycle.
        points: the same as whole points.
        demand: requests per second; None where it is not known.
    """

    target: tuple[float, ...]
    shares: tuple[float, ...]
    points: tuple[int, ...]
    demand: float | None
    frontier: tuple[FrontierFigures, ...] = ()


def solve(
    view: RouteView, states: Sequence[TierState], standing: Standing, before: RouteMemory, scene: Scene
) -> Solved:
    """The split of one cycle. Where demand is not known the weights stand, but for what the floor asks."""
    offers = [state.offer for state in states]
    remembered = [before.target.get(state.spec.name) for state in states]
    known = [share for share in remembered if share is not None]
    target_before = known if len(known) == len(states) else None
    demand = _settled(_demand(view, states, standing.present, scene), view, before, scene)
    route = view.spec
    for_quality = route.optimize is RouteOptimize.QUALITY
    terms = Terms(max(demand or 0.0, LEAST_DEMAND), route.floor, scene.tuning, for_quality)
    split = _aim(view, offers, terms)
    frontier: tuple[FrontierFigures, ...] = ()
    if demand is None or split is None:
        target = tuple(target_before or standing.present or _best(offers))
    else:
        target = kept_or(target_before, split, offers, terms)
        frontier = _frontier(offers, terms)
    shares = target
    if standing.present is not None:
        goal = target if demand is not None else standing.present
        shares = step(standing.present, goal, [state.ready for state in states], offers, terms)
    points = points_within(shares, [offer.quality for offer in offers], route.floor)
    return Solved(target, shares, points, demand, frontier)


def _demand(
    view: RouteView, states: Sequence[TierState], present: Sequence[float] | None, scene: Scene
) -> float | None:
    """Requests per second of the whole route; None where somebody that serves does not tell."""
    signal = view.spec.signal
    if signal is not None:
        profile, name = signal
        snapshot = scene.metrics.get(profile)
        key = (name, view.spec.key.namespace, _asked_for(view))
        return None if snapshot is None else snapshot.wake_signals.get(key)
    services = [(index, state) for index, state in enumerate(states) if state.spec.service is not None]
    serving = [state.served for _, state in services if state.ready is None or state.ready > 0 or state.served]
    if not services or any(served is None for served in serving):
        return None
    total = sum(served or 0.0 for served in serving)
    if present is None:
        return total
    seen = sum(present[index] for index, _ in services)
    return total / seen if seen > TINY else None


def _settled(demand: float | None, view: RouteView, before: RouteMemory, scene: Scene) -> float | None:
    """A fall is believed by degrees where demand is the sum of what services tell.

    Rates lag by half a window: while weights move, what one service has lost shows before what another has gained, and
    a queue that is worked off counts as less demand.
    """
    if demand is None or before.demand is None or view.spec.signal is not None or demand >= before.demand:
        return demand
    return blend(before.demand, demand, scene.tuning.fall)


def _asked_for(view: RouteView) -> str:
    """The name that clients ask for, as the gateway's metrics have it."""
    return view.spec.served_name or view.spec.key.name


def _aim(view: RouteView, offers: Sequence[TierOffer], terms: Terms) -> Split | None:
    """The split of least cost, or of the best quality within the cost target."""
    route, overload = view.spec, terms.tuning.overload
    split = cheapest(offers, terms.demand, route.floor, overload)
    if split is None or route.optimize is RouteOptimize.COST or route.usd_per_thousand is None:
        return split
    affordable = float(route.usd_per_thousand) / THOUSAND * terms.demand
    low, high = route.floor, max(offer.quality for offer in offers)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        finer = cheapest(offers, terms.demand, middle, overload)
        good = finer is not None and finer.quality >= middle - TINY
        if finer is not None and good and finer.usd_per_second <= affordable and finer.over <= split.over + TINY:
            low, split = middle, finer
        else:
            high = middle
    return split


def _best(offers: Sequence[TierOffer]) -> tuple[float, ...]:
    """Everything to the best tier that can take something: what is safe while nothing is known."""
    open_tiers = [offer for offer in offers if not offer.shut] or offers
    best = max(open_tiers, key=lambda offer: offer.quality)
    return tuple(1.0 if offer is best else 0.0 for offer in offers)


def _frontier(offers: Sequence[TierOffer], terms: Terms) -> tuple[FrontierFigures, ...]:
    """The least cost at qualities between the worst and the best tier; those that cannot be carried are left out."""
    qualities = [offer.quality for offer in offers if not offer.shut]
    if not qualities:
        return ()
    count, points = terms.tuning.frontier_points, {}
    low, high = min(qualities), max(qualities)
    for number in range(count):
        floor = low + (high - low) * number / max(count - 1, 1)
        split = cheapest(offers, terms.demand, floor, terms.tuning.overload)
        if split is not None and split.over <= TINY and split.quality >= floor - TINY:
            usd = split.usd_per_second / terms.demand * THOUSAND
            points[round(split.quality, 6)] = FrontierFigures(split.quality, usd)
    return tuple(points[quality] for quality in sorted(points))
