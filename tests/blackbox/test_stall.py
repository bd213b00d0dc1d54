"""A stall objective is judged by the gaps between tokens that engines show in Prometheus."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e


def test_gaps_between_tokens_are_held_against_the_stall_objective(lab):
    pool = lab.pool(nodes=[4])
    lab.deployment("chat", pool)
    lab.load("chat", requests_per_second=4, output_tokens=100, step_seconds=0.04)
    latency = {"ttftMilliseconds": 4000, "stallMilliseconds": 300}
    lab.service("chat", adopted("chat", pool, maxReplicas=2), objective={"latency": latency})
    lab.until(lambda: lab.says("chat", "WithinLatencyTarget", "True", "WithinLatencyTarget"), 40.0)

    assert "gap between tokens" in lab.condition("chat", "WithinLatencyTarget")["message"]
    shown = lab.status("chat")["latency"]
    assert 20 <= float(shown["stallMilliseconds"]) <= 100
    assert lab.condition("chat", "Accepted")["reason"] != "FieldsNotActedOn"

    lab.load("chat", requests_per_second=4, output_tokens=100, step_seconds=0.7)
    lab.until(lambda: lab.says("chat", "WithinLatencyTarget", "False"), 40.0)
