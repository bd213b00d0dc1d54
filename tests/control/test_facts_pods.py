"""Pods, nodes and ReplicaSets as the API server shows them, parsed to domain facts."""

from __future__ import annotations

from typing import Any

import pytest

from pertoken.control.facts import (
    by_name,
    namespace_fact,
    node_fact,
    pod_fact,
    pod_requests,
    replicaset_fact,
    resolve_pods,
)
from pertoken.control.quantities import epoch, is_extended, quantity, whole_units
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.placement import Taint

GPU = "nvidia.com/gpu"


def container(name: str, gpus: int = 0, **more: Any) -> dict[str, Any]:
    resources = {"limits": {GPU: str(gpus), "cpu": "8"}} if gpus else {"requests": {"cpu": "100m"}}
    return {"name": name, "image": "i", "resources": resources, **more}


def owned_by(kind: str, name: str, api: str = "apps/v1") -> list[dict[str, Any]]:
    return [{"apiVersion": api, "kind": kind, "name": name, "uid": "o", "controller": True}]


def pod(**over: Any) -> dict[str, Any]:
    """A serving vLLM pod as the API server returns it."""
    meta: dict[str, Any] = {
        "name": "chat-7d4b9-x2x4z",
        "namespace": "prod",
        "uid": "u1",
        "creationTimestamp": "2026-11-23T10:00:00Z",
        "labels": {"app": "chat", "pod-template-hash": "7d4b9"},
        "ownerReferences": owned_by("ReplicaSet", "chat-7d4b9"),
    }
    spec: dict[str, Any] = {"nodeName": "gpu-1", "containers": [container("proxy"), container("engine", 2)]}
    status: dict[str, Any] = {
        "phase": "Running",
        "startTime": "2026-11-23T10:00:03Z",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T10:00:02Z"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T10:03:00Z"},
        ],
        "containerStatuses": [
            {"name": "proxy", "restartCount": 4, "state": {"running": {"startedAt": "2026-11-23T10:00:09Z"}}},
            {"name": "engine", "restartCount": 0, "state": {"running": {"startedAt": "2026-11-23T10:00:20Z"}}},
        ],
    }
    meta |= over.pop("metadata", {})
    spec |= over.pop("spec", {})
    status |= over.pop("status", {})
    assert not over
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def engine_status(state: dict[str, Any], *, restarts: int = 0, last: dict[str, Any] | None = None) -> dict[str, Any]:
    entry = {"name": "engine", "restartCount": restarts, "state": state}
    return {"containerStatuses": [entry | ({"lastState": {"terminated": last}} if last else {})]}


def test_a_serving_pod():
    fact = pod_fact(pod())
    assert fact is not None
    assert str(fact.key) == "prod/chat-7d4b9-x2x4z"
    assert fact.requests == {GPU: 2}
    assert fact.node == "gpu-1"
    assert fact.created_at == epoch("2026-11-23T10:00:00Z")
    assert fact.bound_at == epoch("2026-11-23T10:00:02Z")
    assert fact.engine_started_at == epoch("2026-11-23T10:00:20Z")
    assert fact.ready_at == epoch("2026-11-23T10:03:00Z")
    assert fact.ready
    assert fact.holds_gpus
    assert not fact.crashed, "the proxy's restarts are not the engine's"
    assert fact.workload == WorkloadRef("apps/v1", "ReplicaSet", "prod", "chat-7d4b9")


def test_a_pod_that_does_not_fit_anywhere():
    waiting = {
        "phase": "Pending",
        "startTime": None,
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                "lastTransitionTime": "2026-11-23T10:00:01Z",
            }
        ],
        "containerStatuses": None,
    }
    fact = pod_fact(pod(spec={"nodeName": None}, status=waiting))
    assert fact is not None
    assert fact.unschedulable_since == epoch("2026-11-23T10:00:01Z")
    assert fact.bound_at is None
    assert fact.node is None
    assert not fact.holds_gpus
    assert "Insufficient" in fact.message


def test_a_gated_pod_is_not_unschedulable_and_names_its_gate():
    gated = [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked"}
    ]
    gates = [{"name": "kueue.x-k8s.io/admission"}]
    fact = pod_fact(pod(spec={"nodeName": None, "schedulingGates": gates}, status={"conditions": gated}))
    assert fact is not None
    assert fact.unschedulable_since is None
    assert fact.message == "Scheduling is blocked (kueue.x-k8s.io/admission)"


def test_a_pod_created_with_its_node_is_bound_since_the_kubelet_saw_it():
    fact = pod_fact(pod(status={"conditions": []}))
    assert fact is not None
    assert fact.bound_at == epoch("2026-11-23T10:00:03Z")
    assert fact.ready_at is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (engine_status({"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}), "no such tag"),
        (
            engine_status(
                {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                restarts=3,
                last={"reason": "OOMKilled", "exitCode": 137},
            ),
            "OOMKilled, exit code 137",
        ),
        (engine_status({"terminated": {"reason": "Error", "exitCode": 1}}), "exit code 1"),
        (
            engine_status(
                {"running": {"startedAt": "2026-11-23T10:09:00Z"}},
                restarts=1,
                last={"reason": "Error", "exitCode": 2, "message": "bad flag"},
            ),
            "bad flag",
        ),
        (
            {
                "containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "PodInitializing"}}}],
                "initContainerStatuses": [{"name": "fetch", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            },
            "CrashLoopBackOff",
        ),
    ],
)
def test_crashes_in_the_kubelets_words(status: dict[str, Any], words: str):
    fact = pod_fact(pod(status=status))
    assert fact is not None
    assert fact.crashed
    assert words in fact.message


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_starting_is_no_crash(reason: str):
    fact = pod_fact(pod(status=engine_status({"waiting": {"reason": reason}})))
    assert fact is not None
    assert not fact.crashed
    assert fact.engine_started_at is None


def test_terminating_and_finished():
    going = pod_fact(pod(metadata={"deletionTimestamp": "2026-11-23T11:00:00Z"}))
    assert going is not None
    assert going.terminating
    assert not going.ready
    assert going.holds_gpus, "a terminating pod still occupies its GPUs"
    done = pod_fact(pod(status={"phase": "Failed"}))
    assert done is not None
    assert not done.holds_gpus


@pytest.mark.parametrize("owner", [[], owned_by("DaemonSet", "agent"), owned_by("Job", "j", "batch/v1")])
def test_pods_that_neither_hold_gpus_nor_scale_are_of_no_interest(owner: list[dict[str, Any]]):
    small = pod(metadata={"ownerReferences": owner}, spec={"containers": [container("engine")]})
    assert pod_fact(small) is None
    assert pod_fact(pod(metadata={"ownerReferences": owner})) is not None, "GPUs count whoever owns them"


def test_the_engine_without_its_name_is_the_one_that_holds_gpus():
    containers = [container("proxy"), container("vllm", 1)]
    states = [
        {"name": "proxy", "restartCount": 9, "state": {}},
        {"name": "vllm", "restartCount": 0, "state": {"running": {"startedAt": "2026-11-23T10:01:00Z"}}},
    ]
    fact = pod_fact(pod(spec={"containers": containers}, status={"containerStatuses": states}))
    assert fact is not None
    assert fact.engine_started_at == epoch("2026-11-23T10:01:00Z")
    assert fact.restarts == 0


@pytest.mark.parametrize(
    ("inits", "main", "expected"),
    [
        ([], [container("a", 1), container("b", 2)], 3),
        ([container("warm", 4)], [container("engine", 2)], 4),
        ([container("warm", 1)], [container("engine", 2)], 2),
        ([container("side", 1, restartPolicy="Always")], [container("engine", 2)], 3),
        ([container("side", 1, restartPolicy="Always"), container("warm", 3)], [container("engine", 2)], 4),
        ([container("warm", 3), container("side", 1, restartPolicy="Always")], [container("engine", 1)], 3),
        ([], [container("engine")], None),
    ],
)
def test_requests_with_init_containers_and_sidecars(inits: Any, main: Any, expected: int | None):
    assert pod_requests({"initContainers": inits, "containers": main}).get(GPU) == expected


def test_owners_resolve_whatever_order_events_came_in():
    fact = pod_fact(pod())
    assert fact is not None
    replicaset = {
        "metadata": {
            "name": "chat-7d4b9",
            "namespace": "prod",
            "uid": "rs",
            "annotations": {"deployment.kubernetes.io/revision": "12"},
            "ownerReferences": owned_by("Deployment", "chat"),
        },
        "spec": {"replicas": 2},
        "status": {"replicas": 3},
    }
    link = replicaset_fact(replicaset)
    assert (link.revision, link.replicas) == (12, 3)
    (resolved,) = resolve_pods([fact], by_name([link]))
    assert resolved.workload == WorkloadRef("apps/v1", "Deployment", "prod", "chat")
    assert pod_fact(pod(), by_name([link])) == resolved
    (unknown,) = resolve_pods([fact], {})
    assert unknown.workload == fact.workload


def test_a_replicaset_of_the_same_name_in_another_namespace_is_another_one():
    fact = pod_fact(pod())
    assert fact is not None
    foreign = replicaset_fact(
        {
            "metadata": {
                "name": "chat-7d4b9",
                "namespace": "dev",
                "uid": "rs",
                "ownerReferences": owned_by("Deployment", "c"),
            }
        }
    )
    assert resolve_pods([fact], by_name([foreign]))[0].workload == fact.workload


def test_pods_of_a_leader_worker_set_belong_to_the_set():
    labels = {
        "leaderworkerset.sigs.k8s.io/name": "big",
        "leaderworkerset.sigs.k8s.io/group-index": "4",
        "leaderworkerset.sigs.k8s.io/worker-index": "1",
    }
    fact = pod_fact(pod(metadata={"labels": labels, "ownerReferences": owned_by("StatefulSet", "big-0")}))
    assert fact is not None
    assert fact.workload == WorkloadRef("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "prod", "big")
    assert fact.group == "4"


def test_a_statefulset_owns_its_pods_directly():
    fact = pod_fact(pod(metadata={"ownerReferences": owned_by("StatefulSet", "chat")}))
    assert fact is not None
    assert fact.workload == WorkloadRef("apps/v1", "StatefulSet", "prod", "chat")


def node(**over: Any) -> dict[str, Any]:
    spec = over.pop("spec", {})
    ready = over.pop("ready", "True")
    meta = {"name": "gpu-1", "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}} | over
    allocatable = {"cpu": "191450m", "memory": "1Ti", "hugepages-2Mi": "0", GPU: "8", "rdma/hca": "4"}
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    return {"metadata": meta, "spec": spec, "status": {"allocatable": allocatable, "conditions": conditions}}


def taint(key: str, effect: str = "NoSchedule") -> dict[str, Any]:
    return {"taints": [{"key": key, "effect": effect}]}


def test_a_node_shows_devices_only():
    fact = node_fact(node())
    assert fact.allocatable == {GPU: 8, "rdma/hca": 4}
    assert fact.labels["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert fact.schedulable


@pytest.mark.parametrize(
    ("obj", "usable"),
    [
        (node(), True),
        (node(ready="False"), False),
        (node(ready="Unknown"), False),
        (node(deletionTimestamp="2026-11-23T10:00:00Z"), False),
    ],
)
def test_on_which_nodes_a_pod_would_start(obj: dict[str, Any], usable: bool):
    assert node_fact(obj).schedulable is usable


def test_a_cordon_is_a_taint():
    cordon = Taint("node.kubernetes.io/unschedulable", "NoSchedule")
    written = {"key": cordon.key, "effect": cordon.effect}

    assert node_fact(node(spec={"unschedulable": True})).taints == (cordon,)
    assert node_fact(node(spec={"unschedulable": True, "taints": [written]})).taints == (cordon,)
    assert node_fact(node(spec=taint("sku"))).taints == (Taint("sku", "NoSchedule"),)


def test_a_node_that_has_not_reported_yet():
    fact = node_fact({"metadata": {"name": "new"}})
    assert not fact.schedulable
    assert fact.taints == ()
    assert fact.allocatable == {}


def test_namespace_labels():
    assert namespace_fact({"metadata": {"name": "prod", "labels": {"team": "a"}}}).labels == {"team": "a"}
    assert namespace_fact({"metadata": {"name": "prod"}}).labels == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), (8, 8), ("1e3", 1000), ("2k", 2000), ("500m", 0.5), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30), ("3E", 3e18)],
)
def test_quantities(text: str | int, value: float):
    assert float(quantity(text)) == value


@pytest.mark.parametrize("text", ["", "k", "Gi", "eight", "1 2", "NaN", "Infinity"])
def test_no_quantities(text: str):
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        quantity(text)


def test_fractions_of_devices_never_flatter():
    assert whole_units({GPU: "1500m"}, up=True) == {GPU: 2}
    assert whole_units({GPU: "1500m"}, up=False) == {GPU: 1}


@pytest.mark.parametrize(
    ("name", "extended"),
    [
        (GPU, True),
        ("nvidia.com/mig-1g.10gb", True),
        ("amd.com/gpu", True),
        ("cpu", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/batch-cpu", False),
        ("storage.kubernetes.io/x", False),
    ],
)
def test_extended_resources(name: str, extended: bool):
    assert is_extended(name) is extended


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.250000Z", 60.25),
        ("1970-01-01T01:01:00+01:00", 60.0),
        (None, None),
        ("", None),
        ("soon", None),
    ],
)
def test_times(stamp: str | None, at: float | None):
    assert epoch(stamp) == at
