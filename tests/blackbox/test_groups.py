"""Targets of the neighbours' own kinds, by their real CRDs: groups of pods, and a kind that cannot be scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from clusterlab import Lab, adopted, manifests

from pertoken_sandbox.neighbours import neighbour_crds

pytestmark = pytest.mark.e2e

LWS = "leaderworkerset.x-k8s.io/v1"
LABEL = "leaderworkerset.sigs.k8s.io"
KINDS = ("_leaderworkersets.yaml", "_llminferenceservices.yaml")
SIZE = 3
MOST_GROUPS = 4


@pytest.fixture(scope="module")
def neighbours(stack: Any) -> Iterator[None]:
    files = [path for name in ("lws", "kserve") for path in neighbour_crds(name) if path.name.endswith(KINDS)]
    definitions = [_without_words(yaml.load(path.read_text(), yaml.CSafeLoader)) for path in files]
    names = [each["metadata"]["name"] for each in definitions]
    stack.kubectl.apply(*definitions)
    stack.kubectl.await_crd(*names)
    yield
    stack.kubectl("delete", "crd", "--wait=false", *names)


def _without_words(schema: Any) -> Any:
    """Without descriptions, nine tenths of these definitions."""
    if isinstance(schema, list):
        return [_without_words(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_words(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


class Groups:
    """What the LeaderWorkerSet's controller does: a StatefulSet of leaders, and one of workers for each leader."""

    def __init__(self, lab: Lab, name: str, pool: str) -> None:
        self.lab, self.name, self.pool = lab, name, pool
        for index in range(MOST_GROUPS):
            for worker in range(SIZE - 1):
                lab.silence(f"{name}-{index}-{worker}")  # workers have no metrics of their own

    def template(self, gpus: int, **labels: str) -> dict[str, Any]:
        """A pod's template; a leader has no GPU."""
        engine = manifests.engine(gpus=gpus) if gpus else manifests.engine(resources={})
        template = manifests.deployment(self.name, self.pool, 1, [engine])["spec"]["template"]
        return {"metadata": {"labels": labels}, "spec": template["spec"]}

    def manifest(self) -> dict[str, Any]:
        """The LeaderWorkerSet as its user writes it."""
        group = {"size": SIZE, "leaderTemplate": self.template(0), "workerTemplate": self.template(1)}
        return {
            "apiVersion": LWS,
            "kind": "LeaderWorkerSet",
            "metadata": {"name": self.name},
            "spec": {"replicas": 1, "leaderWorkerTemplate": group},
        }

    def step(self) -> None:
        """Bring StatefulSets, labels and status to what the object says."""
        wanted = self.lab.replicas(self.name, "LeaderWorkerSet")
        self._set(self.name, wanted, 0, {f"{LABEL}/name": self.name, f"{LABEL}/worker-index": "0"})
        for index in range(MOST_GROUPS):
            labels = {f"{LABEL}/name": self.name, f"{LABEL}/group-index": str(index)}
            self._set(f"{self.name}-{index}", SIZE - 1 if index < wanted else 0, 1, labels)
        for pod in self.lab.cluster.list("Pod", self.lab.namespace, f"{LABEL}/worker-index=0"):
            if f"{LABEL}/group-index" not in pod["metadata"]["labels"]:
                index = pod["metadata"]["name"].rpartition("-")[2]
                labels = {"metadata": {"labels": {f"{LABEL}/group-index": index}}}
                self.lab.cluster.patch("Pod", self.lab.namespace, pod["metadata"]["name"], labels)
        status = {
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": min(wanted, self.lab.ready(self.name)),
        }
        self.lab.cluster.patch("LeaderWorkerSet", self.lab.namespace, self.name, {"status": status}, "status")

    def _set(self, name: str, replicas: int, gpus: int, labels: dict[str, str]) -> None:
        known = self.lab.get("StatefulSet", name)
        if known and known["spec"]["replicas"] != replicas:
            self.lab.cluster.patch("StatefulSet", self.lab.namespace, name, {"spec": {"replicas": replicas}})
        elif not known and replicas:
            spec = {"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel"}
            labels = {**labels, "set": name}
            template = self.template(gpus, **labels)
            spec |= {"selector": {"matchLabels": labels}, "template": template}
            self.lab.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec})

    def until(self, holds: Callable[[], Any], seconds: float, says: str) -> None:
        """Wait, with the controller at work."""

        def after_a_step() -> Any:
            self.step()
            return holds()

        self.lab.until(after_a_step, seconds, says=says)


def figures(lab: Any, pool: str) -> tuple[int, int]:
    status = lab.cluster.get("AcceleratorPool", "", pool)["status"]
    return int(status["total"]), int(status["used"])


@pytest.mark.usefixtures("neighbours")
def test_groups_with_leaders_without_gpus_are_scaled_as_replicas(lab):
    pool = lab.pool(nodes=[4, 4])
    groups = Groups(lab, "big", pool)
    lab.load("big", requests_per_second=1)
    lab.apply(groups.manifest())
    target = {"apiVersion": LWS, "kind": "LeaderWorkerSet", "name": "big"}
    lab.service("big", adopted("big", pool, scaleTargetRef=target))

    def one_ready() -> bool:
        variant = lab.variant("big")
        return (variant.get("gpusPerReplica"), variant.get("readyReplicas")) == (2, 1)

    groups.until(one_ready, 40, "a replica is a leader without GPU and two workers with one each")
    groups.until(lambda: figures(lab, pool) == (8, 2), 20, "the group holds two of eight GPUs")
    mark = lab.mark()
    lab.load("big", requests_per_second=100)
    groups.until(lambda: lab.replicas("big", "LeaderWorkerSet") > 1, 40, "more groups")
    assert lab.audit(mark, resource="leaderworkersets/scale", name="big")
    groups.until(lambda: lab.variant("big").get("readyReplicas", 0) > 1, 40, "whole groups count as ready")


@pytest.mark.usefixtures("neighbours")
def test_a_kind_without_scale_is_told_when_it_should_be_scaled(lab):
    """KServe 0.17's LLMInferenceService has no scale subresource; its controller makes a Deployment."""
    pool = lab.pool(nodes=[4])
    lab.load("chat-kserve", requests_per_second=100)
    engine = manifests.engine()
    spec = {"model": {"uri": "hf://a/b"}, "replicas": 1, "template": {"containers": [engine]}}
    kind = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "LLMInferenceService"}
    lab.apply({**kind, "metadata": {"name": "chat"}, "spec": spec})
    deployment = manifests.deployment("chat-kserve", pool, 1, [engine])
    labels = {"app.kubernetes.io/name": "chat", "app.kubernetes.io/component": "llminferenceservice-workload"}
    deployment["spec"]["template"]["metadata"]["labels"] |= labels
    lab.apply(deployment)
    lab.service("chat", adopted("chat", pool, scaleTargetRef={**kind, "name": "chat"}))

    lab.until(lambda: lab.variant("chat").get("readyReplicas") == 1, 40, says="KServe's pods are the target's")
    lab.until(lambda: any("no scale subresource" in event["note"] for event in lab.events("chat")), 40)
