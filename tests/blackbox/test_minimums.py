"""Pods that no node takes are given up, but not below what the service is to keep."""

from __future__ import annotations

import pytest
from clusterlab import adopted
from clusterlab.manifests import engine

pytestmark = pytest.mark.e2e


def test_unschedulable_pods_are_withdrawn_down_to_the_services_minimum(lab):
    pool = lab.pool(nodes=[8], provisioningSeconds=2)
    # A need that a count of free GPUs does not show: the scheduler refuses the pods.
    huge = engine()
    huge["resources"] = {"limits": huge["resources"]["limits"], "requests": {"cpu": "10k"}}
    lab.deployment("chat", pool, 4, containers=[huge])
    lab.service("chat", adopted("chat", pool, minReplicas=0), minReplicas=2)

    lab.until(lambda: lab.replicas("chat") <= 2, says="the pods that no node takes are withdrawn")
    lab.throughout(8, lambda: lab.replicas("chat") == 2, says="the service keeps its minimum")
