"""A variant that is renamed: the old workload serves until the new one does, then everything of it goes."""

from __future__ import annotations

import pytest
from clusterlab import owned

pytestmark = pytest.mark.e2e


def test_a_renamed_variants_workload_serves_until_the_new_one_does_and_is_deleted_then(lab):
    pool = lab.pool(nodes=[4])
    lab.load("chat-a", requests_per_second=2)
    lab.service("chat", owned(pool))
    lab.until(lambda: lab.ready("chat-a") == 1, 60)
    mark = lab.mark()

    lab.service("chat", {**owned(pool), "name": "b"})

    lab.until(lambda: lab.says("chat", "TargetFound", "True", "VariantRemoved"))
    lab.until(lambda: lab.replicas("chat-a") == -1, 60)
    gone = [write.resource for write in lab.audit(mark, verb="delete")]
    assert gone == ["services", "poddisruptionbudgets", "configmaps", "deployments"]
    assert lab.ready("chat-b") >= 1, "something served before the old one went"
    assert not [write for write in lab.audit(mark, verb="delete") if write.name.startswith("chat-b")]
    lab.until(lambda: lab.says("chat", "TargetFound", "True", "TargetFound"))
