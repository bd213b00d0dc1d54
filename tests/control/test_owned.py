"""What is made for whom: against a cluster in memory that keeps uids and versions."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from kept import Cluster, service, surveyed

from pertoken.api.workloads import build_workload
from pertoken.control import owned
from pertoken.control.objects import ServiceObject
from pertoken.control.owned import Keeper
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.ports import Forbidden, Withheld
from pertoken_bench.policies.simulated_operator import ShippedCatalog


def keep(cluster: Cluster, *services: ServiceObject, **settings: Any) -> tuple[Any, ...]:
    return Keeper(cluster, cluster, cluster, ShippedCatalog(), **settings).keep(surveyed(cluster, *services))


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
    ("idle", "settings"),
    [
        (service(mode="Recommend"), {}),
        (service(mode="Off"), {}),
        (service(), {"read_only": True}),
        (replace(service(), spec=replace(service().spec, paused=True)), {}),
    ],
    ids=["Recommend", "Off", "read-only", "paused"],
)
def test_who_does_not_act_gets_no_request_not_even_a_dry_run(idle, settings):
    cluster = Cluster()
    assert keep(cluster, idle, **settings) == ()
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
    taken = next(ref for ref in cluster.objects if ref.kind == kind)
    stranger = {**cluster.objects[taken]}
    stranger["metadata"] = {
        key: value for key, value in stranger["metadata"].items() if key not in {"ownerReferences", "managedFields"}
    }
    before = Cluster(objects={taken: stranger}, version=9)
    [refusal] = keep(before, service())
    assert refusal.reason is Reason.NAME_TAKEN
    assert f"{kind} team/{taken.name} exists and is not this InferenceService's" in refusal.message
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


def test_where_the_right_is_missing_it_is_told_and_what_runs_goes_on():
    refused = Cluster(fault=Forbidden("create deployments.apps in namespace team"))
    [refusal] = keep(refused, service())
    assert refusal.reason is Reason.NAMESPACE_NOT_ENABLED
    assert "may not make workloads in namespace team" in refusal.message
    there = Cluster()
    keep(there, service())
    there.fault = Forbidden("patch deployments.apps in namespace team")
    assert keep(there, _with_image(service())) == ()


def test_a_new_workload_is_waited_for_until_its_controller_has_seen_it():
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster, ShippedCatalog())
    keeper.keep(surveyed(cluster, service()))
    deployment = WorkloadRef("apps/v1", "Deployment", "team", "chat-a")
    cluster.own(deployment, generation=1)
    assert keeper.awaits(surveyed(cluster, service()))
    cluster.objects[deployment]["status"] = {"observedGeneration": 1}
    assert not keeper.awaits(surveyed(cluster, service()))


def test_what_is_as_it_should_be_is_looked_at_only_now_and_then():
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster, ShippedCatalog(), refresh_seconds=300)
    keeper.keep(surveyed(cluster, service()))
    cluster.calls.clear()
    keeper.keep(surveyed(cluster, service()))
    assert cluster.calls == []
    cluster.now_at = 301.0
    keeper.keep(surveyed(cluster, service()))
    assert cluster.calls
    assert all("Deployment" not in call or call.startswith("dry") for call in cluster.calls if "create" in call)


CHAT = WorkloadRef("apps/v1", "Deployment", "team", "chat-a")
CAP = WorkloadRef("v1", "ConfigMap", "team", "chat-a-batch")
CHUNK = "PERTOKEN_MAX_NUM_BATCHED_TOKENS"


def made_before(cluster: Cluster, asked: ServiceObject) -> None:
    """The objects as a version made them that did not set the prefill chunk."""
    keep(cluster, asked)
    engine = cluster.objects[CHAT]["spec"]["template"]["spec"]["containers"][0]
    engine["args"] = [argument for argument in engine["args"] if CHUNK not in argument]
    engine["env"] = [entry for entry in engine["env"] if entry["name"] != CHUNK]
    del cluster.objects[CAP]["data"][CHUNK]


def reads_chunk(cluster: Cluster) -> bool:
    engine = cluster.objects[CHAT]["spec"]["template"]["spec"]["containers"][0]
    return any(CHUNK in argument for argument in engine["args"])


def test_the_first_chunk_is_what_the_engine_would_run_with():
    cluster = Cluster()
    keep(cluster, service())
    assert cluster.objects[CAP]["data"] == {"PERTOKEN_MAX_NUM_SEQS": "256", CHUNK: "2048"}
    assert reads_chunk(cluster)


def test_an_upgrade_restarts_no_engine():
    cluster = Cluster()
    made_before(cluster, service())
    template = copy.deepcopy(cluster.objects[CHAT]["spec"]["template"])
    cluster.calls.clear()
    keep(cluster, service())
    assert cluster.objects[CHAT]["spec"]["template"] == template
    assert "apply ConfigMap chat-a-batch" not in cluster.writes


def test_the_users_next_change_brings_the_chunk():
    cluster, asked = Cluster(), service()
    made_before(cluster, asked)
    changed = copy.deepcopy(dict(asked.templates))
    changed["a"]["spec"]["containers"][0]["args"] = ["--seed=1"]
    keep(cluster, replace(asked, templates=changed))
    assert reads_chunk(cluster)
    assert cluster.objects[CAP]["data"][CHUNK] == "2048"
    writes = cluster.writes
    assert writes.index("apply ConfigMap chat-a-batch") < writes.index("apply Deployment chat-a")


def test_a_chunk_that_somebody_removed_comes_back_and_the_cap_stays():
    cluster = Cluster()
    keep(cluster, service())
    cluster.objects[CAP]["data"] = {"PERTOKEN_MAX_NUM_SEQS": "64"}
    keep(cluster, service())
    assert cluster.objects[CAP]["data"] == {"PERTOKEN_MAX_NUM_SEQS": "64", CHUNK: "2048"}


def _with_image(each: ServiceObject) -> ServiceObject:
    templates = copy.deepcopy(dict(each.templates))
    templates["a"]["spec"]["containers"][0]["image"] = "vllm/vllm-openai:v0.12.1"
    return replace(each, templates=templates)


@pytest.mark.parametrize(
    ("change", "times"),
    [
        (lambda each: each, 1),
        (lambda each: replace(each, templates=copy.deepcopy(dict(each.templates))), 1),
        (_with_image, 2),
        (lambda each: replace(each, orphan=True), 2),
        (lambda each: replace(each, spec=replace(each.spec, priority=5)), 2),
    ],
    ids=["nothing", "parsed again", "template", "orphan", "spec"],
)
def test_objects_are_made_anew_where_something_in_them_changed(monkeypatch, change, times):
    built = []

    def counted(request):
        built.append(request)
        return build_workload(request)

    monkeypatch.setattr(owned, "build_workload", counted)
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster, ShippedCatalog())
    first = service()
    keeper.keep(surveyed(cluster, first))
    keeper.keep(surveyed(cluster, change(first)))

    assert len(built) == times


def test_a_changed_template_is_applied_in_the_next_cycle():
    cluster = Cluster()
    keeper = Keeper(cluster, cluster, cluster, ShippedCatalog())
    keeper.keep(surveyed(cluster, service()))
    keeper.keep(surveyed(cluster, _with_image(service())))
    deployment = cluster.objects[WorkloadRef("apps/v1", "Deployment", "team", "chat-a")]

    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "vllm/vllm-openai:v0.12.1"


ADMITS = "--max-num-active-seqs=$(PERTOKEN_MAX_NUM_SEQS)"


def _asked(version: str = "0.32.0", **batching: Any) -> ServiceObject:
    """A service on a vLLM that has an admission limit."""
    each = service()
    templates = copy.deepcopy(dict(each.templates))
    templates["a"]["spec"]["containers"][0]["image"] = f"vllm/vllm-openai:v{version}"
    variants = tuple(replace(variant, batching=replace(variant.batching, **batching)) for variant in each.spec.variants)
    return replace(each, templates=templates, spec=replace(each.spec, variants=variants))


def engine_args(cluster: Cluster) -> list[str]:
    return list(cluster.objects[CHAT]["spec"]["template"]["spec"]["containers"][0]["args"])


def made_by_an_earlier_version(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, **form: bool) -> None:
    """The objects as a version made them whose engines take no admission limit, and perhaps no chunk either."""
    with monkeypatch.context() as patched:
        patched.setattr(owned, "build_workload", lambda request: build_workload(replace(request, **form)))
        keep(cluster, _asked())


@pytest.mark.parametrize("form", [{"admission": False}, {"admission": False, "chunk": False}], ids=["chunk", "neither"])
def test_an_upgrade_to_an_admission_limit_restarts_no_engine_and_the_users_next_change_brings_it(monkeypatch, form):
    cluster = Cluster()
    made_by_an_earlier_version(cluster, monkeypatch, **form)
    template = copy.deepcopy(cluster.objects[CHAT]["spec"]["template"])
    assert ADMITS not in engine_args(cluster)
    keep(cluster, _asked())
    assert cluster.objects[CHAT]["spec"]["template"] == template

    keep(cluster, _asked("0.32.1"))
    assert ADMITS in engine_args(cluster)
    assert "--max-num-seqs=256" in engine_args(cluster)


def test_cap_and_chunk_fit_the_buffers_before_the_template_asks_for_them():
    cluster = Cluster()
    keep(cluster, _asked())
    cluster.objects[CAP]["data"] = {"PERTOKEN_MAX_NUM_SEQS": "200", CHUNK: "384"}
    keep(cluster, _asked(max_sequences=512))
    assert cluster.objects[CAP]["data"] == {"PERTOKEN_MAX_NUM_SEQS": "200", CHUNK: "512"}
    keep(cluster, _asked(max_sequences=128))
    assert cluster.objects[CAP]["data"] == {"PERTOKEN_MAX_NUM_SEQS": "128", CHUNK: "512"}
    assert "--max-num-seqs=128" in engine_args(cluster)
    writes = cluster.writes
    assert writes[-2:] == ["apply ConfigMap chat-a-batch", "apply Deployment chat-a"]
