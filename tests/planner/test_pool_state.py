"""A pool's free room: what holds it, what is refused, and for whom."""

from dataclasses import replace

import pytest
from lab import node, pool_spec, ref, service_spec, variant_spec
from states import pool_state

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact
from pertoken.domain.identity import PodKey
from pertoken.domain.pool import AccessRule
from pertoken.domain.world import PoolView, ServiceView, VariantView, World
from pertoken.planner.pool_state import pool_states

TEAM_A = AccessRule((("team", "a"),), max_gpus=4)


TEAM_B = AccessRule((("team", "b"),), guaranteed_gpus=6)


@pytest.mark.parametrize(
    ("pool", "gpus", "labels", "words"),
    [
        (pool_state((8,)), 8, {}, ""),
        (pool_state((4, 3)), 4, {}, ""),
        (pool_state((3, 3)), 4, {}, "no node with 4 free GPUs (6 of 6 free)"),
        (pool_state(max_gpus=2, committed={-1: 2}), 1, {}, "maxGPUs 2"),
        (pool_state(access=(TEAM_A,), committed={0: 3}), 2, {"team": "a"}, "may use 4 GPUs"),
        (pool_state(access=(TEAM_A, TEAM_B)), 4, {"team": "a"}, "guaranteed to other namespaces"),
        (pool_state(access=(TEAM_A, TEAM_B)), 2, {"team": "a"}, ""),
        (pool_state(access=(TEAM_A, TEAM_B)), 6, {"team": "b"}, ""),
    ],
    ids=[
        "all",
        "one node",
        "split",
        "ceiling",
        "namespace ceiling",
        "guarantee",
        "beside a guarantee",
        "own guarantee",
    ],
)
def test_refusals(pool, gpus, labels, words):
    rule = pool.rule_of(labels)
    refusal = pool.refusal(gpus, rule)

    assert words in refusal
    assert bool(refusal) == bool(words)


@pytest.mark.parametrize(
    ("free", "pods", "words"),
    [
        ((8, 8), (8, 8), ""),
        ((8, 8, 0), (0, 8, 8), ""),
        ((8, 7), (8, 8), "no room for pods of 2 x 8 GPUs (15 of 15 free)"),
        ((4, 2, 2), (4, 2, 2), ""),
        ((4, 3), (4, 2, 2), "no room for pods of 4 + 2 x 2 GPUs"),
        ((8,), (4, 4), ""),
    ],
)
def test_pods_of_a_group_may_be_on_different_nodes(free, pods, words):
    pool = pool_state(free)
    refusal = pool.refusal(sum(pods), -1, pods=pods)

    assert words in refusal
    assert bool(refusal) == bool(words)
    if not words:
        taken = pool.take(sum(pods), -1, pods=pods)
        assert sorted(seat.units for seat in taken) == sorted(units for units in pods if units)
        assert sum(pool.free.values()) == sum(free) - sum(pods)
        assert pool.committed == {-1: sum(pods)}


def test_room_is_kept_for_the_groups_that_are_still_to_come():
    pods = [foreign(f"g0-{index}", "n", 1 if index else 0, group="0") for index in range(3)]
    workload = WorkloadFact(ref("chat-a100"), "u", 2, 2, pod_gpus=(0, 1, 1))
    service = ServiceView(service_spec(), (VariantView(variant_spec(), workload, tuple(pods)),))
    pool = pool_states(world_of([node("n", 8)], [], [service]))["a100"]

    assert sum(pool.free.values()) == 8 - 2 - 2


@pytest.mark.parametrize(
    ("failure", "absent", "free"), [("", (), 4), ("exceeded quota", (), 7), ("", {("llm/chat", "a100")}, 7)]
)
def test_no_room_is_kept_for_replicas_that_nobody_makes(failure, absent, free):
    service = owned(4, [foreign("q", "n", 1)])
    variant = service.variants[0]
    view = replace(service, variants=(replace(variant, workload=replace(variant.workload, failure=failure)),))
    pool = pool_states(world_of([node("n", 8)], [], [view]), absent)["a100"]

    assert sum(pool.free.values()) == free


def test_a_namespace_without_rule_has_no_access():
    assert pool_state(access=(TEAM_A,)).rule_of({"team": "c"}) is None
    assert pool_state().rule_of({}) == -1


def foreign(name, on=None, gpus=1, **changes):
    fact = PodFact(
        PodKey("other", name), f"uid-{name}", {"nvidia.com/gpu": gpus}, node=on, bound_at=None if on is None else 1.0
    )
    return replace(fact, **changes)


def world_of(nodes, pods=(), services=(), **pool):
    spec = pool_spec(**pool)
    view = PoolView(spec, tuple(node for node in nodes if spec.selects(node.labels)))
    return World(tuple(services), (view,), tuple(pods), {}, SHIPPED)


@pytest.mark.parametrize(
    ("nodes", "pods", "pool", "free"),
    [
        ([node("n", 8)], [foreign("x", "n", 3)], {}, 5),
        ([node("n", 8), node("m", 8, schedulable=False)], [], {}, 8),
        ([node("n", 8)], [foreign("x", "n", 3, deleted_at=5.0), foreign("y", "n", 2, finished=True)], {}, 8),
        ([node("n", 8)], [foreign("x", "n", 3, terminating=True)], {}, 5),
        ([node("n", 8)], [foreign("x", None, 3)], {}, 5),
        ([node("n", 8)], [foreign("x", None, 3, unschedulable_since=1.0)], {}, 8),
        ([node("n", 8)], [foreign("x", None, 9)], {}, 8),
        ([node("n", 8), node("m", 8)], [], {"capacity_gpus": 10}, 10),
        ([], [], {"capacity_gpus": 10, "node_selector": ()}, 10),
        ([NodeFact("n", {"pool": "a100"}, {"amd.com/gpu": 8})], [], {}, 0),
    ],
    ids=[
        "others' pods count", "cordoned nodes do not", "gone pods do not", "terminating pods do", "waiting pods will",
        "hopeless pods do not", "too large pods do not", "fixed capacity below the nodes'", "no nodes",
        "other resource",
    ],
)  # fmt: skip
def test_free_gpus(nodes, pods, pool, free):
    pool_now = pool_states(world_of(nodes, pods, **pool))["a100"]

    assert sum(pool_now.free.values()) == free


def owned(replicas, pods, gpus=1):
    workload = WorkloadFact(ref("chat-a100"), "u", replicas, gpus)
    return ServiceView(service_spec(), (VariantView(variant_spec(), workload, tuple(pods)),))


def test_promised_and_pending_replicas_keep_their_room():
    pending = foreign("p", None, 2)
    pool = pool_states(world_of([node("n", 8)], [], [owned(3, [pending, foreign("q", "n", 2)], gpus=2)]))["a100"]

    assert sum(pool.free.values()) == 2
    assert (pool.pending, pool.held, pool.used) == (2, 2, 2)
    figures = pool.figures()
    assert (figures.total, figures.free, figures.placeable) == (8, 6, 2)
    assert figures.spend_per_hour_usd == 4.0


def test_a_pool_without_nodes_counts_its_own_pods():
    pool = pool_states(world_of([], [], [owned(1, [foreign("q", "n", 2)])], capacity_gpus=8, node_selector=()))["a100"]

    assert (pool.used, sum(pool.free.values())) == (2, 6)


def test_a_copy_is_used_up_by_itself():
    pool = pool_state((4, 4))
    copied = pool.copied()
    copied.take(3, -1)

    assert (sum(pool.free.values()), sum(copied.free.values())) == (8, 5)
    assert (pool.committed, copied.committed) == ({}, {-1: 3})
