"""Metrics that are lost in mid-roll: what serves is held."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e


def test_metrics_lost_in_mid_roll_keep_the_extra_replica(early):
    lab, workload = early, "roll-a"
    lab.until(lambda: lab.says("roll", "MetricsAvailable", "True", "MetricsFresh"), 60)
    lab.until(lambda: lab.ready(workload) == 1)
    old = lab.pods(workload)[0]["metadata"]["uid"]

    lab.cluster.patch("InferenceService", lab.namespace, "roll", {"spec": {"variants": _with_cap(lab, 96)}})
    lab.until(lambda: lab.ready(workload) == 2, 60, says="one extra replica for the roll")
    lab.behave(workload, start_seconds=8)
    lab.until(lambda: old not in {pod["metadata"]["uid"] for pod in lab.pods(workload)}, 40, says="the old pod goes")
    # Its successor is still starting: the roll would end, and give up the extra replica, without seeing anything.
    lab.silence(workload)

    lab.until(lambda: lab.says("roll", "MetricsAvailable", "False"))
    lab.until(lambda: lab.ready(workload) == 2)
    lab.throughout(5, lambda: lab.replicas(workload) == 2, says="what serves is held, the extra replica included")
    lab.silence(workload, silent=False)
    lab.until(lambda: lab.replicas(workload) == 1, 60, says="the roll ends without the extra replica")


def _with_cap(lab, cap: int) -> list:
    variants = lab.get("InferenceService", "roll")["spec"]["variants"]
    return [{**variant, "batching": {**variant["batching"], "maxSequences": cap}} for variant in variants]
