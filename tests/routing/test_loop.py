"""Split and replicas together: the planner's loop on a toy cluster whose clients obey a route's weights."""

from __future__ import annotations

from decimal import Decimal

import pytest
from lab import node
from routed import Gateway, route_spec, routed

from pertoken.domain.reasons import Reason
from pertoken.domain.route import RouteOptimize
from pertoken.frozen import replace

BEST = route_spec(optimize=RouteOptimize.QUALITY, usd_per_thousand=Decimal("0.14"))


def after(fleet, cycles):
    """Weights of each of so many cycles; the floor holds in all of them."""
    seen = []
    for _ in range(cycles):
        fleet.step()
        seen.append(fleet.weights())
        assert sum(seen[-1]) == 100
        assert fleet.decided.quality >= fleet.route.floor - 1e-9
    return seen


def settled(fleet):
    return all(abs(weight - 100 * share) <= 1 for weight, share in zip(fleet.weights(), fleet.targets(), strict=True))


@pytest.fixture(scope="module")
def halved():
    """A large tier whose pool loses half of its nodes, and gets them back."""
    fleet = routed(40.0, start_seconds=10.0, route=BEST)
    story = {"before": after(fleet, 20), "carried": fleet.decided}
    gone = [pod for pod in fleet.pods if pod.node == "b1"]
    fleet.nodes = [each for each in fleet.nodes if each.name != "b1"]
    for pod in gone:
        pod.ended = fleet.now
    story |= {"halved": after(fleet, 10), "settled": settled(fleet), "short": fleet.decided}
    fleet.nodes.append(node("b1", 2, "big"))
    story |= {"given back": after(fleet, 10), "settled again": settled(fleet), "last": fleet.decided}
    return story


def test_a_halved_pool_takes_the_split_down_within_the_floor_and_back(halved):
    large = {name: halved[name][-1][1] for name in ("before", "halved", "given back")}

    assert halved["settled"]
    assert halved["settled again"]
    assert large["halved"] < 0.8 * large["before"]
    assert large["given back"] > 0.85 * large["before"]
    most = halved["short"].tiers[1].capacity
    assert large["halved"] * 0.4 <= most * 1.02 + 0.4, "never more than it carries, but for rounding to a point"


def test_what_the_split_will_send_to_a_service_is_planned_for_before_it_comes():
    fleet = routed(60.0, start_seconds=60.0, route=route_spec(floor=0.75), gateway=Gateway())
    fleet.step()

    assert fleet.saved.routes.asked == {} or fleet.saved.routes.asked.keys() <= {"llm/large", "llm/small"}
    fleet.run(600.0)
    assert fleet.replicas("large") >= 4, "the floor sends half of 60 requests/s to it"
    assert fleet.weights() == pytest.approx((50, 50), abs=1)
    assert fleet.decided.quality >= 0.75 - 1e-9


def test_weights_wait_for_replicas_that_serve():
    fleet = routed(60.0, large_gpus=8, start_seconds=120.0, route=BEST)
    for cycle in range(5):
        fleet.step()
        serving = 7.9 * len(fleet.ready("large"))
        assert fleet.weights()[1] * 0.6 <= serving + 0.6 or fleet.weights()[1] <= 50, cycle
    assert fleet.replicas("large") > 3


def test_what_nobody_carries_is_told():
    fleet = routed(60.0, large_gpus=2, start_seconds=10.0, route=route_spec(floor=0.75))
    fleet.run(300.0)

    assert fleet.decided.conditions["Degraded"].reason is Reason.TIERS_FULL
    assert fleet.decided.not_carried > 5


def test_someone_who_turns_the_weights_back_three_times_is_left_alone():
    gateway = Gateway()
    fleet = routed(20.0, gateway=gateway)
    for _ in range(6):
        fleet.step()
        gateway.weights = dict.fromkeys(gateway.weights, 50)
        gateway.manager = "argocd-controller"
    told = fleet.decided.conditions["Programmed"]

    assert told.reason is Reason.CONFLICTING_MANAGER
    assert "argocd-controller" in told.message
    assert fleet.decided.action is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"http_route": ""}, Reason.RECOMMENDING),
        ({"acts": False}, Reason.RECOMMENDING),
        ({"paused": True}, Reason.PAUSED),
        ({"served_name": "chat"}, Reason.ALIAS_NOT_SERVED),
    ],
    ids=lambda value: str(value)[:30],
)
def test_weights_are_not_written(changes, reason):
    fleet = routed(20.0, route=route_spec(**changes))
    fleet.step()

    assert fleet.decided.conditions["Programmed"].reason is reason
    assert fleet.decided.action is None
    assert fleet.saved.routes.asked == {}


def test_rules_without_all_tiers_are_left_alone():
    gateway = Gateway()
    gateway.weights.popitem()
    fleet = routed(20.0, gateway=gateway)
    view = fleet.view_of

    def with_one(spec):
        told = view(spec)
        return replace(told, live=replace(told.live, refs=told.live.refs[:1]))

    fleet.view_of = with_one
    fleet.rates = {"small": 20.0, "large": 0.0}
    plan = super(type(fleet), fleet).step()

    [decision] = plan.routes
    assert decision.conditions["Programmed"].reason is Reason.BACKENDS_MISSING
    assert "Service large-big" in decision.conditions["Programmed"].message


def test_what_is_remembered_survives_a_restart():
    fleet = routed(20.0)
    fleet.run(60.0)
    before = fleet.saved.routes
    fleet.restart()

    assert fleet.saved.routes == before
    assert before.routes["llm/chat"].weights


def test_a_fall_of_demand_is_believed_by_degrees_while_weights_move(halved):
    """Lagging rates made the sum fall by a fifth, and the split swung back to a tier that could not carry it."""
    large = [weights[1] for weights in halved["halved"]]

    assert max(large[large.index(min(large)) :]) <= min(large) + 2
