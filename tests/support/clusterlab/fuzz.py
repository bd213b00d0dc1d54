"""A stream of objects of the watched kinds that nobody would write on purpose, most of them valid to the API server."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from clusterlab import manifests
from clusterlab.kubelet import Json

TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "²",
    "٣",
    "1e999999",
    "1e308",
    "NaN",
    "Infinity",
    "0x10",
    "1_000",
    "9" * 5000,
    "-" + "9" * 400,
    "null",
    "true",
    "[]",
    "{}",
    '{"a":',
    "../..",
    "%2e%2e",
    "a\tb",
    "\u0000".replace("\u0000", "\u2400"),
    "💥" * 40,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "x" * 20_000,
)
VALUES: tuple[Any, ...] = (None, True, 0, -1, 2**31, 2**53, 2**63 - 1, 1.5, 1e308, [], {}, [[]], *TEXTS)
LABELS = ("", "1", "-", "true", "x" * 63, "9" * 63, "A.b_c", "0001")
KEYS = (
    "deployment.kubernetes.io/revision",
    "pertoken.dev/paused",
    "pertoken.dev/previous",
    "pertoken.dev/changed-at",
    "pertoken.dev/completed",
    "serving.pertoken.dev/service",
    "serving.pertoken.dev/variant",
    "nvidia.com/gpu.count",
    "nvidia.com/gpu.product",
    "leaderworkerset.sigs.k8s.io/name",
    "leaderworkerset.sigs.k8s.io/size",
    "app.kubernetes.io/managed-by",
)
UNTOUCHED = frozenset({"apiVersion", "kind", "name", "namespace", "app"})


def stream(seed: int, count: int, pool: str) -> Iterator[Json]:
    """`count` objects, the same ones for the same seed."""
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    makers = _makers(pool)
    for index in range(count):
        make = makers[index % len(makers)]
        obj = copy.deepcopy(make(f"fuzz-{seed}-{index}"))
        annotate(obj, random)
        if random.random() < 0.5:
            spoil(obj, random)
        yield obj


def annotate(obj: Json, random: Random) -> None:
    """Hostile annotations and labels under keys that somebody reads."""
    meta = obj["metadata"]
    meta.setdefault("annotations", {}).update({random.choice(KEYS): random.choice(TEXTS) for _ in range(2)})
    meta.setdefault("labels", {}).setdefault(random.choice(KEYS), random.choice(LABELS))


def spoil(obj: Json, random: Random) -> None:
    """Replace the value at one place by a hostile one."""
    places = list(_places(obj))
    if places:
        holder, key = random.choice(places)
        holder[key] = random.choice(VALUES)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key not in UNTOUCHED:
            yield value, key
            yield from _places(inner)


def _makers(pool: str) -> tuple[Callable[[str], Json], ...]:
    def pod(name: str) -> Json:
        spec = {"containers": [manifests.engine("--max-num-seqs=16")], "nodeSelector": {"pool": "nowhere"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    def config_map(name: str) -> Json:
        labels = {"app.kubernetes.io/managed-by": "pertoken", "app.kubernetes.io/component": "batch-cap"}
        meta = {"name": f"{name}-batch", "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {manifests.CAP_KEY: "64"}}

    def node(name: str) -> Json:
        spec = {"taints": [{"key": "fuzz", "value": "x", "effect": "NoSchedule"}]}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"pool": pool}}, "spec": spec}

    def deployment(name: str) -> Json:
        return manifests.deployment(name, "nowhere", 0, [manifests.cap_reading_engine(name)])

    def replica_set(name: str) -> Json:
        manifest = deployment(name)
        spec = {key: manifest["spec"][key] for key in ("replicas", "selector", "template")}
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "uid": "x", "controller": True}
        meta = {"name": name, "ownerReferences": [owner]}
        return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec}

    def autoscaler(name: str) -> Json:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}
        meta = {"name": name}
        return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec}

    def adopting(name: str) -> Json:
        return manifests.service(name, manifests.adopted(name, pool, batching={"maxSequences": 64}), mode="Recommend")

    def owning(name: str) -> Json:
        return manifests.service(name, manifests.owned(pool, minReplicas=0), minReplicas=1, mode="Recommend")

    return (adopting, pod, config_map, node, deployment, replica_set, autoscaler, owning, manifests.pool)
