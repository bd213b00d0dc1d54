"""An engine's own limit on its batch counts, whoever set it; a growing queue scales up whatever the model believes."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

# 16 sequences at 48 ms a token are 334 tokens/s; the model of the hardware alone would believe in thousands.
DELIVERED = 334
SMALL = {"output_tokens": 200, "step_seconds": 0.048, "batch": 16}
LOADED = ("QueueBacklog", "DemandRose", "LatencyAtRisk", "ScaleUpLimited")

# Of a service: what its engines' arguments say of the cap. A start script of the image may set it unseen.
TOLD = {"told": ("--max-num-seqs=16",), "unseen": ()}


def test_a_small_batch_is_believed_and_its_queue_scales_up(lab):
    pool = lab.pool(nodes=[8, 8])
    for name, arguments in TOLD.items():
        lab.load(name, requests_per_second=1, **SMALL)
        lab.deployment(name, pool, 2, *arguments)
        lab.service(name, adopted(name, pool, minReplicas=1, maxReplicas=8))
    lab.until(lambda: all(lab.says(name, "MetricsAvailable", "True") for name in TOLD), 40)

    for name in TOLD:
        lab.load(name, requests_per_second=12, **SMALL)  # two replicas take 3.3, eight 13.3

    lab.until(lambda: all(lab.replicas(name) >= 4 for name in TOLD), 60, says="the queues scale up")
    lab.until(lambda: all(_scaled_by_load(lab, name) for name in TOLD), says="an event says why")
    # What full replicas deliver comes in cycle by cycle; the model alone would stay at four times this.
    lab.until(lambda: all(_believed(lab, name) <= 3 * DELIVERED for name in TOLD), 40, says="the model is not believed")


def _scaled_by_load(lab, name: str) -> bool:
    notes = [event["note"] for event in lab.events(name) if event["reason"] == "ReplicasIncreased"]
    return any(reason in note for note in notes for reason in LOADED)


def _believed(lab, name: str) -> float:
    return float(lab.variant(name)["outputTokensPerSecondPerReplica"])
