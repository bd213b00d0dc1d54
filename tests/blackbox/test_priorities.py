"""Priorities are strict: what a higher one lacks is drained from lower ones down to their minimums, and told."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

BUSY = {"requests_per_second": 200, "step_seconds": 0.04, "batch": 64, "waiting": 500}


def test_a_loaded_service_drains_one_with_less_priority_down_to_its_minimum(lab):
    pool = lab.pool(nodes=[3, 2])
    for name, replicas, least, priority in (("low", 4, 2, 0), ("high", 1, 1, 100)):
        lab.deployment(name, pool, replicas)
        lab.load(name, **(BUSY if name == "low" else {"requests_per_second": 2}))
        lab.service(name, adopted(name, pool, minReplicas=least), priority=priority)
    lab.until(lambda: (lab.ready("low"), lab.ready("high")) == (4, 1))
    lab.until(lambda: lab.says("low", "Ready", "True"))
    assert lab.replicas("low") == 4
    mark = lab.mark()

    lab.load("high", **BUSY)

    lab.until(lambda: lab.says("low", "ScalingLimited", "True", "ReclaimedForPriority"))
    words = f"reclaimed from {lab.namespace}/low (priority 0)"
    lab.until(lambda: words in lab.condition("high", "ScalingLimited").get("message", ""))
    lab.until(lambda: lab.replicas("high") == 3, 90)
    lab.until(lambda: lab.ready("high") == 3)
    lab.throughout(5, lambda: lab.replicas("low") == 2, says="the loser keeps its minimum and does not grow back")
    assert any(event["reason"] == "ReclaimedForPriority" for event in lab.events("low"))
    steps = [write.body["spec"]["replicas"] for write in lab.audit(mark, resource="deployments/scale", name="low")]
    assert steps == [3, 2]
