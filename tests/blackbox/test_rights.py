"""What the operator may do and what it does, by the API server's audit log: the same."""

from __future__ import annotations

import time

import pytest
from clusterlab import Lab, adopted, owned
from clusterlab.manifests import cap_reading_engine

pytestmark = pytest.mark.e2e

Right = tuple[str, str, str]  # group, resource with subresource, verb
# Proved where they happen: evictions in test_mid_roll.py, devices in test_device_claims.py, refused pods in
# test_refused_pods.py, routes in tests/kube/test_routes.py; the server asks for finalizers without a request of ours.
ELSEWHERE = {
    ("", "events", "list"),
    ("gateway.networking.k8s.io", "httproutes", "get"),
    ("gateway.networking.k8s.io", "httproutes", "patch"),
    ("serving.pertoken.dev", "modelroutes/status", "patch"),
    ("resource.k8s.io", "resourceslices", "list"),
    ("resource.k8s.io", "deviceclasses", "list"),
    ("resource.k8s.io", "resourceclaims", "list"),
    ("resource.k8s.io", "resourceclaimtemplates", "list"),
    ("", "pods/eviction", "create"),
    ("", "pods", "get"),
    ("serving.pertoken.dev", "inferenceservices/finalizers", "update"),
}
OTHER_TARGETS = ("leaderworkersets", "llminferenceservices")


def granted(lab: Lab) -> set[Right]:
    """By every role that is bound to the operator's account."""
    rights: set[Right] = set()
    for listed in ("clusterrolebindings", "rolebindings"):
        for binding in lab.stack.kubectl.json("get", listed, "-A")["items"]:
            subjects = binding.get("subjects") or []
            if not any((each["kind"], each["name"]) == ("ServiceAccount", "pertoken") for each in subjects):
                continue
            ref = binding["roleRef"]
            where = () if ref["kind"] == "ClusterRole" else ("-n", binding["metadata"]["namespace"])
            for rule in lab.stack.kubectl.json("get", ref["kind"].lower(), ref["name"], *where)["rules"]:
                rights |= {
                    (group, resource, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    return rights


def test_every_right_is_used_and_nothing_is_asked_for_without_one(lab):
    pool = lab.pool(nodes=[8])
    lab.load("mine", requests_per_second=2)
    lab.deployment("mine", pool, 2, containers=[cap_reading_engine("mine")])
    lab.apply(statefulset(pool))
    lab.service("mine", adopted("mine", pool))
    lab.service("set", adopted("set", pool, kind="StatefulSet", minReplicas=2))
    lab.service("own", owned(pool))
    lab.until(lambda: lab.ready("own-a") == 1, 90)
    lab.service("own", owned(pool, "--seed=1"))
    lab.until(lambda: "--seed=1" in str(lab.get("Deployment", "own-a")), 60)
    lab.service("own", {**owned(pool), "name": "b"})
    lab.until(lambda: lab.replicas("own-a") == -1, 90)
    lab.until(lambda: lab.get("ConfigMap", "mine-batch"), 60)

    def unused() -> set[Right]:
        used = {(each.group, each.resource, each.verb) for each in mine(lab)}
        return {right for right in granted(lab) - used - ELSEWHERE if not right[1].startswith(OTHER_TARGETS)}

    deadline = time.monotonic() + 60
    while unused() and time.monotonic() < deadline:
        time.sleep(1)
    assert unused() == set()
    assert [each for each in mine(lab) if not each.allowed] == []


def mine(lab: Lab):
    return [each for each in lab.stack.audit.used() if each.user == "pertoken" and each.resource]


def statefulset(pool: str):
    labels = {"app": "set"}
    engine = cap_reading_engine("set")
    pod = {"nodeSelector": {"pool": pool}, "terminationGracePeriodSeconds": 1, "containers": [engine]}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"}, "spec": spec}
