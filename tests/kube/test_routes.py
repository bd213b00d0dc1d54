"""Weights on a real API server with the Gateway API's own CRD: converged, and nothing else of the HTTPRoute changed."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from routed import route_spec, routed

from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.control.actuate import Result
from pertoken.control.routes import RouteObject, Router
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import RouteDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.route import SetWeights, WeightChange
from pertoken.frozen import replace
from pertoken_sandbox.neighbours import neighbour_crds

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
HEADER = "/spec/rules/1/filters/0/requestHeaderModifier/set/0"


@pytest.fixture(scope="module", autouse=True)
def gateway_api(control_plane) -> None:
    [crd] = [path for path in neighbour_crds("gateway-api") if path.name.endswith("_httproutes.yaml")]
    definition = yaml.load(crd.read_text(), yaml.CSafeLoader)
    own = ROOT / "crds/serving.pertoken.dev_modelroutes.yaml"
    control_plane.kubectl.apply(definition, yaml.safe_load(own.read_text()))
    control_plane.kubectl.await_crd(definition["metadata"]["name"], "modelroutes.serving.pertoken.dev")


def http_route(namespace: str) -> dict[str, Any]:
    def ref(name: str) -> dict[str, Any]:
        return {"name": name, "port": 8000, "weight": 1}

    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-team", "value": "a"}]}}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/debug"}}],
                    "backendRefs": [{"name": "large-big", "port": 8000, "weight": 7}],
                },
                {"filters": [header], "backendRefs": [ref("small-a100"), ref("large-big")]},
            ],
        },
    }


def model_route(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "httpRoute": {"name": "chat"},
            "qualityFloor": "0.66",
            "tiers": [
                {"name": "small", "service": "small", "quality": "0.6"},
                {"name": "large", "service": "large", "quality": "0.9"},
            ],
        },
    }


def without_weights(route: dict[str, Any]) -> dict[str, Any]:
    spec = copy.deepcopy(route["spec"])
    for rule, ref in itertools.product(spec["rules"][1:], range(2)):
        del rule["backendRefs"][ref]["weight"]
    return spec


def test_weights_converge_and_an_owners_edit_survives(client, clock, kubectl, namespace):
    kubectl.apply(http_route(namespace), model_route(namespace))
    router = Router(KubeReader(client), KubeWriter(client, clock), clock)
    [obj] = [each for each in router.read() if each.key.namespace == namespace]
    here = ServiceKey(namespace, "chat")

    def view_of(spec):
        [told] = router.views([dataclasses.replace(obj, spec=replace(obj.spec, tiers=spec.tiers))])
        return replace(told, spec=replace(spec, uid=obj.uid))

    def write(action):
        decision = RouteDecision(here, Reason.AT_SPLIT, "", action=replace(action, route=here))
        [outcome] = router.carry_out([decision])
        assert outcome.result in {Result.DONE, Result.CONFLICT}, outcome.why

    fleet = routed(40.0, start_seconds=10.0, view_of=view_of, write=write)
    before = kubectl.json("get", "httproute", "chat", "-n", namespace)
    for cycle in range(10):
        fleet.step()
        assert fleet.decided.quality >= fleet.route.floor
        if cycle == 2:
            edit = [{"op": "replace", "path": f"{HEADER}/value", "value": "b"}]
            kubectl("patch", "httproute", "chat", "-n", namespace, "--type=json", f"--patch={json.dumps(edit)}")
    after = kubectl.json("get", "httproute", "chat", "-n", namespace)

    expected = without_weights(before)
    expected["rules"][1]["filters"][0]["requestHeaderModifier"]["set"][0]["value"] = "b"
    assert without_weights(after) == expected
    weights = [ref["weight"] for ref in after["spec"]["rules"][1]["backendRefs"]]
    assert weights == [pytest.approx(100 * share, abs=1) for share in fleet.targets()]
    assert weights != [50, 50]
    assert after["spec"]["rules"][0]["backendRefs"][0]["weight"] == 7, "a rule without all tiers is the user's"


def test_an_entry_that_moved_is_not_written_over(client, clock, kubectl, namespace):
    kubectl.apply(http_route(namespace))
    router = Router(KubeReader(client), KubeWriter(client, clock), clock)
    spec = replace(route_spec(), key=ServiceKey(namespace, "chat"))
    [view] = router.views([RouteObject(spec.key, "u", 1, spec)])
    entry = view.live.refs[1]
    change = WeightChange(replace(entry, ref=replace(entry.ref, name="another")), 90)
    action = SetWeights(spec.key, "chat", view.live.uid, (change,))
    [outcome] = router.carry_out([RouteDecision(spec.key, Reason.AT_SPLIT, "", action=action)])

    assert outcome.result is Result.CONFLICT
    stored = kubectl.json("get", "httproute", "chat", "-n", namespace)
    assert [ref["weight"] for ref in stored["spec"]["rules"][1]["backendRefs"]] == [1, 1]
