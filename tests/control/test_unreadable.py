"""Objects that cannot be parsed: refused one by one, told, and never taken for less than they are."""

from __future__ import annotations

from typing import Any

import pytest
from watched import DIGITS, RULES, deployment, filled, meta, node, pod, replicaset, service

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.inventory import Inventory, Snapshot
from pertoken.control.survey import survey
from pertoken.control.world import build_world
from pertoken.domain.cluster import WorkloadFact, WorkloadMissing
from pertoken.domain.reasons import Reason
from pertoken.domain.world import PlannerSettings, ServiceView
from pertoken.planner.memory import EMPTY
from pertoken.planner.pipeline import plan


def views(snapshot: Snapshot) -> dict[str, ServiceView]:
    world = build_world(survey(snapshot, RULES), {}, SHIPPED, PlannerSettings())
    plan(world, EMPTY, 1_790_000_000.0)
    return {view.spec.key.name: view for view in world.services}


def put(inventory: Inventory, plural: str, obj: dict[str, Any]) -> Snapshot:
    inventory.put(plural, obj)
    return inventory.snapshot()


def test_a_healthy_snapshot_is_not_in_doubt():
    shown = views(filled().snapshot())
    assert all(isinstance(shown[name].variants[0].workload, WorkloadFact) for name in ("chat", "other"))


@pytest.mark.parametrize(
    ("plural", "obj", "field"),
    [
        ("pods", pod("chat-1-x", containers="none"), "spec.containers"),
        ("pods", pod("chat-1-x", containers=[{"name": "engine", "resources": {"limits": {"a.b/c": DIGITS}}}]), "a.b/c"),
        ("replicasets", replicaset(**{"deployment.kubernetes.io/revision": "²"}), "deployment.kubernetes.io/revision"),
        (
            "replicasets",
            replicaset(**{"deployment.kubernetes.io/revision": DIGITS}),
            "deployment.kubernetes.io/revision",
        ),
        ("deployments", deployment("chat", replicas="many"), "spec.replicas"),
        ("deployments", deployment("chat", replicas=True), "spec.replicas"),
        ("deployments", deployment("chat", template=["x"]), "spec.template"),
        (
            "horizontalpodautoscalers",
            {"metadata": meta("hpa", labels=["x"]), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "chat"}}},
            "metadata.labels",
        ),
    ],
)
def test_what_belongs_to_a_service_and_cannot_be_read_holds_this_service(plural: str, obj: Any, field: str):
    shown = views(put(filled(), plural, obj))
    held = shown["chat"].variants[0].workload
    assert isinstance(held, WorkloadMissing)
    assert held.reason is Reason.OBJECT_UNREADABLE
    assert field in held.why
    if plural != "horizontalpodautoscalers":  # of which not even the target is known
        assert isinstance(shown["other"].variants[0].workload, WorkloadFact)


def test_a_service_in_doubt_keeps_its_replicas_and_says_what_to_mend():
    snapshot = put(filled(), "pods", pod("chat-1-x", containers=[{"resources": {}}]))
    world = build_world(survey(snapshot, RULES), {}, SHIPPED, PlannerSettings())
    planned, _ = plan(world, EMPTY, 1_790_000_000.0)
    decision = next(decision for decision in planned.decisions if decision.service.name == "chat")
    assert [(variant.current, variant.desired) for variant in decision.variants] == [(2, 2)]
    assert decision.conditions["TargetFound"].reason is Reason.OBJECT_UNREADABLE
    assert (
        "Pod team/chat-1-x cannot be read: spec.containers[0].name: missing"
        in decision.conditions["TargetFound"].message
    )
    assert not [action for action in planned.actions if action.service.name == "chat"]


def test_a_pod_that_becomes_unreadable_has_not_vanished_and_its_node_gives_no_room():
    snapshot = put(filled(), "pods", pod("chat-1-x", containers={}))
    assert not snapshot.vanished_pods
    world = build_world(survey(snapshot, RULES), {}, SHIPPED, PlannerSettings())
    assert {node.name: node.schedulable for node in world.pools[0].nodes} == {"gpu-1": False, "gpu-2": True}


def test_a_node_that_cannot_be_read_gives_no_room():
    snapshot = put(filled(), "nodes", node("gpu-1", gpus="1e999999999"))
    assert [fact.name for fact in snapshot.nodes] == ["gpu-2"]


def test_a_pod_of_nobody_disturbs_nobody():
    stray = pod("chat-1-x", containers="none")
    del stray["metadata"]["ownerReferences"]
    stray["metadata"]["uid"] = "uid-stray"
    shown = views(put(filled(), "pods", stray))
    assert isinstance(shown["chat"].variants[0].workload, WorkloadFact)


def test_a_cap_that_cannot_be_read_is_not_known():
    inventory = filled()
    cap = {"metadata": meta("chat-batch"), "data": {"PERTOKEN_MAX_NUM_SEQS": "16"}}
    assert len(put(inventory, "configmaps", cap).caps) == 1
    snapshot = put(inventory, "configmaps", {**cap, "data": {"PERTOKEN_MAX_NUM_SEQS": DIGITS}})
    assert not snapshot.caps
    assert "data.PERTOKEN_MAX_NUM_SEQS" in snapshot.unreadable[0].why


def test_mended_or_deleted_objects_are_no_longer_refused():
    inventory = filled()
    inventory.put("nodes", node("gpu-1", gpus="x"))
    inventory.put("pods", pod("chat-1-x", containers="none"))
    assert {plural: count for plural, count in inventory.unreadable.items() if count} == {"nodes": 1, "pods": 1}
    inventory.put("nodes", node("gpu-1"))
    inventory.drop("pods", pod("chat-1-x"))
    assert not inventory.snapshot().unreadable


def test_a_list_forgets_unreadable_objects_that_are_gone():
    inventory = filled()
    inventory.put("pods", pod("chat-1-x", containers="none"))
    inventory.finish_resync(inventory.begin_resync("pods"), [pod("chat-1-y")])
    assert not inventory.snapshot().unreadable


def test_an_unreadable_object_is_told_once(caplog: pytest.LogCaptureFixture):
    inventory = filled()
    for _ in range(3):
        inventory.put("nodes", node("gpu-1", gpus="x"))
    assert [line for line in caplog.messages if "Node gpu-1 cannot be read" in line] == [
        'Node gpu-1 cannot be read: nvidia.com/gpu: "x": a Kubernetes quantity such as 8, 500m or 1Gi'
    ]


NOTHINGS = (None, [], "x", {}, {"metadata": None}, {"metadata": []}, {"metadata": {"uid": 5}})


@pytest.mark.parametrize("obj", [*NOTHINGS, {"metadata": {"name": int(DIGITS[:4300]) ** 2}}])
def test_nothing_at_all_is_refused_too(obj: Any):
    inventory = filled()
    for plural in inventory.plurals:
        inventory.put(plural, obj)
        inventory.finish_resync(inventory.begin_resync(plural), [obj])
        assert inventory.unreadable[plural] == 1
        inventory.drop(plural, obj)
        assert inventory.unreadable[plural] == 0


def test_a_service_that_cannot_be_translated_hears_of_it_in_its_own_condition():
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    template = {"spec": {"containers": [{"name": "engine", "x": deep}]}}
    variant = {"name": "a", "pool": "pool", "podTemplate": template}
    snapshot = put(filled(), "inferenceservices", service("chat", variants=[variant]))
    surveyed = survey(snapshot, RULES)
    assert surveyed.refusals["uid-chat"].reason is Reason.INVALID_SPEC
    assert [known.key.name for known in surveyed.services] == ["other"]
