"""Nothing is applied over an object that is not pertoken's, by name or otherwise, nor deleted with its service."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import adopted, owned
from clusterlab.manifests import CAP_KEY, cap_reading_engine

pytestmark = pytest.mark.e2e


def user_objects(name: str) -> dict[str, dict[str, Any]]:
    """What a team has under the names that pertoken would give."""
    port = {"port": 80, "targetPort": 80, "name": "web"}
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "payments"}}}
    return {
        "Service": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": "payments"}, "ports": [port]},
        },
        "ConfigMap": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            # Labels can be written by anybody: they prove nothing.
            "metadata": {"name": f"{name}-batch", "labels": {"app.kubernetes.io/managed-by": "pertoken"}},
            "data": {CAP_KEY: "7", "ours": "yes"},
        },
        "PodDisruptionBudget": {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": budget,
        },
    }


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "PodDisruptionBudget"])
def test_a_name_that_is_taken_is_told_and_the_object_left_alone(lab, kind):
    pool = lab.pool(nodes=[4])
    users_object = user_objects("payments-a")[kind]
    lab.apply(users_object)
    name = users_object["metadata"]["name"]
    before = lab.get(kind, name)

    lab.service("payments", owned(pool))

    lab.until(lambda: lab.says("payments", "Accepted", "False", "NameTaken"))
    words = lab.condition("payments", "Accepted")["message"]
    assert f"{kind} {lab.namespace}/{name}" in words
    assert "rename variant a or the InferenceService" in words
    assert lab.replicas("payments-a") == -1, "something was half applied"
    lab.cluster.delete("InferenceService", lab.namespace, "payments")
    lab.cycles(3)
    after = lab.get(kind, name)
    for key in ("spec", "data"):
        assert after.get(key) == before.get(key)
    for key in ("uid", "labels", "ownerReferences", "generation"):
        assert after["metadata"].get(key) == before["metadata"].get(key)


def test_a_users_cap_is_read_and_never_written(lab):
    pool = lab.pool(nodes=[4])
    users_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chat-batch"}, "data": {CAP_KEY: "16"}}
    lab.apply(users_map)
    lab.load("chat", requests_per_second=2)
    lab.deployment("chat", pool, 1, containers=[cap_reading_engine("chat")])
    mark = lab.mark()

    lab.service("chat", adopted("chat", pool))

    lab.until(lambda: lab.variant("chat").get("batchCap") == 16)
    lab.until(lambda: lab.variant("chat").get("batchReason") == "BatchNotActuated")
    assert "not pertoken's" in lab.variant("chat")["batchMessage"]
    assert lab.says("chat", "Accepted", "True")
    lab.cycles(3)
    assert lab.get("ConfigMap", "chat-batch")["data"] == {CAP_KEY: "16"}
    assert lab.audit(mark, resource="configmaps") == []


def test_a_name_that_becomes_free_is_taken(lab):
    pool = lab.pool(nodes=[4])
    lab.apply(user_objects("payments-a")["Service"])
    lab.service("payments", owned(pool))
    lab.until(lambda: lab.says("payments", "Accepted", "False", "NameTaken"))

    lab.cluster.delete("Service", lab.namespace, "payments-a")

    lab.until(lambda: lab.says("payments", "Accepted", "True"))
    lab.until(lambda: lab.ready("payments-a") == 1)
    owners = [
        lab.get(kind, name)["metadata"]["ownerReferences"][0]["name"]
        for kind, name in (
            ("Deployment", "payments-a"),
            ("Service", "payments-a"),
            ("PodDisruptionBudget", "payments-a"),
            ("ConfigMap", "payments-a-batch"),
        )
    ]
    assert owners == ["payments"] * 4
