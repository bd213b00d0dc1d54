"""What is made for whom: against a cluster in memory that keeps uids and versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kept import Cluster, service, surveyed

from pertoken.control.objects import ServiceObject
from pertoken.control.owned import Keeper
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.ports import Withheld


def keep(cluster: Cluster, *services: ServiceObject, **settings: Any) -> tuple[Any, ...]:
    return Keeper(cluster, cluster, cluster, **settings).keep(surveyed(cluster, *services))


MADE = [
    "create ConfigMap chat-a-batch",
    "create Deployment chat-a",
    "create Service chat-a",
    "create PodDisruptionBudget chat-a",
]


def test_a_service_that_acts_gets_everything_and_no_replica_yet():
    cluster = Cluster()
    assert keep(cluster, service()) == ()
    assert cluster.writes == MADE
    assert cluster.objects[WorkloadRef("apps/v1", "Deployment", "team", "chat-a")]["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (service(mode="Recommend"), {}),
        (service(mode="Off"), {}),
        (service(), {"read_only": True}),
        (replace(service(), spec=replace(service().spec, paused=True)), {}),
    ],
    ids=["Recommend", "Off", "read-only", "paused"],
)
def test_who_does_not_act_gets_no_request_not_even_a_dry_run(made, settings):
    cluster = Cluster()
    assert keep(cluster, made, **settings) == ()
    assert cluster.calls == []


def test_a_template_that_cannot_work_is_told_in_every_mode():
    bad = service(mode="Recommend")
    bad.templates["a"]["spec"]["containers"][0]["resources"] = {}
    [refusal] = keep(Cluster(), bad)
    assert refusal.reason is Reason.TEMPLATE_REJECTED


@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget"])
def test_one_name_that_is_taken_is_enough_to_make_nothing(kind):
    cluster = Cluster()
    keep(cluster, service())
    theirs = next(ref for ref in cluster.objects if ref.kind == kind)
    stranger = {**cluster.objects[theirs]}
    stranger["metadata"] = {
        key: value for key, value in stranger["metadata"].items() if key not in {"ownerReferences", "managedFields"}
    }
    before = Cluster(objects={theirs: stranger}, version=9)
    [refusal] = keep(before, service())
    assert refusal.reason is Reason.NAME_TAKEN
    assert f"{kind} team/{theirs.name} exists and is not this InferenceService's" in refusal.message
    assert before.writes == []


def test_a_fault_of_one_service_is_told_without_python_and_the_others_go_on():
    broken = replace(service("broken"), templates={})
    cluster = Cluster()
    [refusal] = keep(cluster, broken, service())
    assert refusal.uid == "uid-broken"
    assert refusal.reason is Reason.PLANNING_FAILED
    assert "KeyError" not in refusal.message
    assert cluster.writes == MADE


def test_without_the_lease_no_service_is_refused():
    assert keep(Cluster(fault=Withheld("the lease is not held")), service()) == ()


def test_a_new_workload_is_waited_for_until_its_controller_has_seen_it():
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster)
    keeper.keep(surveyed(cluster, service()))
    deployment = WorkloadRef("apps/v1", "Deployment", "team", "chat-a")
    cluster.own(deployment, generation=1)
    assert keeper.awaits(surveyed(cluster, service()))
    cluster.objects[deployment]["status"] = {"observedGeneration": 1}
    assert not keeper.awaits(surveyed(cluster, service()))


def test_what_is_as_it_should_be_is_looked_at_only_now_and_then():
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster, refresh_seconds=300)
    keeper.keep(surveyed(cluster, service()))
    cluster.calls.clear()
    keeper.keep(surveyed(cluster, service()))
    assert cluster.calls == []
    cluster.now_at = 301.0
    keeper.keep(surveyed(cluster, service()))
    assert cluster.calls
    assert all("Deployment" not in call or call.startswith("dry") for call in cluster.calls if "create" in call)
