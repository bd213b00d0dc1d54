"""Whether a node takes a pod: the scheduler's own cases."""

from dataclasses import replace

import pytest
from lab import Deployment, plant, pool_spec, ref, service_spec, variant_spec

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact
from pertoken.domain.identity import PodKey
from pertoken.domain.placement import ANYWHERE, NodeTerm, PlacementRules, Requirement, Taint, Toleration
from pertoken.domain.reasons import Reason
from pertoken.domain.world import PoolView, ServiceView, VariantView, World
from pertoken.planner.placement import obstacle, tolerates
from pertoken.planner.pool_state import pool_states

SKU = Taint("sku", "NoSchedule", "gpu")
GPU = "nvidia.com/gpu"


def node(*taints, name="n", schedulable=True, **labels):
    return NodeFact(name, {"pool": "a100", **labels}, {GPU: 4}, schedulable, taints)


@pytest.mark.parametrize(
    ("toleration", "taint", "covered"),
    [
        (Toleration("sku", "Equal", "gpu", "NoSchedule"), SKU, True),
        (Toleration("sku", "Equal", "gpu"), SKU, True),
        (Toleration("sku", "", "gpu"), SKU, True),
        (Toleration("sku", "Equal", "cpu"), SKU, False),
        (Toleration("sku", "Exists"), SKU, True),
        (Toleration("sku", "Exists", effect="NoExecute"), SKU, False),
        (Toleration("", "Exists"), SKU, True),
        (Toleration("", "Exists", effect="NoExecute"), SKU, False),
        (Toleration("other", "Exists"), SKU, False),
        (Toleration("sku", "Almost", "gpu"), SKU, False),
        (Toleration("tier", "Gt", "3"), Taint("tier", "NoSchedule", "5"), True),
        (Toleration("tier", "Gt", "5"), Taint("tier", "NoSchedule", "5"), False),
        (Toleration("tier", "Lt", "9"), Taint("tier", "NoSchedule", "²"), False),
    ],
)
def test_tolerations(toleration, taint, covered):
    assert tolerates(toleration, taint) is covered


def term(*labels, fields=()):
    return NodeTerm(tuple(labels), tuple(fields))


def need(key, operator, *values):
    return Requirement(key, operator, values)


NAME = "metadata.name"


@pytest.mark.parametrize(
    ("node_fact", "rules", "words"),
    [
        (node(), ANYWHERE, ""),
        (node(SKU), ANYWHERE, "taint sku=gpu:NoSchedule is not tolerated"),
        (node(SKU), PlacementRules((Toleration("sku", "Exists"),)), ""),
        (node(replace(SKU, effect="NoExecute")), ANYWHERE, "taint"),
        (node(replace(SKU, effect="PreferNoSchedule")), ANYWHERE, ""),
        (
            node(SKU, Taint("team", "NoSchedule")),
            PlacementRules((Toleration("sku", "Exists"),)),
            "taint team:NoSchedule",
        ),
        (node(Taint(GPU, "NoSchedule", "present")), ANYWHERE, ""),
        (node(schedulable=False), PlacementRules((Toleration("", "Exists"),)), "not ready"),
        (node(disk="ssd"), PlacementRules(node_selector=(("disk", "ssd"),)), ""),
        (node(disk="hdd"), PlacementRules(node_selector=(("disk", "ssd"),)), "nodeSelector disk=ssd"),
        (node(), PlacementRules(node_name="m"), "nodeName is m"),
        (node(zone="a"), PlacementRules(affinity=(term(need("zone", "In", "a", "b")),)), ""),
        (node(zone="c"), PlacementRules(affinity=(term(need("zone", "In", "a", "b")),)), "affinity"),
        (node(zone="c"), PlacementRules(affinity=(term(need("zone", "In", "a")), term(need("zone", "Exists")))), ""),
        (node(zone="c"), PlacementRules(affinity=(term(need("zone", "NotIn", "c")),)), "affinity"),
        (node(), PlacementRules(affinity=(term(need("zone", "NotIn", "c")),)), ""),
        (node(), PlacementRules(affinity=(term(need("zone", "DoesNotExist")),)), ""),
        (node(zone="a"), PlacementRules(affinity=(term(need("zone", "DoesNotExist")),)), "affinity"),
        (node(gen="9"), PlacementRules(affinity=(term(need("gen", "Gt", "8")),)), ""),
        (node(gen="10"), PlacementRules(affinity=(term(need("gen", "Lt", "9")),)), "affinity"),
        (node(gen="9" * 5000), PlacementRules(affinity=(term(need("gen", "Gt", "8")),)), "affinity"),
        (node(gen="²"), PlacementRules(affinity=(term(need("gen", "Gt", "1")),)), "affinity"),
        (node(), PlacementRules(affinity=(term(need("zone", "Roughly", "c")),)), "affinity"),
        (node(), PlacementRules(affinity=(term(fields=[need(NAME, "In", "n")]),)), ""),
        (node(), PlacementRules(affinity=(term(fields=[need(NAME, "NotIn", "n")]),)), "affinity"),
        (node(), PlacementRules(affinity=(term(fields=[need("metadata.uid", "In", "n")]),)), "affinity"),
        (node(), PlacementRules(affinity=(NodeTerm(),)), "affinity"),
        (node(), PlacementRules(affinity=()), "affinity"),
    ],
)
def test_obstacles(node_fact, rules, words):
    why = obstacle(node_fact, rules)

    assert words in why
    assert bool(why) == bool(words)


TOLERANT = PlacementRules((Toleration("sku", "Equal", "gpu", "NoSchedule"),))


def world_with(rules, nodes, pods=(), replicas=0):
    workload = WorkloadFact(ref("chat-a100"), "u", replicas, 1, placement=rules)
    view = ServiceView(service_spec(), (VariantView(variant_spec(), workload, ()),))
    return World((view,), (PoolView(pool_spec(), tuple(nodes)),), tuple(pods), {}, SHIPPED)


def test_a_closed_node_is_free_for_those_who_may_use_it():
    state = pool_states(world_with(TOLERANT, [node(SKU)]))["a100"]

    assert state.refusal(4, -1, TOLERANT) == ""
    assert "nodes closed to these pods: 1 (taint sku=gpu:NoSchedule is not tolerated)" in state.refusal(1, -1)
    assert (state.figures().free, state.figures().placeable) == (4, 4)
    assert pool_states(world_with(ANYWHERE, [node(SKU)]))["a100"].figures().placeable == 0


def test_pods_on_a_tainted_node_hold_it_whoever_owns_them():
    running = PodFact(PodKey("other", "x"), "x", {GPU: 3}, node="n", bound_at=1.0)
    state = pool_states(world_with(TOLERANT, [node(SKU)], [running]))["a100"]

    assert state.refusal(1, -1, TOLERANT) == ""
    assert "1 of 4 free" in state.refusal(2, -1, TOLERANT)


@pytest.mark.parametrize(("selector", "left"), [((("disk", "ssd"),), 4), ((), 1)], ids=["elsewhere", "anywhere"])
def test_a_strangers_waiting_pod_takes_room_only_where_it_may_run(selector, left):
    waiting = PodFact(PodKey("other", "x"), "x", {GPU: 3}, placement=PlacementRules(node_selector=selector))
    state = pool_states(world_with(ANYWHERE, [node()], [waiting]))["a100"]

    assert sum(state.free.values()) == left


def test_what_cannot_be_known_is_not_refused_by_the_count_but_by_ceilings():
    elsewhere = PlacementRules(unknown=("scheduler volcano",))
    state = pool_states(world_with(elsewhere, [node(SKU)]))["a100"]
    capped = pool_states(world_with(elsewhere, [node(SKU)], replicas=2))["a100"]
    capped.spec = pool_spec(max_gpus=2)

    assert state.refusal(8, -1, elsewhere) == ""
    assert "maxGPUs 2" in capped.refusal(1, -1, elsewhere)


def tainted(rules):
    fleet = plant(rate=60, replicas=2, gpus=16)
    fleet.nodes = [replace(node, taints=(SKU,)) for node in fleet.nodes]
    spec = fleet.deployments["chat"].spec
    fleet.deployments["chat"] = Deployment(spec, 2, manager="kubectl", placement=rules)
    return fleet


def test_tolerant_pods_scale_on_tainted_nodes():
    fleet = tainted(TOLERANT)
    fleet.run(300)

    assert fleet.replicas() > 4


def test_other_pods_do_not_and_the_taint_is_named():
    fleet = tainted(ANYWHERE)
    fleet.run(300)
    limit = fleet.decision().conditions["ScalingLimited"]

    assert fleet.replicas() == 2
    assert limit.reason is Reason.POOL_EXHAUSTED
    assert "taint sku=gpu:NoSchedule is not tolerated" in limit.message


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (PlacementRules(unknown=("scheduler volcano",)), "left to the scheduler: scheduler volcano"),
        (
            PlacementRules(narrowed_by=("required pod anti-affinity",)),
            "upper bound for a100: required pod anti-affinity",
        ),
    ],
    ids=["unknown", "upper bound"],
)
def test_doubts_about_places_are_told(rules, words):
    fleet = plant(rate=5)
    fleet.deployments["chat"].placement = rules
    fleet.run(60)

    assert words in fleet.decision().conditions["ScalingLimited"].message
    assert any(step.reason is Reason.PLACEMENT_UNKNOWN for step in fleet.decision().trace)
