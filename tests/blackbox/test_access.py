"""A pool's `access` and ceilings stand before every replica, minimums included; `maxPriority` acts."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

BUSY = {"requests_per_second": 200, "step_seconds": 0.04, "batch": 64, "waiting": 500}


def mine(lab, **rule):
    """An access entry for the lab's namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": lab.namespace}}, **rule}


def test_ceilings_and_access_stand_before_every_replica(lab):
    closed = lab.pool("closed", nodes=[8], access=[{"namespaceSelector": {"matchLabels": {"team": "nobody"}}}])
    small = lab.pool("small", nodes=[8], access=[mine(lab, maxGPUs=2)])
    for name, pool, least in (("barred", closed, 1), ("greedy", small, 6)):
        lab.deployment(name, pool, 1)
        lab.load(name, **BUSY)
        lab.service(name, adopted(name, pool, minReplicas=least))

    lab.until(lambda: lab.replicas("greedy") == 2, says="a minimum is given as far as the ceiling lets it")
    lab.until(lambda: lab.says("barred", "Accepted", "False", "AccessDenied"))
    lab.until(lambda: "may use 2 GPUs" in lab.condition("greedy", "ScalingLimited").get("message", ""))
    lab.throughout(5, lambda: (lab.replicas("barred"), lab.replicas("greedy")) == (1, 2))
    assert lab.namespace in lab.condition("barred", "Accepted")["message"]


def test_a_priority_counts_for_no_more_than_access_lets_it(lab):
    pool = lab.pool(nodes=[4], access=[mine(lab, maxPriority=10)])
    for name, replicas, priority in (("low", 3, 10), ("high", 1, 1000)):
        lab.deployment(name, pool, replicas)
        lab.load(name, **BUSY)
        lab.service(name, adopted(name, pool), priority=priority)
    lab.until(lambda: (lab.ready("low"), lab.ready("high")) == (3, 1))

    told = "priority 1000 counts as 10"
    lab.until(lambda: told in lab.condition("high", "ScalingLimited").get("message", ""))
    lab.throughout(8, lambda: lab.replicas("low") == 3, says="nothing is taken between equal priorities")
