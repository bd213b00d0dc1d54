"""`Ready` says what a user would say, in Kubernetes' own words where Kubernetes is in the way."""

from __future__ import annotations

import pytest
from clusterlab import Lab, adopted

pytestmark = pytest.mark.e2e


def told(lab: Lab, service: str, reason: str, *words: str) -> str:
    """Wait until Ready is False for this reason and in these words; its message."""

    def message() -> str:
        ready = lab.condition(service, "Ready")  # read once: the next look may find another cycle's
        said = str(ready.get("message", ""))
        right = (ready.get("status"), ready.get("reason")) == ("False", reason)
        return said if right and all(word in said for word in words) else ""

    return str(lab.until(message, 30, says=f"Ready=False {reason}: {words}"))


def test_an_unknown_model_is_run_and_not_ready(lab):
    pool = lab.pool(nodes=[4])
    lab.load("odd", requests_per_second=2)
    lab.deployment("odd", pool, 1)
    lab.service("odd", adopted("odd", pool), model={"id": "acme/Llama-9.9-8B"})

    words = told(lab, "odd", "UnknownModel")

    assert "acme/Llama-9.9-8B" in words
    assert "close: meta-llama/" in words
    assert lab.says("odd", "Accepted", "True", "UnknownModel")
    lab.load("odd", requests_per_second=30, output_tokens=200, step_seconds=0.04, batch=64)
    lab.until(lambda: lab.replicas("odd") > 1, 40, says="scaled by saturation")


def test_an_unknown_accelerator_is_told_by_the_service_and_by_its_pool(lab):
    pool = lab.pool(nodes=[2], accelerator="h100-smx")
    lab.load("chat", requests_per_second=2)
    lab.deployment("chat", pool, 1)
    lab.service("chat", adopted("chat", pool))

    words = told(lab, "chat", "UnknownAccelerator")

    assert "h100-sxm" in words
    conditions = lab.cluster.get("AcceleratorPool", "", pool)["status"]["conditions"]
    assert {(each["type"], each["status"], each["reason"]) for each in conditions} == {
        ("Ready", "False", "UnknownAccelerator"),
        ("Accepted", "True", "UnknownAccelerator"),
    }


def test_pods_that_find_no_node(lab):
    pool = lab.pool(nodes=[1])
    lab.load("chat", requests_per_second=1)
    lab.deployment("chat", pool, 3)
    lab.service("chat", adopted("chat", pool, minReplicas=3), minReplicas=3)

    told(lab, "chat", "PodsPending", "1 of 3 replicas", "Insufficient nvidia.com/gpu")


def test_pods_that_crash(lab):
    pool = lab.pool(nodes=[4])
    lab.load("chat", requests_per_second=1)
    lab.deployment("chat", pool, 2)
    lab.service("chat", adopted("chat", pool, minReplicas=2), minReplicas=2)
    lab.until(lambda: lab.ready("chat") == 2)
    lab.until(lambda: lab.says("chat", "Ready", "True"))

    lab.behave(lab.pods("chat")[0]["metadata"]["name"], "crash", message="CUDA error: out of memory")

    told(lab, "chat", "PodsCrashing", "1 of 2 replicas", "CUDA error: out of memory")
    lab.until(lambda: any(event["reason"] == "PodsCrashing" for event in lab.events("chat")), says="an event")


def test_replicas_that_a_quota_denies(lab):
    pool = lab.pool(nodes=[8])
    hard = {"requests.nvidia.com/gpu": "2"}
    lab.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": hard}})
    lab.until(lambda: lab.get("ResourceQuota", "gpus").get("status", {}).get("hard"))
    lab.load("chat", requests_per_second=1)
    lab.deployment("chat", pool, 7)
    lab.service("chat", adopted("chat", pool, minReplicas=7, maxReplicas=7), minReplicas=7)

    told(lab, "chat", "ReplicaFailure", "2 of 7 replicas", "exceeded quota: gpus")
    assert lab.replicas("chat") == 7, "Kubernetes goes on trying"


def test_a_refused_object_says_nothing_of_what_was_not_looked_at(lab):
    pool = lab.pool(nodes=[4])
    lab.load("chat", requests_per_second=1)
    lab.deployment("chat", pool, 1)
    lab.service("chat", adopted("chat", pool))
    lab.until(lambda: lab.says("chat", "Ready", "True"))
    assert len(lab.status("chat")["conditions"]) > 2

    lab.service("chat", adopted("chat", "nowhere"))

    assert "nowhere" in told(lab, "chat", "PoolNotFound")
    verdicts = {each["type"]: each["status"] for each in lab.status("chat")["conditions"]}
    assert verdicts == {"Ready": "False", "Accepted": "False"}
