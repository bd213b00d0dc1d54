"""Patches onto objects of Karpenter, Kueue and the autoscalers; the real CRDs take them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from pertoken.capacity.exports.kinds import patch_of
from pertoken.capacity.exports.patch import Amounts, NoPatch, Target, amounts_of
from pertoken.capacity.futures import PoolFutures
from pertoken.domain.pool import PoolSpec
from pertoken_sandbox.kubectl import KubectlFailed
from pertoken_sandbox.neighbours import neighbour_crds

GPU = "nvidia.com/gpu"
NEEDS = Amounts(GPU, 48, 10)
NODE_POOL = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "gpu"},
    "spec": {
        "limits": {"cpu": "1000", GPU: "8"},
        "template": {
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
                "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
            }
        },
    },
}
QUEUE = {
    "apiVersion": "kueue.x-k8s.io/v1beta1",
    "kind": "ClusterQueue",
    "metadata": {"name": "inference"},
    "spec": {
        "cohort": "all",
        "resourceGroups": [
            {
                "coveredResources": ["cpu"],
                "flavors": [{"name": "any", "resources": [{"name": "cpu", "nominalQuota": 9}]}],
            },
            {
                "coveredResources": [GPU],
                "flavors": [
                    {"name": "l4", "resources": [{"name": GPU, "nominalQuota": "4"}]},
                    {"name": "h100", "resources": [{"name": GPU, "nominalQuota": "8", "borrowingLimit": "2"}]},
                ],
            },
        ],
    },
}
BUFFER = {
    "apiVersion": "autoscaling.x-k8s.io/v1beta1",
    "kind": "CapacityBuffer",
    "metadata": {"name": "chat", "namespace": "default"},
    "spec": {"scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "chat"}, "percentage": 20},
}


def test_amounts_are_whole_nodes_and_the_largest_headroom_of_an_hour():
    gpus = np.array([[10, 20]] * 15 + [[13, 41]] * 5)
    futures = PoolFutures(PoolSpec("h100", "h100-sxm"), gpus, 0, gpus_per_node=8)

    assert amounts_of(futures, 90.0) == Amounts(GPU, 48, 21)


def test_a_node_pools_limit_is_merged():
    patch = patch_of(Target("h100", "NodePool", "gpu"), NEEDS, None)

    assert (patch.type, patch.body) == ("merge", {"spec": {"limits": {GPU: "48"}}})
    assert patch.command == "kubectl patch nodepools.karpenter.sh gpu --type merge --patch-file FILE"


def test_a_static_node_pool_takes_no_limit():
    static = {**NODE_POOL, "spec": {**NODE_POOL["spec"], "replicas": 2}}

    assert "static NodePool" in str(patch_of(Target("h100", "NodePool", "gpu"), NEEDS, static))


def test_a_quota_is_patched_at_its_place_and_tested_to_be_there():
    patch = patch_of(Target("h100", "ClusterQueue", "inference", detail="h100"), NEEDS, QUEUE)

    assert patch.type == "json"
    assert patch.body == [
        {"op": "test", "path": "/spec/resourceGroups/1/flavors/1/name", "value": "h100"},
        {"op": "test", "path": "/spec/resourceGroups/1/flavors/1/resources/0/name", "value": GPU},
        {"op": "replace", "path": "/spec/resourceGroups/1/flavors/1/resources/0/nominalQuota", "value": "48"},
    ]


def test_a_buffer_gets_chunks_of_headroom():
    patch = patch_of(Target("h100", "CapacityBuffer", "chat", "default", "4"), NEEDS, BUFFER)

    assert patch.body == {"spec": {"replicas": 3, "percentage": None}}
    assert "-n default" in patch.command


@pytest.mark.parametrize(
    ("target", "obj", "said"),
    [
        (
            Target("h100", "Deployment", "x"),
            None,
            "Deployment/x: expected one of NodePool, ClusterQueue, CapacityBuffer",
        ),
        (Target("h100", "ClusterQueue", "inference"), None, "its manifest is needed"),
        (Target("h100", "ClusterQueue", "inference"), QUEUE, "l4, h100; expected one"),
        (Target("h100", "ClusterQueue", "inference", detail="b200"), QUEUE, "l4, h100; expected one"),
        (Target("h100", "ClusterQueue", "q"), {"spec": {"resourceGroups": 3}}, "none; expected one"),
        (Target("h100", "CapacityBuffer", "chat", "default"), BUFFER, "GPUs of one chunk: none"),
        (Target("h100", "CapacityBuffer", "chat", "default", "0"), BUFFER, "GPUs of one chunk: 0"),
    ],
)
def test_what_cannot_be_patched_says_why(target, obj, said):
    result = patch_of(target, NEEDS, obj)

    assert isinstance(result, NoPatch)
    assert said in str(result)


@pytest.fixture(scope="module")
def neighbours(control_plane):
    wanted = ("_nodepools.yaml", "_clusterqueues.yaml", "_capacitybuffers.yaml")
    files = [path for name in ("karpenter", "kueue") for path in neighbour_crds(name) if path.name.endswith(wanted)]
    definitions = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in files]
    control_plane.kubectl.apply(*definitions)
    control_plane.kubectl.await_crd(*(each["metadata"]["name"] for each in definitions))
    return control_plane.kubectl


def stored_version(resource: str) -> str:
    """Kueue's preferred version needs its conversion webhook, which does not run here: the stored one is asked."""
    return resource.replace("clusterqueues.", "clusterqueues.v1beta1.")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("target", "obj", "path", "value"),
    [
        (Target("h100", "NodePool", "gpu"), NODE_POOL, ("spec", "limits"), {"cpu": "1000", GPU: "48"}),
        (
            Target("h100", "ClusterQueue", "inference", detail="h100"),
            QUEUE,
            ("spec", "resourceGroups", 1, "flavors", 1, "resources", 0),
            {"name": GPU, "nominalQuota": "48", "borrowingLimit": "2"},
        ),
        (Target("h100", "CapacityBuffer", "chat", "default", "4"), BUFFER, ("spec", "replicas"), 3),
    ],
    ids=lambda value: value.kind if isinstance(value, Target) else "",
)
def test_the_real_kinds_take_the_patch(neighbours, target, obj, path, value):
    neighbours.apply(obj)
    where = ("-n", target.namespace) if target.namespace else ()
    patch = patch_of(target, NEEDS, obj)
    resource = stored_version(patch.resource)
    command = ("patch", resource, target.name, *where, "--type", patch.type.value, "-p", json.dumps(patch.body))
    neighbours(*command, "--dry-run=server")
    neighbours(*command)
    stored = neighbours.json("get", resource, target.name, *where)
    for step in path:
        stored = stored[step]
    assert stored == value


@pytest.mark.e2e
def test_a_quota_that_moved_is_not_patched(neighbours):
    moved = json.loads(json.dumps(QUEUE))
    moved["metadata"]["name"] = "moved"
    moved["spec"]["resourceGroups"][1]["flavors"].reverse()
    neighbours.apply(moved)
    patch = patch_of(Target("h100", "ClusterQueue", "moved", detail="h100"), NEEDS, QUEUE)

    with pytest.raises(KubectlFailed, match="invalid"):
        neighbours("patch", stored_version(patch.resource), "moved", "--type", "json", "-p", json.dumps(patch.body))
    held = neighbours.json("get", stored_version(patch.resource), "moved")["spec"]["resourceGroups"][1]["flavors"]
    assert [flavor["resources"][0]["nominalQuota"] for flavor in held] == ["8", "4"]
