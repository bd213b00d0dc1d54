"""What pertoken sets stays while others re-apply manifests: the steps of docs/guides/gitops.md, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pertoken.adapters.kube.client import APPLY_PATCH, ApiRequest, KubeClient
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.domain.identity import WorkloadRef

pytestmark = pytest.mark.e2e
TIMES = 10

Json = dict[str, Any]


def manifest(namespace: str, replicas: int | None) -> Json:
    labels = {"app": "server"}
    pod = {"containers": [{"name": "engine", "image": "registry.invalid/i"}], "schedulerName": "nobody"}
    spec: Json = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    if replicas is not None:
        spec["replicas"] = replicas
    meta = {"name": "server", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def path(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/server"


@pytest.fixture(params=["kustomize-controller", "argocd-controller", "kubectl"])
def tool(request, client, control_plane, namespace) -> Callable[[Json], None]:
    """Applies a manifest as Flux and Argo CD do (server-side apply with force), or as plain `kubectl apply` does."""

    def server_side(obj: Json) -> None:
        query = {"fieldManager": request.param, "force": True}
        client.call(ApiRequest("PATCH", path(namespace), query=query, body=obj, content_type=APPLY_PATCH))

    def client_side(obj: Json) -> None:
        control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    return client_side if request.param == "kubectl" else server_side


def give_up_replicas(tool: Callable[[Json], None], client: KubeClient, control_plane, namespace: str) -> None:
    """The two commands of the guide."""
    keep = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "server"}, "spec": {"replicas": 3}}
    query = {"fieldManager": "replicas-handover"}
    client.call(ApiRequest("PATCH", path(namespace), query=query, body=keep, content_type=APPLY_PATCH))
    if tool.__name__ == "client_side":
        without = json.dumps(manifest(namespace, None))
        control_plane.kubectl("apply", "set-last-applied", "-f", "-", stdin=without)


def stands(client: KubeClient, namespace: str) -> tuple[int, int, list[str]]:
    """Generation, replicas and ReplicaSets."""
    live = client.call(ApiRequest("GET", path(namespace)))
    sets = client.call(ApiRequest("GET", f"/apis/apps/v1/namespaces/{namespace}/replicasets"))
    names = sorted(each["metadata"]["name"] for each in sets["items"])
    return live["metadata"]["generation"], live["spec"]["replicas"], names


def test_a_manifest_without_replicas_is_applied_again_and_again_and_changes_nothing(
    tool, client, control_plane, clock, namespace
):
    tool(manifest(namespace, 3))
    give_up_replicas(tool, client, control_plane, namespace)
    tool(manifest(namespace, None))
    assert stands(client, namespace)[1] == 3, "giving the field up scales nothing"
    KubeWriter(client, clock).set_replicas(WorkloadRef("apps/v1", "Deployment", namespace, "server"), 5, "")
    while len((before := stands(client, namespace))[2]) < 1:
        pass
    for _ in range(TIMES):
        tool(manifest(namespace, None))
    assert stands(client, namespace) == before
    assert before[1] == 5
