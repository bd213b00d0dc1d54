"""Two services behind one route on the toy cluster of `lab`: clients obey the weights of an HTTPRoute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from lab import Deployment, Plant, node, pool_spec, service_spec, serving_since, variant_spec

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Plan, RouteDecision
from pertoken.domain.route import BackendRef, HttpRouteFact, RouteSpec, RouteView, SetWeights, TierSpec, WeightedRef
from pertoken.domain.world import World

START = 1_000_000.0
SMALL, LARGE = BackendRef("", "Service", "small-a100"), BackendRef("", "Service", "large-big")


def route_spec(**changes) -> RouteSpec:
    tiers = (
        TierSpec("small", 0.6, ServiceKey("llm", "small")),
        TierSpec("large", 0.9, ServiceKey("llm", "large")),
    )
    spec = RouteSpec(ServiceKey("llm", "chat"), "uid-route", 1, tiers, floor=0.66, http_route="chat")
    return replace(spec, **changes)


@dataclass
class Gateway:
    """An HTTPRoute in memory."""

    weights: dict[BackendRef, int] = field(default_factory=lambda: {SMALL: 1, LARGE: 1})
    manager: str = "kubectl"

    def view(self, spec: RouteSpec) -> RouteView:
        refs = tuple(WeightedRef(0, place, ref, weight) for place, (ref, weight) in enumerate(self.weights.items()))
        return RouteView(spec, HttpRouteFact("uid-http", "1", refs, self.manager))

    def write(self, action: SetWeights) -> None:
        for change in action.changes:
            self.weights[change.entry.ref] = change.weight
        self.manager = "pertoken-route"


@dataclass
class Routed(Plant):
    """Traffic of `total` requests per second that follows the route's weights."""

    total: float = 20.0
    route: RouteSpec = field(default_factory=route_spec)
    view_of: Callable[[RouteSpec], RouteView] | None = None
    write: Callable[[SetWeights], None] | None = None
    measured: list[dict[str, float]] = field(default_factory=list)

    def world(self) -> World:
        return replace(super().world(), routes=(self.view_of(self.route),))

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for decision in plan.routes:
            if decision.action is not None:
                self.write(decision.action)

    def step(self) -> Plan:
        weights = {entry.ref: entry.weight for entry in self.view_of(self.route).live.refs}
        whole = sum(weights.values())
        shares = {"small": weights[SMALL] / whole, "large": weights[LARGE] / whole}
        self.rates = {name: self.total * share for name, share in shares.items()}
        self.measured.append(shares)
        return super().step()

    @property
    def decided(self) -> RouteDecision:
        return self.last.routes[0]

    def weights(self) -> tuple[int, ...]:
        return tuple(tier.weight for tier in self.decided.tiers)

    def targets(self) -> tuple[float, ...]:
        return tuple(tier.target for tier in self.decided.tiers)


def routed(total: float = 20.0, large_gpus: int = 4, gateway: Gateway | None = None, **changes) -> Routed:
    """A small model on cheap GPUs with room, and a large one, three times as dear, on a pool of its own."""
    gateway = Gateway() if gateway is None else gateway
    small = service_spec("small", (variant_spec("small"),))
    large = service_spec("large", (variant_spec("large", "big", pool="big"),))
    fleet = Routed(
        services={"small": small, "large": large},
        deployments={
            "small": Deployment(small.variants[0], 2, manager="kubectl"),
            "large": Deployment(large.variants[0], 2, manager="kubectl"),
        },
        nodes=[node("n0", 8), node("n1", 8), *(node(f"b{index}", 2, "big") for index in range(large_gpus // 2))],
        pools=[pool_spec(), pool_spec("big", price_per_gpu_hour=Decimal("6.00"))],
        rates={"small": total / 2, "large": total / 2},
        total=total,
        view_of=gateway.view,
        write=gateway.write,
    )
    for key, value in changes.items():
        assert hasattr(fleet, key), key
        setattr(fleet, key, value)
    serving_since(fleet, START - 3600)
    return fleet
