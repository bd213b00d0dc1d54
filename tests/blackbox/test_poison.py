"""Objects that any user may write and nobody can read: each is refused by itself, all others go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from clusterlab import Lab, adopted, engine, owned
from clusterlab.manifests import CAP_KEY, service

from pertoken_sandbox.kubectl import KubectlFailed

pytestmark = pytest.mark.e2e

DIGITS = "9" * 5000
MANAGED = {"app.kubernetes.io/managed-by": "pertoken"}


def config_map() -> dict[str, Any]:
    meta = {"name": "poison-batch", "labels": MANAGED}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {CAP_KEY: DIGITS}}


def replica_set() -> dict[str, Any]:
    meta = {"name": "poison-1", "annotations": {"deployment.kubernetes.io/revision": "²"}}
    labels = {"app": "poison"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [engine()]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec}


def nested(lab: Lab, name: str, pool: str, levels: int) -> str:
    """A service whose template is nested so deep that only its text can be handled here."""
    manifest = service(name, owned(pool, pod={"volumes": "MARK"}))
    manifest["metadata"]["namespace"] = f"{lab.namespace}-deep"
    return json.dumps(manifest).replace('"MARK"', '{"a":' * levels + "1" + "}" * levels)


def accepted(lab: Lab, namespace: str, name: str) -> str:
    """What a service's Accepted condition says; its JSON is too deep for Python."""
    path = "jsonpath={.status.conditions[?(@.type=='Accepted')].message}"
    return lab.stack.kubectl("get", "ptis", name, "-n", namespace, "-o", path)


@pytest.fixture
def poisoned(lab: Lab) -> Iterator[str]:
    """Every poison in the cluster; returns the pool."""
    pool = lab.pool(nodes=[4])
    deep = f"{lab.namespace}-deep"
    lab.stack.kubectl("create", "namespace", deep)
    lab.stack.kubectl("label", "namespace", deep, "pertoken.dev/owned-workloads=enabled")
    lab.apply(config_map(), replica_set())
    lab.service("tag", owned(pool, pod={"containers": [engine(image=f"vllm/vllm-openai:v{DIGITS}.1")]}, maxReplicas=1))
    for levels in (300, 900, 4000):
        text = nested(lab, f"deep-{levels}", pool, levels)
        lab.stack.kubectl("create", "--validate=false", "-f", "-", stdin=text)
    yield pool
    lab.stack.kubectl("delete", "namespace", deep, "--wait=false")


def test_poison_is_refused_and_a_healthy_service_beside_it_scales(lab: Lab, poisoned: str):
    failed, deep = lab.operator.cycles("failed"), f"{lab.namespace}-deep"
    lab.load("chat", requests_per_second=2, output_tokens=200)
    lab.deployment("chat", poisoned, 1)
    lab.service("chat", adopted("chat", poisoned, maxReplicas=3))
    lab.until(lambda: lab.says("chat", "Ready", "True"), 40)
    for kind in ("configmaps", "replicasets"):
        assert lab.operator.value("pertoken_objects_refused", kind=kind)
    for name in (f"deep-{levels}" for levels in (300, 900, 4000)):
        lab.until(lambda name=name: "at most 64 levels" in accepted(lab, deep, name))
    assert lab.operator.cycles("failed") == failed

    lab.operator.restart()
    lab.until(lambda: lab.operator.get("/readyz")[0] == 200, 60)
    lab.load("chat", requests_per_second=30, output_tokens=200, step_seconds=0.04, batch=64)
    lab.until(lambda: lab.replicas("chat") > 1, 40)
    assert lab.operator.cycles("failed") == 0
    assert not lab.operator.tracebacks()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"model": {"id": "own", "architecture": {"numHiddenLayers": 200_000_000}}}, "numHiddenLayers"),
        ({"variants": [adopted(".", "pool")]}, "scaleTargetRef.name"),
        ({"variants": [adopted("..", "pool")]}, "scaleTargetRef.name"),
        ({"variants": [adopted("a/../b", "pool")]}, "scaleTargetRef.name"),
        ({"variants": [adopted("a%2fb", "pool")]}, "scaleTargetRef.name"),
        ({"variants": [adopted("a", "pool", kind="../deployments")]}, "scaleTargetRef.kind"),
    ],
    ids=["layers", "dot", "dots", "slash", "escape", "kind"],
)
def test_what_a_schema_can_bound_does_not_enter_the_cluster(lab: Lab, spec: dict[str, Any], field: str):
    figures = {"hiddenSize": 1, "numAttentionHeads": 1, "intermediateSize": 1, "vocabSize": 1}
    if "model" in spec:
        spec["model"]["architecture"].update(figures)
    manifest = service("poison", adopted("chat", "pool"))
    manifest["spec"].update(spec)
    with pytest.raises(KubectlFailed, match=field.replace(".", r"\.")):
        lab.apply(manifest)
