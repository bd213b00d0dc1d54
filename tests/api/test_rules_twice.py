"""Rules are written twice, in Python and for the API server: every mistake here must be refused by both."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pertoken.api.capacityplan import translate_plan
from pertoken.api.errors import Rejected
from pertoken.api.modelroute import translate_route
from pertoken.api.plan_rules import PLAN_RULES
from pertoken.api.route_rules import ROUTE_RULES
from pertoken.api.rules import POOL_RULES, SERVICE_RULES
from pertoken.api.translate import translate_pool, translate_service
from pertoken_sandbox.kubectl import Kubectl, KubectlFailed

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]
Bend = Callable[[Json], Any]
ALL_RULES = (*SERVICE_RULES, *POOL_RULES, *PLAN_RULES, *ROUTE_RULES)


def _variant(change: Json, *drop: str) -> Bend:
    def bend(obj: Json) -> None:
        variant = obj["spec"]["variants"][0]
        variant.update(change)
        for name in drop:
            variant.pop(name)

    return bend


def _prices(prices: Json) -> Bend:
    return lambda obj: obj["spec"]["objective"]["cost"].update(perMillionTokens=prices)


def _spec(change: Json) -> Bend:
    return lambda obj: obj["spec"].update(change)


def _add_variant(**change: Any) -> Bend:
    return lambda obj: obj["spec"]["variants"].append({"name": "b", "pool": "a100", **change})


def _both(*bends: Bend) -> Bend:
    def bend(obj: Json) -> None:
        for bend in bends:
            bend(obj)

    return bend


TARGET = {"kind": "Deployment", "name": "server"}
TEMPLATE = {"spec": {"containers": [{"name": "main"}]}}

SERVICE_FAULTS: dict[str, tuple[Bend, str]] = {
    "name with dots": (lambda obj: obj["metadata"].update(name="chat.v1"), "metadata.name"),
    "no workload": (_variant({}, "podTemplate"), "spec.variants[0]"),
    "two workloads": (_variant({"scaleTargetRef": TARGET}), "spec.variants[0]"),
    "same name twice": (_add_variant(name="a100", scaleTargetRef=TARGET), "spec.variants[1].name"),
    "same target twice": (
        _both(_variant({"scaleTargetRef": TARGET}, "podTemplate"), _add_variant(scaleTargetRef=TARGET)),
        "spec.variants[1].scaleTargetRef.name",
    ),
    "minimum above maximum": (_variant({"minReplicas": 5}), "spec.variants[0].maxReplicas"),
    "sequences the wrong way round": (
        _variant({"batching": {"minSequences": 64, "maxSequences": 32}}),
        "spec.variants[0].batching.maxSequences",
    ),
    "no engine": (_variant({"podTemplate": TEMPLATE}), "spec.variants[0].podTemplate.spec.containers"),
    "asleep without a signal": (_spec({"minReplicas": 0}), "spec.wakeSignal"),
    "signal without a name": (_spec({"wakeSignal": {"source": "ProfileSignal"}}), "spec.wakeSignal.name"),
    "a freeze that ends before it begins": (
        _spec({"freeze": {"startTime": "2026-03-02T08:00:00+02:00", "endTime": "2026-03-02T06:00:00Z"}}),
        "spec.freeze.endTime",
    ),
    "no model": (_spec({"model": {"servedName": "x"}}), "spec.model"),
    "blended and input": (
        _prices({"blended": "1", "input": "1"}),
        "spec.objective.cost.perMillionTokens.input",
    ),
    "input without output": (_prices({"input": "1"}), "spec.objective.cost.perMillionTokens.output"),
    "no price": (_prices({}), "spec.objective.cost.perMillionTokens.input"),
    "all prices zero": (_prices({"blended": "0.00"}), "spec.objective.cost.perMillionTokens"),
    "a floor above the percentile": (
        lambda obj: obj["spec"]["objective"]["latency"].update(percentile=90, floorPercent=92),
        "spec.objective.latency.floorPercent",
    ),
    # refused by the models and the schema rather than by rules
    "price as number": (_prices({"blended": 0.8}), "spec.objective.cost.perMillionTokens.blended"),
    "price with exponent": (_prices({"blended": "1e3"}), "spec.objective.cost.perMillionTokens.blended"),
    "negative price": (_prices({"blended": "-1"}), "spec.objective.cost.perMillionTokens.blended"),
    "price too long": (_prices({"blended": "0." + "1" * 23}), "spec.objective.cost.perMillionTokens.blended"),
    "misspelt field": (_spec({"objektive": {}}), "spec.objektive"),
    "misspelt mode": (_spec({"mode": "auto"}), "spec.mode"),
    "percentile of 100": (
        lambda obj: obj["spec"]["objective"]["latency"].update(percentile=100),
        "spec.objective.latency.percentile",
    ),
    "no variants": (_spec({"variants": []}), "spec.variants"),
    "17 variants": (
        lambda obj: obj["spec"].update(
            variants=[
                {"name": f"v{n}", "pool": "a100", "scaleTargetRef": {"kind": "Deployment", "name": f"d{n}"}}
                for n in range(17)
            ]
        ),
        "spec.variants",
    ),
    "name of 64 characters": (_variant({"name": "a" * 64}), "spec.variants[0].name"),
    "time without zone": (_spec({"freeze": {"endTime": "2026-03-01T08:00:00"}}), "spec.freeze.endTime"),
    "float where whole": (_variant({"maxReplicas": 1.5}), "spec.variants[0].maxReplicas"),
}


def _pool(change: Json) -> Bend:
    return lambda obj: obj["spec"].update(change)


POOL_FAULTS: dict[str, tuple[Bend, str]] = {
    "no capacity": (_pool({"capacity": {}}), "spec.capacity"),
    "two capacities": (lambda obj: obj["spec"]["capacity"].update(gpus=8), "spec.capacity"),
    "two prices": (_pool({"priceFrom": {"source": "OpenCost"}}), "spec.priceFrom"),
    "no fraction": (_pool({"gpuFraction": "0"}), "spec.gpuFraction"),
    "fraction above one": (_pool({"gpuFraction": "1.5"}), "spec.gpuFraction"),
    "guarantee above ceiling": (
        _pool({"access": [{"maxGPUs": 1, "guaranteedGPUs": 2}]}),
        "spec.access[0].guaranteedGPUs",
    ),
    "nodes of any label": (
        _pool({"capacity": {"fromNodes": {"matchLabels": {}}}}),
        "spec.capacity.fromNodes.matchLabels",
    ),
    "lower-case purchase": (_pool({"purchase": "spot"}), "spec.purchase"),
}


def _offer(index: int, change: Json) -> Bend:
    return lambda obj: obj["spec"]["pools"][0]["reserved"][index].update(change)


def _planned_pool(change: Json) -> Bend:
    return lambda obj: obj["spec"]["pools"][0].update(change)


PLAN_FAULTS: dict[str, tuple[Bend, str]] = {
    "service twice": (
        _spec({"services": [{"namespace": "demo", "name": "chat"}] * 2}),
        "spec.services[1].name",
    ),
    "pool twice": (lambda obj: obj["spec"]["pools"].append({"pool": "a100"}), "spec.pools[1].pool"),
    "offer twice": (_offer(1, {"name": "one-month"}), "spec.pools[0].reserved[1].name"),
    "event that ends before it begins": (
        lambda obj: obj["spec"]["events"][0].update(endTime="2027-01-11T08:00:00+01:00"),
        "spec.events[0].endTime",
    ),
    "shrinking to nothing": (_spec({"growth": {"percentPerMonth": "-100"}}), "spec.growth.percentPerMonth"),
    "growth beyond reason": (_spec({"growth": {"percentPerMonth": "1000.5"}}), "spec.growth.percentPerMonth"),
    "most below least": (_offer(1, {"maxNodes": 1}), "spec.pools[0].reserved[1].maxNodes"),
    # refused by the models and the schema rather than by rules
    "horizon of nothing": (_spec({"horizonDays": 0}), "spec.horizonDays"),
    "horizon beyond a year": (_spec({"horizonDays": 367}), "spec.horizonDays"),
    "certainty": (_spec({"confidence": 100}), "spec.confidence"),
    "negative budget": (_spec({"budgetPerMonth": "-1"}), "spec.budgetPerMonth"),
    "negative price": (_offer(0, {"pricePerGPUHour": "-1.80"}), "spec.pools[0].reserved[0].pricePerGPUHour"),
    "term of nothing": (_offer(0, {"termDays": 0}), "spec.pools[0].reserved[0].termDays"),
    "always lost": (
        _planned_pool({"spot": {"pricePerGPUHour": "1", "lostPercent": 101}}),
        "spec.pools[0].spot.lostPercent",
    ),
    "offer without price": (
        lambda obj: obj["spec"]["pools"][0]["reserved"][0].pop("pricePerGPUHour"),
        "spec.pools[0].reserved[0].pricePerGPUHour",
    ),
    "event without zone": (
        lambda obj: obj["spec"]["events"][0].update(startTime="2027-01-11T08:00:00"),
        "spec.events[0].startTime",
    ),
    "misspelt horizon": (_spec({"horizonDay": 3}), "spec.horizonDay"),
}


def _tier(index: int, change: Json, *drop: str) -> Bend:
    def bend(obj: Json) -> None:
        tier = obj["spec"]["tiers"][index]
        tier.update(change)
        for name in drop:
            tier.pop(name)

    return bend


ROUTE_FAULTS: dict[str, tuple[Bend, str]] = {
    "route name with dots": (lambda obj: obj["metadata"].update(name="chat.v1"), "metadata.name"),
    "tier twice": (_tier(1, {"name": "small"}), "spec.tiers[1].name"),
    "service twice": (_tier(1, {"service": "chat-small"}), "spec.tiers[1].service"),
    "nobody serves": (_tier(0, {}, "service"), "spec.tiers[0]"),
    "two serve": (_tier(2, {"service": "other"}), "spec.tiers[2]"),
    "quality in percent": (_tier(0, {"quality": "71"}), "spec.tiers[0].quality"),
    "floor above all": (_spec({"qualityFloor": "0.97"}), "spec.qualityFloor"),
    "quality at no price": (_spec({"optimize": "Quality"}), "spec.cost"),
    "variant of an API": (
        _tier(2, {"backends": [{"kind": "Service", "name": "api", "variant": "a"}]}),
        "spec.tiers[2].backends[0].variant",
    ),
    "backend of no group": (
        _tier(2, {"backends": [{"kind": "Backend", "name": "api"}]}),
        "spec.tiers[2].backends[0].group",
    ),
    "API without backends": (_tier(2, {}, "backends"), "spec.tiers[2].backends"),
    # refused by the models and the schema rather than by rules
    "no tier": (_spec({"tiers": []}), "spec.tiers"),
    "negative quality": (_tier(0, {"quality": "-0.1"}), "spec.tiers[0].quality"),
    "misspelt floor": (_spec({"qualityflor": "0.7"}), "spec.qualityflor"),
    "API without prices": (
        lambda obj: obj["spec"]["tiers"][2]["external"].pop("perMillionTokens"),
        "spec.tiers[2].external.perMillionTokens",
    ),
}


def paths(result) -> list[str]:
    assert isinstance(result, Rejected), result
    return [error.path for error in result.errors]


@pytest.mark.parametrize("fault", SERVICE_FAULTS)
def test_faulty_services_are_refused_with_the_field(service, fault):
    bend, path = SERVICE_FAULTS[fault]
    bend(service)
    assert path in paths(translate_service(service))


@pytest.mark.parametrize("fault", POOL_FAULTS)
def test_faulty_pools_are_refused_with_the_field(pool, fault):
    bend, path = POOL_FAULTS[fault]
    bend(pool)
    assert path in paths(translate_pool(pool))


@pytest.mark.parametrize("fault", PLAN_FAULTS)
def test_faulty_plans_are_refused_with_the_field(plan, fault):
    bend, path = PLAN_FAULTS[fault]
    bend(plan)
    assert path in paths(translate_plan(plan))


@pytest.mark.parametrize("fault", ROUTE_FAULTS)
def test_faulty_routes_are_refused_with_the_field(route, fault):
    bend, path = ROUTE_FAULTS[fault]
    bend(route)
    assert path in paths(translate_route(route))


def test_every_rule_has_a_faulty_example(service, pool, plan, route):
    """Else a rule could be wrong on either side without anyone noticing."""
    seen = set()
    for obj, faults, translate in (
        (service, SERVICE_FAULTS, translate_service),
        (pool, POOL_FAULTS, translate_pool),
        (plan, PLAN_FAULTS, translate_plan),
        (route, ROUTE_FAULTS, translate_route),
    ):
        for bend, _ in faults.values():
            bent = copy.deepcopy(obj)
            bend(bent)
            result = translate(bent)
            assert isinstance(result, Rejected)
            seen |= {error.expectation for error in result.errors}
    rules = {rule.message for rule in ALL_RULES if rule.check is not None}
    assert rules <= seen


def dry_run(kubectl: Kubectl, obj: Json) -> str:
    return kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(obj))


@pytest.mark.e2e
def test_the_server_takes_what_python_takes(crds, service, pool, plan, route):
    service["metadata"] = {"name": "chat", "namespace": "default"}
    assert "chat created" in dry_run(crds, service)
    assert "a100 created" in dry_run(crds, pool)
    assert "next-month created" in dry_run(crds, plan)
    assert "chat created" in dry_run(crds, route)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", SERVICE_FAULTS)
def test_the_server_refuses_faulty_services(crds, service, fault):
    service["metadata"] = {"name": "chat", "namespace": "default"}
    bend, path = SERVICE_FAULTS[fault]
    bend(service)
    message = _last_rule_message(translate_service(service), path)
    with pytest.raises(KubectlFailed) as refused:
        dry_run(crds, service)
    assert "panic" not in str(refused.value)
    assert not message or message in str(refused.value)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", ROUTE_FAULTS)
def test_the_server_refuses_faulty_routes(crds, route, fault):
    bend, path = ROUTE_FAULTS[fault]
    bend(route)
    message = _last_rule_message(translate_route(route), path)
    with pytest.raises(KubectlFailed) as refused:
        dry_run(crds, route)
    assert "panic" not in str(refused.value)
    assert not message or message in str(refused.value)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", POOL_FAULTS)
def test_the_server_refuses_faulty_pools(crds, pool, fault):
    bend, path = POOL_FAULTS[fault]
    bend(pool)
    message = _last_rule_message(translate_pool(pool), path)
    with pytest.raises(KubectlFailed) as refused:
        dry_run(crds, pool)
    assert not message or message in str(refused.value)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", PLAN_FAULTS)
def test_the_server_refuses_faulty_plans(crds, plan, fault):
    bend, path = PLAN_FAULTS[fault]
    bend(plan)
    message = _last_rule_message(translate_plan(plan), path)
    with pytest.raises(KubectlFailed) as refused:
        dry_run(crds, plan)
    assert not message or message in str(refused.value)


def _last_rule_message(result: Any, path: str) -> str:
    """What a CEL rule says of this field; empty where the schema itself refuses, in the server's own words."""
    with_cel = {rule.message for rule in ALL_RULES if rule.cel is not None}
    expectations = [error.expectation for error in result.errors if error.path == path]
    return next((text for text in expectations if text in with_cel), "")


@pytest.mark.e2e
def test_a_variant_cannot_change_hands(crds, service, namespace):
    service["metadata"] = {"name": "chat", "namespace": namespace}
    crds.apply(service)
    variant = service["spec"]["variants"][0]
    del variant["podTemplate"]
    variant["scaleTargetRef"] = {"name": "server"}
    with pytest.raises(KubectlFailed, match="cannot change between podTemplate and scaleTargetRef"):
        crds("replace", "-f", "-", stdin=json.dumps(service))
