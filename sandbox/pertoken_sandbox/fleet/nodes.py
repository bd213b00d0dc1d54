"""Creates the fleet's Nodes and keeps them alive."""

import asyncio
import logging
import zlib
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.config import NodeGroup
from pertoken_sandbox.fleet.container import GPU_RESOURCE
from pertoken_sandbox.fleet.kube import MERGE, STRATEGIC, ApiError, FleetKubeClient

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_STATUS_EVERY = 60.0
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass
class EmulatedNode:
    """One emulated node and the pods (``namespace/name``) that hold its GPUs."""

    name: str
    group: NodeGroup
    address: str
    gpus: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gpus = [None] * self.group.gpus

    def take(self, pod: str, count: int) -> list[int]:
        """Give ``count`` free GPUs to a pod; the device numbers (fewer if the node is over-committed)."""
        free = [index for index, holder in enumerate(self.gpus) if holder is None][:count]
        for index in free:
            self.gpus[index] = pod
        return free

    def release(self, pod: str) -> None:
        """Free a pod's GPUs."""
        self.gpus = [None if holder == pod else holder for holder in self.gpus]

    def uuid(self, index: int) -> str:
        """A stable device UUID."""
        digits = f"{zlib.crc32(f'{self.name}/{index}'.encode()):08x}"
        return f"GPU-{digits}-{digits[:4]}-{digits[4:]}-{digits[:4]}-{digits}{digits[:4]}"


def build_nodes(groups: list[NodeGroup]) -> dict[str, EmulatedNode]:
    """All nodes of the configuration by name, each with its own fake address."""
    named = [(name, group) for group in groups for name in group.names()]
    return {
        name: EmulatedNode(name, group, f"10.64.{index // 250}.{index % 250 + 1}")
        for index, (name, group) in enumerate(named)
    }


def node_object(node: EmulatedNode) -> Json:
    """The Node as it is created."""
    group = node.group
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": group.instance_type,
                "nvidia.com/gpu.present": "true",
                "nvidia.com/gpu.product": group.product,
                "nvidia.com/gpu.count": str(group.gpus),
                "nvidia.com/gpu.memory": str(round(group.memory_gib * 1024)),
                **group.labels,
            },
        },
        "spec": {"podCIDR": "10.128.0.0/24"},
    }


def node_status(node: EmulatedNode, since: str) -> Json:
    """The status a healthy kubelet reports; ``since`` is when the node became ready."""
    group = node.group
    capacity = {
        "cpu": str(group.cpu),
        "memory": group.memory,
        "pods": str(group.pods),
        "ephemeral-storage": "1Ti",
        GPU_RESOURCE: str(group.gpus),
    }
    now = clock.rfc3339(clock.now())
    healthy = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": "",
            "containerRuntimeVersion": "emulated://1",
            "kernelVersion": "6.8.0",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.34.0",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "emulated",
            "systemUUID": "",
        },
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": reason,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
            }
            for kind, status, reason in healthy
        ],
    }


async def keep_node(client: FleetKubeClient, node: EmulatedNode, heartbeat_seconds: float) -> None:
    """Create a node, make it ready and schedulable, and renew its lease and status for ever."""
    since = clock.rfc3339(clock.now())
    reported = 0.0
    while True:
        try:
            if clock.now() - reported > _STATUS_EVERY:
                await _report(client, node, since)
                reported = clock.now()
            await _renew(client, node, heartbeat_seconds)
        except ApiError as error:
            logger.warning("node %s: %s", node.name, error)
            reported = 0.0
            await asyncio.sleep(1.0)
            continue
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.info("node %s: %s", node.name, error)
            await asyncio.sleep(1.0)
            continue
        await asyncio.sleep(heartbeat_seconds)


async def _report(client: FleetKubeClient, node: EmulatedNode, since: str) -> None:
    path = f"/api/v1/nodes/{node.name}"
    wanted = node_object(node)
    try:
        await client.request("POST", "/api/v1/nodes", wanted)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        await client.request("PATCH", path, {"metadata": {"labels": wanted["metadata"]["labels"]}}, content_type=MERGE)
    status = {"status": node_status(node, since)}
    stored = await client.request("PATCH", f"{path}/status", status, content_type=STRATEGIC)
    taints = stored["spec"].get("taints") or []
    kept = [t for t in taints if t["key"] not in {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}]
    if len(kept) != len(taints):
        version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
        try:
            await client.request("PATCH", path, {"metadata": version, "spec": {"taints": kept}}, content_type=MERGE)
        except ApiError as error:
            if error.status != 409:  # the node lifecycle controller was faster
                raise


async def _renew(client: FleetKubeClient, node: EmulatedNode, heartbeat_seconds: float) -> None:
    spec = {
        "holderIdentity": node.name,
        "leaseDurationSeconds": max(40, int(4 * heartbeat_seconds)),
        "renewTime": clock.rfc3339_micro(clock.now()),
    }
    try:
        await client.request("PATCH", f"{_LEASES}/{node.name}", {"spec": spec}, content_type=MERGE)
    except ApiError as error:
        if error.status != 404:
            raise
        await client.request("POST", _LEASES, {"metadata": {"name": node.name}, "spec": spec})
