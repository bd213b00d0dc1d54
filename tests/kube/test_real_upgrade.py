"""A newer operator beside the workload that an older one made, on a real API server: no pod is replaced for it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from kept import pool

from pertoken.adapters.kube.client import ApiRequest, KubeClient
from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.api.workloads import build_workload
from pertoken.control import owned
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import ServiceObject
from pertoken.control.owned import Keeper
from pertoken.control.parse import parse_config_map, parse_deployment, parse_service
from pertoken.control.survey import Surveyed
from pertoken_bench.policies.simulated_operator import ShippedCatalog

pytestmark = pytest.mark.e2e

ADMITS = "--max-num-active-seqs=$(PERTOKEN_MAX_NUM_SEQS)"
CHUNK = "--max-num-batched-tokens=$(PERTOKEN_MAX_NUM_BATCHED_TOKENS)"


class Team:
    """One namespace with a service whose workload pertoken makes; nobody collects it as garbage."""

    def __init__(self, client: KubeClient, namespace: str, clock: Any) -> None:
        self.client, self.namespace, self.clock = client, namespace, clock

    def asked(self, image: str) -> ServiceObject:
        engine = {"name": "engine", "image": image, "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        template = {"spec": {"containers": [engine], "schedulerName": "nobody"}}
        spec = {
            "deletionPolicy": "Orphan",
            "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
            "variants": [{"name": "a", "pool": "p", "podTemplate": template}],
        }
        meta = {"name": "chat", "namespace": self.namespace, "uid": "uid-chat", "generation": 1}
        manifest = {"apiVersion": "serving.pertoken.dev/v1alpha1", "kind": "InferenceService", "metadata": meta}
        return parse_service({**manifest, "spec": spec})

    def keep(self, image: str) -> None:
        """One cycle of an operator that has just started."""
        deployments = [parse_deployment(each) for each in self.list("/apis/apps/v1", "deployments", "Deployment")]
        caps = [parse_config_map(each) for each in self.list("/api/v1", "configmaps", "ConfigMap")]
        surveyed = Surveyed(
            snapshot=Snapshot(),
            services=(self.asked(image),),
            pools=(pool(),),
            refusals={},
            namespaces={},
            scalables={fact.ref: fact for fact in deployments},
            caps={(cap.namespace, cap.name): cap for cap in caps if cap is not None},
        )
        keeper = Keeper(KubeReader(self.client), KubeWriter(self.client, self.clock), self.clock, ShippedCatalog())
        assert keeper.keep(surveyed) == ()

    def list(self, api: str, plural: str, kind: str) -> list[dict[str, Any]]:
        items = self.client.call(ApiRequest("GET", f"{api}/namespaces/{self.namespace}/{plural}"))["items"]
        return [
            {"apiVersion": api.removeprefix("/apis/").removeprefix("/api/"), "kind": kind, **each} for each in items
        ]

    def deployment(self) -> dict[str, Any]:
        [only] = self.list("/apis/apps/v1", "deployments", "Deployment")
        return only

    def args(self) -> list[str]:
        return list(self.deployment()["spec"]["template"]["spec"]["containers"][0]["args"])

    def pods(self, count: int) -> dict[str, str]:
        """Template hash by uid, once there are so many pods."""
        for _ in range(200):
            pods = self.list("/api/v1", "pods", "Pod")
            if len(pods) == count:
                return {each["metadata"]["uid"]: each["metadata"]["labels"]["pod-template-hash"] for each in pods}
            time.sleep(0.1)
        pytest.fail(f"not {count} pods")


@pytest.fixture
def team(client, namespace, clock) -> Team:
    return Team(client, namespace, clock)


@pytest.mark.parametrize("form", [{"admission": False}, {"admission": False, "chunk": False}], ids=["chunk", "neither"])
def test_an_upgrade_replaces_no_pod_until_the_user_changes_the_template(team, kubectl, monkeypatch, form):
    image = "vllm/vllm-openai:v0.32.0"
    with monkeypatch.context() as earlier:
        earlier.setattr(owned, "build_workload", lambda request: build_workload(replace(request, **form)))
        team.keep(image)
    assert ADMITS not in team.args()
    kubectl("scale", "deployment/chat-a", "--replicas=2", "-n", team.namespace)
    before, generation = team.pods(2), team.deployment()["metadata"]["generation"]

    for _ in range(3):
        team.keep(image)
    assert team.deployment()["metadata"]["generation"] == generation
    assert team.pods(2) == before

    team.keep("vllm/vllm-openai:v0.32.1")
    assert {ADMITS, CHUNK, "--max-num-seqs=256"} <= set(team.args())
    assert team.deployment()["metadata"]["generation"] == generation + 1
