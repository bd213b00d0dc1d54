"""The laboratory itself: a loaded service scales up, and the audit log shows how."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e


def test_a_loaded_service_scales_up_by_a_fenced_write(lab):
    pool = lab.pool(nodes=[4])
    lab.load("chat", requests_per_second=2, output_tokens=200)
    lab.deployment("chat", pool, 1)
    lab.service("chat", adopted("chat", pool))
    lab.until(lambda: lab.ready("chat") == 1)
    lab.until(lambda: lab.says("chat", "Ready", "True"))
    mark = lab.mark()

    lab.load("chat", requests_per_second=30, output_tokens=200, step_seconds=0.04, batch=64)

    lab.until(lambda: lab.replicas("chat") > 1, 40)
    lab.until(lambda: lab.ready("chat") > 1)
    writes = lab.audit(mark, resource="deployments/scale", name="chat")
    assert writes
    assert {write.code for write in writes} <= {200, 409}
    assert all(write.fenced for write in writes), [write.body for write in writes]
