"""A batch cap is believed when the engine's own figures allow it: one that runs more ignores it, and is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import adopted, manifests

pytestmark = pytest.mark.e2e

LOAD = {"requests_per_second": 12, "output_tokens": 200, "step_seconds": 0.048}
CYCLES = 12


def started(lab: Any, name: str, pool: str, batch: int, **container: Any) -> None:
    """Two replicas of an engine with a first cap of 16 that run `batch` requests each, with others waiting."""
    lab.load(name, batch=batch, **LOAD)
    lab.deployment(name, pool, 2, containers=[manifests.cap_reading_engine(name, **container)])
    batching = {"minSequences": 8, "maxSequences": 16}
    lab.service(name, adopted(name, pool, minReplicas=2, maxReplicas=2, batching=batching), minReplicas=2)
    lab.until(lambda: lab.ready(name) == 2)


def test_an_engine_that_runs_more_than_its_cap_is_told_and_never_restarted_for_it(lab):
    pool = lab.pool(nodes=[4])
    started(lab, "chat", pool, batch=40)

    lab.until(lambda: lab.variant("chat").get("batchReason") == "CapIgnored", 40)
    assert "its cap allows 16" in lab.variant("chat")["batchMessage"]
    assert lab.says("chat", "TargetFound", "True", "CapIgnored")
    assert "batchCap" not in lab.variant("chat")
    lab.until(lambda: any(event["reason"] == "CapIgnored" for event in lab.events("chat")), says="an event")

    # A cap that does not suit, and an interval between changes of 5 s: without the evidence pods would be restarted.
    mark = lab.mark()
    lab.service(
        "chat",
        adopted("chat", pool, minReplicas=2, maxReplicas=2, batching={"mode": "Fixed", "maxSequences": 64}),
        minReplicas=2,
    )
    lab.throughout(CYCLES, lambda: lab.variant("chat")["batchReason"] == "CapIgnored")
    assert not lab.audit(mark, resource="pods/eviction")
    assert not lab.audit(mark, resource="configmaps")


def test_a_cap_behind_a_start_script_is_believed_once_an_engine_is_held_at_it(lab):
    pool = lab.pool(nodes=[4])
    script = {"command": ["/opt/start.sh"], "args": []}
    started(lab, "shy", pool, batch=5, **script)
    started(lab, "full", pool, batch=16, **script)

    lab.until(lambda: lab.variant("shy").get("batchReason") == "CapUnconfirmed", 40)
    lab.until(lambda: lab.variant("full").get("batchCap") == 16, 40)
    assert lab.variant("full")["batchReason"] != "CapUnconfirmed"
    assert "batchCap" not in lab.variant("shy")
