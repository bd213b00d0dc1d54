"""Placement asks what the scheduler asks: a taint closes a node to those who do not tolerate it, and to nobody else."""

from __future__ import annotations

import pytest
from clusterlab import NodeSpec, adopted

pytestmark = pytest.mark.e2e

SKU = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
AT_ONCE = {"scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 1}]}}
BUSY = {"requests_per_second": 400, "step_seconds": 0.04, "batch": 64, "waiting": 7000}


def test_tainted_nodes_serve_those_who_tolerate_them_and_others_are_told(lab):
    pool = lab.pool(nodes=[1, NodeSpec(8, taints=(SKU,)), NodeSpec(4, taints=(SKU,))])
    lab.deployment("plain", pool, 1)
    lab.load("plain", **BUSY)
    lab.service("plain", adopted("plain", pool), behavior=AT_ONCE)
    lab.until(lambda: lab.ready("plain") == 1)

    tolerated = [{"key": "nvidia.com/gpu", "operator": "Exists"}, {"operator": "Equal", **SKU}]
    lab.deployment("chat", pool, 2, tolerations=tolerated)
    lab.load("chat", **BUSY)
    lab.service("chat", adopted("chat", pool, maxReplicas=12), behavior=AT_ONCE)

    lab.until(lambda: lab.replicas("chat") == 12, 40)
    lab.until(lambda: lab.ready("chat") == 12)
    told = "taint sku=gpu:NoSchedule is not tolerated"
    lab.until(lambda: told in lab.condition("plain", "ScalingLimited").get("message", ""))
    assert lab.says("plain", "ScalingLimited", "True", "PoolExhausted")
    assert lab.replicas("plain") == 1
