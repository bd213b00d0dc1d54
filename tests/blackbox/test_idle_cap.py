"""Without traffic nothing is learnt and no engine setting changes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

IDLE_CYCLES = 14


def test_traffic_that_ends_moves_neither_cap_nor_believed_capacity(early):
    def settled() -> bool:
        variant = early.variant("early")
        return variant.get("calibration", {}).get("samples", 0) >= 40 and variant["batchReason"] == "BatchCapKept"

    early.until(settled, 120, says="the engine is learnt and its cap chosen")
    early.load("early-a")
    # What was served until now leaves the window of 8 s.
    early.cycles(9)
    mark, before = early.mark(), early.variant("early")

    def unmoved() -> bool:
        now = early.variant("early")
        keys = ("outputTokensPerSecondPerReplica", "calibration", "batchCap")
        return all(now.get(key) == before.get(key) for key in keys)

    early.throughout(IDLE_CYCLES, unmoved, says=f"what was learnt stays: {before}")
    assert not early.audit(mark, resource="configmaps")
    assert not early.audit(mark, resource="pods/eviction")
