"""Pods that have ended: when, by whatever of their object tells, and that they hold and cost nothing from then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from pertoken.accounting.bill import bill
from pertoken.control.facts import pod_fact
from pertoken.control.inventory import Inventory
from pertoken.control.kinds import WatchedKind
from pertoken.control.parse import KINDS
from pertoken.control.pod_end import finished_at
from pertoken.control.quantities import epoch
from pertoken.domain.pool import PoolSpec

POOL = PoolSpec("p", "a100-sxm-80gb")
END = "2026-11-23T11:00:00Z"


SPEC = {
    "nodeName": "gpu-1",
    "containers": [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "2"}}}],
}
META = {"name": "chat-1", "namespace": "prod", "uid": "u1", "creationTimestamp": "2026-11-23T10:00:00Z"}


@dataclass
class StubClock:
    """A clock that stands until moved."""

    at: float = 2e9

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def ended(phase: str = "Failed", metadata: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod on a node since 10:00:00 or a little later that has ended."""
    status = {"phase": phase, "conditions": [], "containerStatuses": None} | status
    return {"metadata": META | (metadata or {}), "spec": SPEC, "status": status}


def stopped(*times: str | None) -> list[dict[str, Any]]:
    return [{"name": f"c{index}", "state": {"terminated": {"finishedAt": at}}} for index, at in enumerate(times)]


def condition(kind: str, status: str, at: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": at, **more}


REJECTED = {
    "reason": "UnexpectedAdmissionError",
    "message": "Pod was rejected: no healthy devices",
}
LATER = condition("DisruptionTarget", "True", "2026-11-23T12:00:00Z", reason="TerminationByKubelet")


@pytest.mark.parametrize(
    "obj",
    [
        ended(containerStatuses=stopped("2026-11-23T10:30:00Z", END), conditions=[LATER]),
        ended("Succeeded", containerStatuses=stopped(END)),
        ended(containerStatuses=stopped(None), conditions=[condition("DisruptionTarget", "True", END)]),
        ended(
            containerStatuses=stopped("0001-01-01T00:00:00Z"), conditions=[condition("DisruptionTarget", "True", END)]
        ),
        ended(reason="Evicted", conditions=[condition("DisruptionTarget", "True", END)]),
        ended(**REJECTED, startTime=END),
        ended(reason="OutOfnvidia.com/gpu", startTime=END),
        ended(
            **REJECTED,  # by a kubelet that came back: the pod had been running for an hour
            metadata={
                "managedFields": [
                    {"manager": "kube-scheduler", "subresource": "status", "time": "2026-11-23T10:00:02Z"},
                    {"manager": "kubelet", "subresource": "status", "time": END},
                    {"manager": "kubectl", "time": "2026-11-23T13:00:00Z"},
                ]
            },
        ),
        ended(
            conditions=[
                condition("Initialized", "True", "2026-11-23T10:00:04Z"),
                condition("Ready", "False", END, reason="PodFailed"),
            ]
        ),
        ended(metadata={"deletionTimestamp": END}),
    ],
    ids=[
        "its last container",
        "done",
        "disrupted, containers unknown",
        "disrupted, containers at the zero time",
        "evicted",
        "refused by the node",
        "no devices left on the node",
        "refused when the kubelet came back",
        "no longer ready",
        "deleted",
    ],
)
def test_an_ended_pod_is_billed_to_its_end(obj):
    fact = pod_fact(obj)
    assert fact is not None
    assert fact.finished
    assert not fact.holds_gpus
    assert not fact.ready
    assert fact.ended_at == epoch(END)

    seconds = bill([fact], POOL, epoch("2026-11-23T10:00:00Z"), epoch("2026-11-23T20:00:00Z")).gpu_seconds

    assert seconds == 2 * (epoch(END) - fact.bound_at)


def test_an_ended_pod_that_never_got_a_node_costs_nothing():
    fact = pod_fact(ended(reason="Preempted") | {"spec": {**SPEC, "nodeName": None}})
    assert fact is not None

    assert bill([fact], POOL, 0.0, 2e9).gpu_seconds == 0


def test_a_pod_that_never_was_ready_does_not_tell_its_end_by_that():
    same = "2026-11-23T10:00:03Z"
    never = [condition("Initialized", "True", same), condition("Ready", "False", same, reason="PodFailed")]

    assert finished_at(ended(conditions=never)) is None


def seen(inventory: Inventory) -> Any:
    snapshot = inventory.snapshot()
    (fact,) = (*snapshot.pods, *snapshot.vanished_pods)
    return fact


def test_where_nothing_tells_a_pod_ended_when_it_was_first_seen_so():
    clock = StubClock()
    inventory = Inventory(replace(KINDS, pods=WatchedKind("pods", pod_fact)), clock)
    inventory.put("pods", ended("Running"))
    clock.at += 100
    inventory.put("pods", ended(reason="Evicted"))
    clock.at += 100
    inventory.put("pods", ended(reason="Evicted"))

    assert seen(inventory).ended_at == 2e9 + 100


def test_a_finished_pod_that_is_deleted_later_is_billed_to_its_end():
    clock = StubClock()
    inventory = Inventory(replace(KINDS, pods=WatchedKind("pods", pod_fact)), clock)
    inventory.put("pods", ended(containerStatuses=stopped(END)))
    clock.at += 3600
    inventory.drop("pods", ended())

    assert seen(inventory).deleted_at == 2e9 + 3600
    assert seen(inventory).ended_at == epoch(END)
    assert bill([seen(inventory)], POOL, epoch(END), 3e9).gpu_seconds == 0


def test_an_end_that_is_known_does_not_move():
    inventory = Inventory(replace(KINDS, pods=WatchedKind("pods", pod_fact)), StubClock())
    inventory.put("pods", ended(containerStatuses=stopped(END)))
    inventory.put("pods", ended(metadata={"deletionTimestamp": "2026-11-23T18:00:00Z"}))

    assert seen(inventory).ended_at == epoch(END)
