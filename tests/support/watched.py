"""Objects of every watched kind that belong together, and hostile changes to them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

from pertoken.control.inventory import Inventory
from pertoken.control.parse import KINDS
from pertoken.control.survey import Rules

RULES = Rules(frozenset({"Deployment.apps", "StatefulSet.apps"}))
DIGITS = "9" * 5000


class StandingClock:
    """A clock that stands."""

    def now(self) -> float:
        return 1_790_000_000.0

    def monotonic(self) -> float:
        return 1000.0


def meta(name: str, namespace: str = "team", **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1, **more}


def owned_by(kind: str, name: str) -> dict[str, Any]:
    api = "apps/v1"
    return {"ownerReferences": [{"apiVersion": api, "kind": kind, "name": name, "uid": "o", "controller": True}]}


def pod(name: str, workload: str = "chat", **spec: Any) -> dict[str, Any]:
    container = {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "metadata": {
            **meta(name, **owned_by("ReplicaSet", f"{workload}-1")),
            "creationTimestamp": "2026-09-01T00:00:00Z",
        },
        "spec": {"containers": [container], "nodeName": "gpu-1", **spec},
        "status": {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    }


def replicaset(workload: str = "chat", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": meta(f"{workload}-1", annotations=annotations, **owned_by("Deployment", workload)),
        "spec": {"replicas": 2},
        "status": {"replicas": 2},
    }


def deployment(name: str = "chat", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}
    return {"metadata": meta(name), "spec": {"replicas": 2, "template": template, **spec}, "status": {"replicas": 2}}


def node(name: str = "gpu-1", gpus: str = "8") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"gpu": "yes"}},
        "status": {"allocatable": {"nvidia.com/gpu": gpus}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def service(name: str = "chat", **spec: Any) -> dict[str, Any]:
    variant = {"name": "a", "pool": "pool", "scaleTargetRef": {"name": name}, "maxReplicas": 4}
    model = {"id": "meta-llama/Llama-3.1-8B-Instruct"}
    return {"metadata": meta(name), "spec": {"mode": "Auto", "model": model, "variants": [variant], **spec}}


POOL = {
    "metadata": {"name": "pool", "uid": "uid-pool", "generation": 1},
    "spec": {"accelerator": "h100-sxm", "capacity": {"fromNodes": {"matchLabels": {"gpu": "yes"}}}},
}
CAP = {"metadata": meta("chat-batch"), "data": {"PERTOKEN_MAX_NUM_SEQS": "64"}}
AUTOSCALER = {
    "metadata": meta("other-hpa"),
    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "none"}},
}
OWNING = {
    "metadata": meta("own"),
    "spec": {
        "mode": "Recommend",
        "model": {"id": "own", "architecture": {"hiddenSize": 4096, "numHiddenLayers": 32, "numAttentionHeads": 32}},
        "variants": [
            {
                "name": "a",
                "pool": "pool",
                "podTemplate": {"spec": {"containers": [{"name": "engine", "image": "vllm/vllm-openai:v0.32.0"}]}},
            }
        ],
    },
}
OWNING["spec"]["model"]["architecture"] |= {"intermediateSize": 14336, "vocabSize": 128_256}
HEALTHY: dict[str, list[dict[str, Any]]] = {
    "acceleratorpools": [POOL],
    "inferenceservices": [service("chat"), service("other"), OWNING],
    "deployments": [deployment("chat"), deployment("other")],
    "replicasets": [replicaset("chat"), replicaset("other")],
    "pods": [pod("chat-1-x"), pod("chat-1-y"), pod("other-1-x", "other")],
    "nodes": [node("gpu-1"), node("gpu-2")],
    "namespaces": [{"metadata": {"name": "team", "uid": "uid-team"}}],
    "configmaps": [CAP],
    "horizontalpodautoscalers": [AUTOSCALER],
}


def filled(**changed: list[dict[str, Any]]) -> Inventory:
    inventory = Inventory(KINDS, StandingClock())
    for plural in inventory.plurals:
        inventory.finish_resync(inventory.begin_resync(plural), copy.deepcopy(changed.get(plural, HEALTHY[plural])))
    return inventory


def deep(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(levels):
        nested = {"a": nested}
    return nested


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 10**5000, 1.5, 1e308, -1e308, float("inf"), float("nan")),
    *("", " ", "²", "١٢", "-1", "1e3", "1e999999999", "9" * 400, DIGITS, "NaN", "0001-01-01T00:00:00Z", "\ud800"),
    *("9999-12-31T23:59:59-23:59", "2026-01-01", ".", "..", "a/../b", "%2e", "x" * 70_000, "True", "Deployment"),
    *([], [None], [[]], ["x"], [{}], {}, {"": ""}, {"a": None}, {"name": 5}, deep(100), deep(3000)),
)


def places(value: Any, levels: int = 30) -> Iterator[tuple[Any, Any]]:
    """Every place of an object, not without end: what holds it, and under which key or index."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        if levels:
            yield from places(value[key], levels - 1)


def spoil(obj: dict[str, Any], random: Random) -> dict[str, Any]:
    """The object with one to three places replaced, removed, wrapped, doubled or renamed."""
    copied = copy.deepcopy(obj)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        listed = list(places(copied))
        if not listed:
            return copied
        holder, key = random.choice(listed)
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2:
                holder[key] = {"a": holder[key]}
            case 3 if isinstance(holder, dict):
                holder[str(random.choice(HOSTILE[15:25]))] = holder.pop(key)
            case _:
                holder[key] = random.choice(HOSTILE)
    return copied
