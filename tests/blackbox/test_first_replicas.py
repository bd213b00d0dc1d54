"""An owned workload begins with no replicas; its first ones come through allocation, like all others, and soon."""

from __future__ import annotations

import pytest
from clusterlab import owned

pytestmark = pytest.mark.e2e


def test_the_first_replicas_are_planned_and_come_soon(lab):
    pool = lab.pool(nodes=[4])
    mark = lab.mark()

    lab.service("chat", owned(pool))

    lab.until(lambda: lab.ready("chat-a") == 1, says="the first replica")
    [creation] = lab.audit(mark, resource="deployments", verb="create")
    assert creation.body["spec"]["replicas"] == 0
    scaled = lab.audit(mark, resource="deployments/scale", name="chat-a")
    assert [write.body["spec"]["replicas"] for write in scaled if write.code == 200] == [1]
    assert all(write.fenced for write in scaled)


def test_a_namespace_without_access_gets_no_replica(lab):
    rule = {"namespaceSelector": {"matchLabels": {"team": "payments"}}}
    pool = lab.pool(nodes=[8], access=[rule])
    mark = lab.mark()

    lab.service("intruder", owned(pool, minReplicas=6), minReplicas=6)

    lab.until(lambda: lab.says("intruder", "Accepted", "False", "AccessDenied"))
    words = lab.condition("intruder", "Accepted")["message"]
    assert pool in words
    assert lab.namespace in words
    lab.cycles(3)
    assert lab.audit(mark, resource="deployments") == []
    assert lab.pods("intruder-a") == []


def test_who_loses_access_is_left_as_it_is(lab):
    rule = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": lab.namespace}}}
    pool = lab.pool(nodes=[4], access=[rule])
    lab.service("chat", owned(pool, minReplicas=2), minReplicas=2)
    lab.until(lambda: lab.ready("chat-a") == 2)

    lab.cluster.patch(
        "AcceleratorPool",
        "",
        pool,
        {"spec": {"access": [{"namespaceSelector": {"matchLabels": {"team": "payments"}}}]}},
    )

    lab.until(lambda: lab.says("chat", "Accepted", "False", "AccessDenied"))
    lab.throughout(4, lambda: lab.replicas("chat-a") == 2, says="running replicas were changed")


def test_more_is_not_made_than_the_pool_allows(lab):
    pool = lab.pool(nodes=[8], maxGPUs=2)

    lab.service("greedy", owned(pool, minReplicas=6), minReplicas=6)

    lab.until(lambda: lab.replicas("greedy-a") == 2)
    lab.throughout(4, lambda: lab.replicas("greedy-a") <= 2, says="more than maxGPUs allows")
