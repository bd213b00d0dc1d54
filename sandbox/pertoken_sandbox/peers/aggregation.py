"""How a metrics server that runs as a process on loopback becomes part of the Kubernetes API."""

from __future__ import annotations

import time
from typing import Any, Final

from pertoken_sandbox.cluster import Cluster
from pertoken_sandbox.processes import ProcessFailed

AVAILABLE_SECONDS: Final = 60.0


def registration(group: str, version: str, namespace: str, port: int) -> list[dict[str, Any]]:
    """An APIService and the Service behind it, which leads to this machine."""
    name = group.split(".", 1)[0] + "-metrics"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "type": "ExternalName",
                "externalName": "localhost",
                "ports": [{"port": port, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": name, "namespace": namespace, "port": port},
            },
        },
    ]


def await_available(cluster: Cluster, name: str) -> None:
    """Wait until the API server reaches the metrics server.

    Raises:
        ProcessFailed: it does not within a minute; the message has the API server's reason.
    """
    deadline = time.monotonic() + AVAILABLE_SECONDS
    while True:
        conditions = cluster.kubectl.json("get", "apiservice", name).get("status", {}).get("conditions", [])
        state = next((condition for condition in conditions if condition["type"] == "Available"), {"status": "Unknown"})
        if state["status"] == "True":
            return
        if time.monotonic() > deadline:
            raise ProcessFailed(f"APIService {name} is not available: {state.get('message', 'no condition yet')}")
        time.sleep(0.5)
