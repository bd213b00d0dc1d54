"""Why pods are not made, in the API server's words: by conditions of their target, else by events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from watched import StandingClock

from pertoken.api.conditions import rfc3339
from pertoken.control.creation import FAILED_CREATE, RECENT_SECONDS, CreationEvents, failure_of
from pertoken.control.workloads import Surroundings, scalable_fact, workload_fact
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import Forbidden

QUOTA = (
    'create Pod chat-2 in StatefulSet chat failed error: pods "chat-2" is forbidden: exceeded quota: gpus, limited: 2'
)
CLOCK = StandingClock()
BUILT_IN = WorkloadRef("apps/v1", "StatefulSet", "prod", "chat")
LWS = WorkloadRef("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "prod", "chat")
LLM = WorkloadRef("serving.kserve.io/v1alpha1", "LLMInferenceService", "prod", "chat")


def stamp(seconds: float) -> str:
    """So long after now, as Kubernetes writes it."""
    return rfc3339(CLOCK.now() + seconds)


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


AVAILABLE = condition(
    "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([AVAILABLE, condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")], "exceeded quota"),
        ([condition("ReplicaFailure", "True", "FailedCreate")], "FailedCreate"),
        ([condition("ReplicaFailure", "False", "FailedCreate", "old words")], ""),
        ([condition("Progressing", "False", "ReplicaSetCreateError", "no ReplicaSet")], "no ReplicaSet"),
        ([condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out progressing.")], ""),
        ([condition("Ready", "False", "WorkloadsNotReady", 'pods "x" is forbidden: exceeded quota: gpus')],
         'pods "x" is forbidden: exceeded quota: gpus'),
        ([condition("MainWorkloadReady", "False", "Failed", 'admission webhook "policy" denied the request: no GPUs')],
         'admission webhook "policy" denied the request: no GPUs'),
        ([condition("Ready", "False", "Failed", 'violates PodSecurity "restricted:latest"')],
         'violates PodSecurity "restricted:latest"'),
        ([condition("Ready", "True", "Fine", "it is forbidden no more")], ""),
        ([AVAILABLE], ""),
        (["nonsense", {}], ""),
    ],
)  # fmt: skip
def test_conditions_have_the_servers_words(conditions, words):
    assert failure_of(conditions) == words


def event(name: str, kind: str = "StatefulSet", *, ago: float = 60.0, **over: Any) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": kind, "name": name, "namespace": "prod"},
        "reason": FAILED_CREATE,
        "message": QUOTA,
        "lastTimestamp": stamp(-ago),
    } | over


@dataclass
class Source:
    """Events of one namespace; None where they may not be read."""

    items: list[dict[str, Any]] | None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def events(self, namespace: str, reason: str) -> list[dict[str, Any]]:
        self.asked.append((namespace, reason))
        if self.items is None:
            raise Forbidden("events is forbidden")
        return self.items


@pytest.mark.parametrize(
    ("target", "told", "concerns"),
    [
        (BUILT_IN, event("chat"), True),
        (BUILT_IN, event("chat-large"), False),
        (BUILT_IN, event("chat", "ReplicaSet"), False),
        (BUILT_IN, event("chat", ago=RECENT_SECONDS + 1), False),
        (BUILT_IN, event("chat", lastTimestamp=None, eventTime=stamp(-5)), True),
        (BUILT_IN, event("chat", lastTimestamp=None, series={"lastObservedTime": stamp(-5)}), True),
        (BUILT_IN, event("chat", lastTimestamp="nonsense"), False),
        (LWS, event("chat"), True),
        (LWS, event("chat-3"), True),
        (LWS, event("chat-large"), False),
        (LWS, event("chat", "LeaderWorkerSet"), True),
        (LLM, event("chat-kserve-7d4b9c6f5", "ReplicaSet"), True),
        (LLM, event("chat-kserve-mn-0"), True),
        (LLM, event("chat-kserve-prefill-7d4b9", "ReplicaSet"), False),
        (LLM, event("chat-kserve-prefill", "Deployment"), False),
    ],
)
def test_events_of_a_target_and_of_what_makes_its_pods(target, told, concerns):
    refused = CreationEvents(Source([told]), CLOCK).of(target)
    assert (refused is not None) is concerns
    if refused is not None:
        assert refused.words == QUOTA


def test_the_newest_refusal_is_told_and_a_namespace_is_read_once_in_a_while():
    source = Source([event("chat", ago=300, message="old"), event("chat", ago=10, message="new")])
    events = CreationEvents(source, CLOCK)
    assert [events.of(BUILT_IN).words, events.of(LWS).words] == ["new", "new"]
    assert source.asked == [("prod", FAILED_CREATE)]


def test_events_that_may_not_be_read_tell_nothing(caplog):
    assert CreationEvents(Source(None), CLOCK).of(BUILT_IN) is None
    assert "events of prod cannot be read" in caplog.text


def stateful() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "chat", "namespace": "prod", "uid": "u"},
        "spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "engine"}]}}},
        "status": {"readyReplicas": 2},
    }


@pytest.mark.parametrize(("created", "failure"), [(90.0, "refused"), (110.0, "")])
def test_a_pod_that_was_made_later_shows_that_the_refusal_is_over(created, failure):
    target = replace(scalable_fact(stateful()), failure="refused", failed_at=100.0)
    pods = [PodFact(PodKey("prod", "chat-1"), "p", workload=target.ref, created_at=created)]
    assert target.waits
    assert workload_fact(target, Surroundings(pods=pods)).failure == failure
