"""ModelRoutes as a cluster gives them: what cannot be read or written concerns one route."""

from __future__ import annotations

from typing import Any

import pytest
from kept import Cluster
from routed import route_spec

from pertoken.api.route_status import refused_route_status, route_status
from pertoken.api.status import StatusContext
from pertoken.api.v1alpha1.model_route_status import ModelRouteStatus
from pertoken.control.actuate import Result
from pertoken.control.routes import RouteObject, Router, with_outcomes
from pertoken.domain.plan import Condition, RouteDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.route import BackendRef, FrontierFigures, SetWeights, TierFigures, WeightChange, WeightedRef
from pertoken.ports import AdapterError, Forbidden, Listing, NotFound, Refused, Unavailable, Withheld

ACTION = SetWeights(
    route_spec().key, "chat", "uid", (WeightChange(WeightedRef(0, 1, BackendRef("", "Service", "a"), 1), 60),), "a 60 %"
)
DECISION = RouteDecision(
    route_spec().key,
    Reason.AT_SPLIT,
    "small 60 %, large 40 %",
    tiers=(
        TierFigures("small", 60, 0.6, 0.6, 0.59, 0.01, 80.0),
        TierFigures("large", 40, 0.4, 0.9, None, None, None),
    ),
    conditions={"Programmed": Condition(Verdict.TRUE, Reason.PROGRAMMED, "as told")},
    quality=0.72,
    usd_per_thousand=0.0157,
    requests=20.0,
    not_carried=0.5,
    frontier=(FrontierFigures(0.72, 0.0157),),
    action=ACTION,
)


def manifest(name: str = "chat", **spec: Any) -> dict[str, Any]:
    tiers = [{"name": "small", "service": "small", "quality": "0.6"}]
    meta = {"name": name, "namespace": "llm", "uid": f"uid-{name}", "creationTimestamp": "2026-03-01T08:00:00Z"}
    return {"metadata": {**meta, "generation": 2}, "spec": {"tiers": tiers, "httpRoute": {"name": "chat"}, **spec}}


class Routes(Cluster):
    """A cluster that lists ModelRoutes, and patches."""

    def __init__(self, *items: dict[str, Any]) -> None:
        super().__init__()
        self.items = items
        self.listed = 0
        self.patches: list[Any] = []

    def list(self, plural: str) -> Listing:
        assert plural == "modelroutes"
        self.listed += 1
        if self.silent:
            raise self.silent
        return Listing(self.items)

    def patch(self, target: Any, operations: Any, manager: str) -> None:
        if self.fault:
            raise self.fault
        self.patches.append((target.name, operations, manager))


def router(*items: dict[str, Any]) -> tuple[Router, Routes]:
    cluster = Routes(*items)
    return Router(cluster, cluster, cluster), cluster


def test_a_route_that_cannot_be_read_is_told_and_the_others_go_on():
    many, _ = router(manifest("bad", tiers=[]), {"metadata": {}}, manifest("good"))
    objects = many.read()

    assert [(each.key.name, each.spec is None) for each in objects] == [("bad", True), ("good", False)]
    assert "spec.tiers" in objects[0].refusals[0]
    assert objects[1].spec.created_at > 0
    assert [view.spec.key.name for view in many.views(objects)] == ["good"]


@pytest.mark.parametrize("fault", [NotFound("no kind"), Forbidden("may not list")])
def test_a_cluster_without_routes_is_seldom_asked(fault):
    asking, cluster = router()
    cluster.silent = fault
    assert (asking.read(), asking.read()) == ((), ())
    assert cluster.listed == 1
    cluster.now_at = 61.0
    asking.read()
    assert cluster.listed == 2


def test_what_was_known_stands_while_the_api_server_is_away():
    asking, cluster = router(manifest())
    before = asking.read()
    cluster.silent = Unavailable("away")

    assert asking.read() == before


@pytest.mark.parametrize("fault", [NotFound("gone"), Unavailable("away"), Forbidden("may not get")])
def test_an_http_route_that_cannot_be_read_is_told(fault):
    asking, cluster = router(manifest())
    objects = asking.read()
    cluster.silent = fault
    [view] = asking.views(objects)

    assert view.live is None
    assert "HTTPRoute chat" in view.why


def test_the_patch_tests_what_it_changes():
    asking, cluster = router()
    [outcome] = asking.carry_out([DECISION])

    assert outcome.result is Result.DONE
    [(name, operations, manager)] = cluster.patches
    assert (name, manager) == ("chat", "pertoken-route")
    assert [(step["op"], step["path"]) for step in operations] == [
        ("test", "/metadata/uid"),
        ("test", "/spec/rules/0/backendRefs/1/name"),
        ("test", "/spec/rules/0/backendRefs/1/weight"),
        ("replace", "/spec/rules/0/backendRefs/1/weight"),
    ]


@pytest.mark.parametrize(
    ("fault", "result", "told"),
    [
        (Refused("test failed"), Result.CONFLICT, Reason.PROGRAMMED),
        (Withheld("the lease is not held"), Result.WITHHELD, Reason.WRITE_FAILED),
        (Forbidden("may not patch httproutes"), Result.FORBIDDEN, Reason.WRITE_FAILED),
        (Unavailable("away"), Result.FAILED, Reason.WRITE_FAILED),
    ],
)
def test_a_write_that_fails_is_told(fault: AdapterError, result: Result, told: Reason):
    asking, cluster = router()
    cluster.fault = fault
    outcomes = asking.carry_out([DECISION])
    [decision] = with_outcomes([DECISION], outcomes)

    assert outcomes[0].result is result
    assert decision.conditions["Programmed"].reason is told


def test_nothing_is_written_read_only():
    asking, cluster = router()
    asking.read_only = True

    assert [outcome.result for outcome in asking.carry_out([DECISION])] == [Result.WITHHELD]
    assert cluster.patches == []


def test_the_status_is_one_that_the_kind_has():
    status = route_status(DECISION, 2, StatusContext(1_790_000_000.0))

    ModelRouteStatus.model_validate(status)
    assert status["split"] == "small 60 / large 40"
    assert status["costPerThousandAnswers"] == "0.0157"
    assert [each["type"] for each in status["conditions"]] == [
        *("Ready", "Accepted", "Programmed", "Degraded", "WithinCostTarget"),
    ]
    assert status["conditions"][0]["status"] == "True"


def test_a_refused_route_says_so():
    status = refused_route_status(Reason.INVALID_SPEC, "spec.tiers: required", 2, StatusContext(1_790_000_000.0))

    ModelRouteStatus.model_validate(status)
    assert {each["type"]: each["status"] for each in status["conditions"]}["Accepted"] == "False"
    assert isinstance(RouteObject(route_spec().key, "u", 1, None).status, dict)
