"""What KEDA gets of a running operator: the count that is recommended, while an HPA of its own writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from pertoken.scaler import externalscaler_pb2 as wire
from pertoken_sandbox.peers.keda import custom_resources

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "keda.md"


def replicas(address: str, namespace: str, service: str) -> float | str:
    """The metric, or the code of the error."""
    asked = wire.GetMetricsRequest(
        scaledObjectRef=wire.ScaledObjectRef(name="mine", namespace=namespace, scalerMetadata={"service": service}),
        metricName="desired-replicas",
    )
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            "/externalscaler.ExternalScaler/GetMetrics",
            request_serializer=wire.GetMetricsRequest.SerializeToString,
            response_deserializer=wire.GetMetricsResponse.FromString,
        )
        try:
            return ask(asked, timeout=5.0).metricValues[0].metricValueFloat
        except grpc.RpcError as error:
            return error.code().name


def autoscaler(namespace: str, target: str) -> dict[str, Any]:
    """What KEDA makes of a ScaledObject, for a metric that nobody serves here: it moves nothing."""
    metric = {"metric": {"name": "s0-desired-replicas"}, "target": {"type": "AverageValue", "averageValue": "1"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa", "namespace": namespace, "labels": {"scaledobject.keda.sh/name": "chat"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "maxReplicas": 4,
            "metrics": [{"type": "External", "external": metric}],
        },
    }


def test_a_service_that_is_recommended_for_is_lent_and_its_autoscaler_is_no_conflict(stack, world, serve):
    serve("lent")
    kubectl, namespace = stack.kubectl, world.namespace

    def mode(value: str) -> None:
        kubectl("patch", world.services, "-n", namespace, "lent", "--type=merge", f'-p={{"spec":{{"mode":"{value}"}}}}')

    assert replicas(stack.scaler, namespace, "lent") == "FAILED_PRECONDITION"
    assert replicas(stack.scaler, namespace, "nobody") == "NOT_FOUND"
    kubectl.apply(autoscaler(namespace, "lent-a"))
    world.until(lambda: stack.condition("lent", "Conflicted").get("reason") == "ForeignAutoscaler", 30)
    mode("Recommend")
    world.until(lambda: replicas(stack.scaler, namespace, "lent") == 1.0, 30)
    conflicted = world.until(
        lambda: (found := stack.condition("lent", "Conflicted")).get("status") == "False" and found, 30
    )
    assert conflicted["message"] == (
        f"ScaledObject {namespace}/chat scales Deployment {namespace}/lent-a; pertoken only recommends"
    )

    stack.prometheus.stop()
    try:
        world.until(lambda: replicas(stack.scaler, namespace, "lent") == "UNAVAILABLE", 30)
    finally:
        stack.prometheus.start()
    world.until(lambda: replicas(stack.scaler, namespace, "lent") == 1.0, 60)
    kubectl("delete", "hpa", "-n", namespace, "keda-hpa")


@pytest.fixture
def keda_kinds(kubectl) -> Iterator[None]:
    files = [path for path in custom_resources() if "scaledobjects" in path.name or "triggerauth" in path.name]
    kubectl.apply_files(files)
    kubectl.await_crd("scaledobjects.keda.sh", "triggerauthentications.keda.sh")
    yield
    for path in files:
        kubectl("delete", "-f", str(path), "--wait=false")


@pytest.mark.usefixtures("stack", "keda_kinds")
def test_the_guides_manifests_are_what_keda_and_pertoken_take(kubectl, namespace):
    blocks = GUIDE.read_text().split("```yaml\n")[1:]
    documents = [each for block in blocks for each in yaml.safe_load_all(block.split("```")[0]) if "kind" in each]
    for document in documents:
        document["metadata"]["namespace"] = namespace
        kubectl.apply(document)

    kinds = [document["kind"] for document in documents]
    assert {"InferenceService", "ScaledObject", "TriggerAuthentication"} <= set(kinds)
    (service,) = [document for document in documents if document["kind"] == "InferenceService"]
    for scaled in (document for document in documents if document["kind"] == "ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        assert trigger["metadata"]["service"] == service["metadata"]["name"]
        kept = kubectl.json("get", "scaledobject", "-n", namespace, scaled["metadata"]["name"])
        assert kept["spec"] == scaled["spec"]  # nothing was dropped by the schema
