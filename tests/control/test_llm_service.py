"""Targets whose pods are made by objects in between: an LLMInferenceService knows its pods by KServe's labels."""

from __future__ import annotations

from typing import Any

import pytest
from watched import RULES, deployment, filled, pod, replicaset, service

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.survey import Rules, survey
from pertoken.control.workloads import scalable_fact
from pertoken.control.world import build_world
from pertoken.domain.world import PlannerSettings

API = "serving.kserve.io/v1alpha1"
ALLOWED = Rules(frozenset({*RULES.target_kinds, "LLMInferenceService.serving.kserve.io"}))


def labelled(name: str, component: str, of: str = "chat") -> dict[str, Any]:
    running_pod = pod(name, "chat-kserve")
    running_pod["metadata"]["labels"] = {"app.kubernetes.io/name": of, "app.kubernetes.io/component": component}
    return running_pod


def own_pods(target: dict[str, str], *pods: dict[str, Any]) -> list[str]:
    """Names of the pods that the planner sees of a service that scales `target`."""
    asking = service("chat")
    asking["spec"]["variants"][0]["scaleTargetRef"] = target
    inventory = filled(
        inferenceservices=[asking], deployments=[deployment("chat-kserve")], replicasets=[], pods=[*pods]
    )
    llm = {**deployment("chat"), "apiVersion": API, "kind": "LLMInferenceService"}
    llm["spec"]["template"] = llm["spec"]["template"]["spec"]  # KServe has the pod's spec there
    world = build_world(survey(inventory.snapshot(), ALLOWED, [scalable_fact(llm)]), {}, SHIPPED, PlannerSettings())
    variant = world.services[0].variants[0]
    assert variant.workload.gpus_per_replica == 1
    return [each.key.name for each in variant.pods]


@pytest.mark.parametrize(
    ("component", "of", "counts"),
    [
        ("llminferenceservice-workload", "chat", True),
        ("llminferenceservice-workload-worker", "chat", True),
        ("llminferenceservice-workload-prefill", "chat", False),
        ("llminferenceservice-router-scheduler", "chat", False),
        ("llminferenceservice-workload", "chat-large", False),
        ("server", "chat", False),
    ],
)
def test_pods_belong_to_the_service_that_their_labels_name(component, of, counts):
    target = {"apiVersion": API, "kind": "LLMInferenceService", "name": "chat"}
    assert own_pods(target, labelled("x", component, of)) == (["x"] if counts else [])


def test_labels_count_only_where_the_service_is_the_target():
    asking = service("chat")
    asking["spec"]["variants"][0]["scaleTargetRef"] = {"name": "chat-kserve"}
    inventory = filled(
        inferenceservices=[asking],
        deployments=[deployment("chat-kserve")],
        replicasets=[replicaset("chat-kserve")],
        pods=[labelled("x", "llminferenceservice-workload")],
    )
    world = build_world(survey(inventory.snapshot(), ALLOWED), {}, SHIPPED, PlannerSettings())
    assert [each.workload.kind for each in world.services[0].variants[0].pods] == ["Deployment"]
