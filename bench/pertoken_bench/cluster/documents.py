"""The simulated cluster's objects as the API server shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pertoken.api.conditions import rfc3339
from pertoken.api.launch import CAP_VARIABLE, CHUNK_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.ports import Json
from pertoken_bench.cluster.clock import EPOCH
from pertoken_bench.cluster.objects import SimulatedNode, SimulatedPod, SimulatedWorkload

POOL_LABEL: Final = "pool"
REVISION: Final = "deployment.kubernetes.io/revision"
IMAGE: Final = "vllm/vllm-openai:v0.32.0"
CONTAINER: Final = "engine"


@dataclass(frozen=True, slots=True)
class EngineLaunch:
    """How the engines of a workload are started.

    Attributes:
        batched_tokens: their chunk budget.
        reads_cap: they read their cap from pertoken's ConfigMap; else it is an argument.
        reads_chunk: likewise the chunk.
    """

    batched_tokens: int
    reads_cap: bool
    reads_chunk: bool


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """What the Deployment controller has written last.

    Attributes:
        observed: generation that it has acted upon.
        updated: pods of the present template.
    """

    observed: int = 0
    replicas: int = 0
    ready: int = 0
    updated: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """The pods of one template of a workload.

    Attributes:
        asked: replicas that it shall have; `pods`: those that it has.
    """

    namespace: str
    name: str
    deployment: str
    template: int
    asked: int
    pods: int

    @property
    def uid(self) -> str:
        """Of the object."""
        return f"replicaset-{self.namespace}-{self.name}"


def uid_of(workload: SimulatedWorkload) -> str:
    """A workload's uid."""
    ref = workload.spec.workload
    return f"deployment-{ref.namespace}-{ref.name}"


def status_of(workload: SimulatedWorkload) -> DeploymentStatus:
    """What the controller would write now."""
    staying = workload.staying()
    return DeploymentStatus(
        workload.version,
        len(staying),
        sum(pod.ready_at is not None for pod in staying),
        sum(pod.template == workload.template for pod in staying),
    )


def node_uid(node: SimulatedNode) -> str:
    """A node's uid."""
    return f"node-{node.name}"


def stamp(seconds: float) -> str:
    """An instant of the trace's clock as the API server writes it: whole seconds."""
    return rfc3339(EPOCH + seconds)


def namespace_document(name: str) -> Json:
    """A Namespace."""
    labels = {"kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": f"ns-{name}", "labels": labels}}


def node_document(node: SimulatedNode, resource: str) -> Json:
    """A Ready node with its GPUs."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "uid": node_uid(node), "labels": {POOL_LABEL: node.pool}},
        "spec": {},
        "status": {
            "allocatable": {resource: str(node.gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def deployment_document(
    workload: SimulatedWorkload, resource_version: str, status: DeploymentStatus, launch: EngineLaunch
) -> Json:
    """The Deployment of one variant."""
    ref = workload.spec.workload
    return {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": uid_of(workload),
            "resourceVersion": resource_version,
            "generation": workload.version,
            "managedFields": [{"manager": workload.manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}],
        },
        "spec": {
            "replicas": workload.replicas,
            "template": {"spec": _pod_spec(workload, launch)},
        },
        "status": {
            "observedGeneration": status.observed,
            "replicas": status.replicas,
            "readyReplicas": status.ready,
            "updatedReplicas": status.updated,
        },
    }


def replicasets(workload: SimulatedWorkload) -> Iterator[ReplicaSet]:
    """One for the present template, and one for each other that still has pods."""
    pods = Counter(pod.template for pod in workload.staying())
    ref = workload.spec.workload
    for template in sorted({workload.template, *pods}):
        asked = workload.replicas if template == workload.template else pods[template]
        name = _replicaset_name(workload, template)
        yield ReplicaSet(ref.namespace, name, ref.name, template, asked, pods[template])


def replicaset_document(replicaset: ReplicaSet) -> Json:
    """A ReplicaSet under its Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": replicaset.name,
            "namespace": replicaset.namespace,
            "uid": replicaset.uid,
            "annotations": {REVISION: str(replicaset.template)},
            "ownerReferences": [_controller("Deployment", replicaset.deployment)],
        },
        "spec": {"replicas": replicaset.asked},
        "status": {"replicas": replicaset.pods},
    }


def pod_document(pod: SimulatedPod) -> Json:
    """A pod with its conditions and its container's state."""
    workload = pod.workload
    metadata: Json = {
        "name": pod.name,
        "namespace": workload.service.key.namespace,
        "uid": str(pod.uid),
        "creationTimestamp": stamp(pod.created_at),
        "labels": {"pod-template-hash": str(pod.template)},
        "ownerReferences": [_controller("ReplicaSet", _replicaset_name(workload, pod.template))],
    }
    if pod.terminating_since is not None:
        metadata["deletionTimestamp"] = stamp(pod.terminating_since)
    running = {} if pod.started_at is None else {"running": {"startedAt": stamp(pod.started_at)}}
    spec: Json = {"containers": [{"name": CONTAINER, "resources": _gpus(workload)}], **_selector(workload)}
    if pod.node is not None:
        spec["nodeName"] = pod.node.name
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "conditions": list(_conditions(pod)),
            "containerStatuses": [{"name": CONTAINER, "restartCount": 0, "state": running}],
        },
    }


def autoscaler_document(name: str, workload: SimulatedWorkload) -> Json:
    """A HorizontalPodAutoscaler over one workload: somebody else scales it."""
    ref = workload.spec.workload
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": ref.namespace, "uid": f"autoscaler-{name}"},
        "spec": {"scaleTargetRef": {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name}},
    }


def scale_document(workload: SimulatedWorkload, resource_version: str) -> Json:
    """The scale subresource."""
    ref = workload.spec.workload
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": ref.name, "namespace": ref.namespace, "resourceVersion": resource_version},
        "spec": {"replicas": workload.replicas},
        "status": {"replicas": len(workload.staying())},
    }


def _pod_spec(workload: SimulatedWorkload, launch: EngineLaunch) -> Json:
    model = workload.service.model
    cap = f"$({CAP_VARIABLE})" if launch.reads_cap else str(workload.cap.value)
    chunk = f"$({CHUNK_VARIABLE})" if launch.reads_chunk else str(launch.batched_tokens)
    arguments = [
        f"--max-num-seqs={cap}",
        f"--max-num-batched-tokens={chunk}",
        f"--tensor-parallel-size={workload.spec.parallelism.tensor}",
    ]
    container: Json = {
        "name": CONTAINER,
        "image": IMAGE,
        "command": ["vllm", "serve", model.id],
        "args": arguments,
        "resources": _gpus(workload),
    }
    read = [CAP_VARIABLE] * launch.reads_cap + [CHUNK_VARIABLE] * launch.reads_chunk
    if read:
        config_map = cap_name(workload.spec.workload.name)
        sources = {variable: {"configMapKeyRef": {"name": config_map, "key": variable}} for variable in read}
        container["env"] = [{"name": variable, "valueFrom": source} for variable, source in sources.items()]
    return {"containers": [container], **_selector(workload)}


def _gpus(workload: SimulatedWorkload) -> Json:
    return {"limits": {workload.pool.resource_name: str(workload.gpus)}}


def _selector(workload: SimulatedWorkload) -> Json:
    return {"nodeSelector": {POOL_LABEL: workload.pool.name}}


def _conditions(pod: SimulatedPod) -> Iterator[Mapping[str, str]]:
    if pod.bound_at is not None:
        yield {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(pod.bound_at)}
    elif pod.unschedulable_since is not None:
        yield {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": f"no node of pool {pod.workload.pool.name} has {pod.workload.gpus} free GPUs",
            "lastTransitionTime": stamp(pod.unschedulable_since),
        }
    if pod.ready_at is not None:
        yield {"type": "Ready", "status": "True", "lastTransitionTime": stamp(pod.ready_at)}


def _replicaset_name(workload: SimulatedWorkload, template: int) -> str:
    return f"{workload.spec.workload.name}-{template}"


def _controller(kind: str, name: str) -> Json:
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"{kind}-{name}".lower(), "controller": True}
