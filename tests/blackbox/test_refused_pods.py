"""Pods that a quota refuses: told in the API server's words, no GPUs kept for them, other variants tried."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import NodeSpec, adopted, manifests

pytestmark = pytest.mark.e2e

AMD = "amd.com/gpu"


def quota(lab: Any, **hard: str) -> None:
    spec = {"hard": {f"requests.{name}": most for name, most in hard.items()}}
    lab.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": spec})
    lab.until(lambda: lab.get("ResourceQuota", "gpus").get("status", {}).get("hard"))


def stateful(name: str, pool: str, replicas: int) -> dict[str, Any]:
    manifest = manifests.deployment(name, pool, replicas, [manifests.engine()])
    return {**manifest, "kind": "StatefulSet", "spec": {**manifest["spec"], "podManagementPolicy": "Parallel"}}


def test_a_stateful_set_says_why_in_its_events_and_keeps_no_gpus(lab):
    pool = lab.pool(nodes=[8])
    quota(lab, **{"nvidia.com/gpu": "2"})
    lab.load("chat", requests_per_second=1)
    lab.apply(stateful("chat", pool, 7))
    lab.service("chat", adopted("chat", pool, kind="StatefulSet", minReplicas=7, maxReplicas=7), minReplicas=7)

    def told() -> bool:
        ready = lab.condition("chat", "Ready")
        return ready.get("reason") == "ReplicaFailure" and "exceeded quota: gpus" in ready["message"]

    lab.until(told, 40, says="the server's words")
    lab.until(lambda: "2 of 7 replicas" in lab.condition("chat", "Ready")["message"], 40, says="two of them run")

    def placeable() -> int:
        return int(lab.cluster.get("AcceleratorPool", "", pool)["status"]["placeable"])

    lab.until(lambda: placeable() == 6, says="the six GPUs that nobody holds are free")


def test_what_a_quota_refuses_goes_to_another_variant(lab):
    cheap = lab.pool("cheap", nodes=[8])
    other = lab.pool(
        "other",
        nodes=[NodeSpec(1, allocatable={AMD: "8", "nvidia.com/gpu": "0"}, product="AMD-Instinct-MI300X")],
        accelerator="mi300x",
        price="40.00",
        resourceName=AMD,
    )
    quota(lab, **{"nvidia.com/gpu": "1"})
    lab.load("cheap", requests_per_second=1)
    lab.load("other")
    lab.deployment("cheap", cheap, 1)
    engine = manifests.engine(resources={"limits": {AMD: "1"}})
    lab.deployment("other", other, 0, containers=[engine])
    variants = (
        {**adopted("cheap", cheap, minReplicas=0), "name": "cheap"},
        {**adopted("other", other, minReplicas=0), "name": "other"},
    )
    lab.service("chat", *variants)
    lab.until(lambda: lab.ready("cheap") == 1 and lab.says("chat", "Ready", "True"), 40)

    lab.load("cheap", requests_per_second=200)

    def refused() -> bool:
        return "exceeded quota" in lab.condition("chat", "ScalingLimited").get("message", "")

    lab.until(refused, 60, says="the server's words")
    lab.until(lambda: lab.replicas("other") >= 1, 60, says="the other variant is asked")
    assert lab.ready("cheap") == 1
