"""GPUs that pods claim (dynamic resource allocation) count, on nodes whose driver tells them in slices alone."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import NodeSpec, adopted, manifests, owned

pytestmark = pytest.mark.e2e

DRIVER = "gpu.nvidia.com"
API = "resource.k8s.io/v1"
CLAIM = {"name": "gpu", "resourceClaimTemplateName": "one-gpu"}


def device_class() -> dict[str, Any]:
    selector = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
    return {
        "apiVersion": API,
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression": selector}}]},
    }


def slice_of(node: str, gpus: int) -> dict[str, Any]:
    devices = [{"name": f"gpu-{index}", "attributes": {"type": {"string": "gpu"}}} for index in range(gpus)]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": devices}
    return {"apiVersion": API, "kind": "ResourceSlice", "metadata": {"name": f"{node}-gpus"}, "spec": spec}


@pytest.fixture
def pool(lab):
    """A pool whose two nodes have four GPUs each by their slices, and a template of claims for one."""
    name = lab.pool(nodes=[NodeSpec(1, allocatable={"nvidia.com/gpu": "0"})] * 2)
    slices = [slice_of(f"{name}-{index}", 4) for index in range(2)]
    lab.stack.kubectl.apply(device_class(), *slices)
    spec = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]}}
    lab.apply(
        {"apiVersion": API, "kind": "ResourceClaimTemplate", "metadata": {"name": "one-gpu"}, "spec": {"spec": spec}}
    )
    yield name
    for each in slices:
        lab.stack.kubectl("delete", "resourceslice", each["metadata"]["name"], "--wait=false")


def claiming_engine() -> dict[str, Any]:
    return manifests.engine(resources={"claims": [{"name": "gpu"}]})


def figures(lab: Any, pool: str) -> tuple[int, int]:
    status = lab.cluster.get("AcceleratorPool", "", pool)["status"]
    return int(status["total"]), int(status["used"])


def test_claims_of_an_adopted_workload_are_gpus_of_its_pods_and_nodes(lab, pool):
    lab.load("chat", requests_per_second=1)
    lab.deployment("chat", pool, 2, containers=[claiming_engine()], resourceClaims=[CLAIM])
    lab.service("chat", adopted("chat", pool))
    lab.until(lambda: lab.ready("chat") == 2, 40)

    lab.until(lambda: lab.variant("chat").get("gpusPerReplica") == 1, 60)
    lab.until(lambda: figures(lab, pool) == (8, lab.ready("chat")), 60, says="eight GPUs, each pod holds one")
    lab.load("chat", requests_per_second=100)
    lab.until(lambda: lab.ready("chat") > 2, 60, says="more replicas on claimed GPUs")


def test_a_pod_template_may_claim_its_gpus(lab, pool):
    lab.load("chat-a", requests_per_second=1)
    pod = {"containers": [claiming_engine()], "resourceClaims": [CLAIM]}
    lab.service("chat", owned(pool, pod=pod))

    lab.until(lambda: lab.ready("chat-a") >= 1, 60)
    lab.until(lambda: lab.variant("chat").get("gpusPerReplica") == 1, 60)
