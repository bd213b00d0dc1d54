"""Recommend, Off, pause: only status, events and pertoken's memory are written, and decisions are shown."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import adopted, owned
from clusterlab.manifests import CAP_KEY, cap_reading_engine

pytestmark = pytest.mark.e2e
ALLOWED = {"inferenceservices/status", "events"}


def others(lab, mark: int) -> list[tuple[str, str, str]]:
    """Writes in the test's namespace beside status and events, dry runs included."""
    writes = [write for write in lab.stack.audit.writes()[mark:] if write.namespace == lab.namespace]
    return [(write.verb, write.resource, write.name) for write in writes if write.resource not in ALLOWED]


def paused(lab, name: str, *variants: Any, **spec: Any) -> None:
    from clusterlab import manifests  # noqa: PLC0415

    manifest = manifests.service(name, *variants, **spec)
    manifest["metadata"]["annotations"] = {"pertoken.dev/paused": "true"}
    lab.apply(manifest)


def test_without_leave_to_act_nothing_is_made_corrected_scaled_or_taken_over(lab):
    pool = lab.pool(nodes=[8])
    lab.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept-batch"}, "data": {CAP_KEY: "16"}},
    )
    for name in ("kept", "bare", "off", "held"):
        lab.load(name, requests_per_second=30, output_tokens=200, step_seconds=0.04, batch=64)
    for name in ("kept", "bare", "off", "held"):
        lab.deployment(name, pool, 1, containers=[cap_reading_engine(name)])
    mark = lab.mark()

    lab.service("kept", adopted("kept", pool), mode="Recommend")
    lab.service("bare", adopted("bare", pool), mode="Recommend")
    lab.service("off", adopted("off", pool), mode="Off")
    paused(lab, "held", adopted("held", pool))
    lab.service("made", owned(pool), mode="Recommend")
    lab.service("made-off", owned(pool), mode="Off")
    paused(lab, "made-held", owned(pool))

    lab.until(lambda: lab.variant("kept").get("desiredReplicas", 0) > 1, 40, says="the decision is not shown")
    lab.until(lambda: "scale a from 1" in lab.status("kept")["recommendation"]["summary"])
    lab.until(lambda: lab.variant("held").get("desiredReplicas", 0) > 1)
    lab.until(lambda: lab.says("held", "Paused", "True"))
    lab.until(lambda: "in mode Recommend nothing is made" in lab.condition("made", "TargetFound").get("message", ""))
    lab.cycles(3)
    assert others(lab, mark) == []
    assert lab.get("ConfigMap", "kept-batch")["data"] == {CAP_KEY: "16"}


def test_a_workload_that_is_paused_is_not_corrected(lab):
    pool = lab.pool(nodes=[4])
    lab.service("chat", owned(pool))
    lab.until(lambda: lab.ready("chat-a") == 1)
    paused(lab, "chat", owned(pool))
    lab.until(lambda: lab.says("chat", "Paused", "True"))
    mark = lab.mark()

    # Somebody takes the Service away and changes the template: both are put right again only after the pause.
    lab.cluster.delete("Service", lab.namespace, "chat-a")
    paused(lab, "chat", owned(pool, "--enforce-eager"))

    lab.cycles(4)
    assert others(lab, mark) == []
    assert lab.get("Service", "chat-a") == {}
    lab.service("chat", owned(pool, "--enforce-eager"))
    lab.stack.kubectl("annotate", "ptis", "chat", "-n", lab.namespace, "pertoken.dev/paused-")
    lab.until(lambda: lab.get("Service", "chat-a"))
