"""What is made for whom: against a cluster in memory that keeps uids and versions."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pertoken.control.objects import PoolObject, ServiceObject
from pertoken.control.observe import Surveyed
from pertoken.control.owned import Keeper
from pertoken.control.parse import parse_config_map, parse_deployment, parse_pool, parse_service
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.ports import AlreadyExists, Conflict, NotFound, Withheld

Json = dict[str, Any]


@dataclass
class Cluster:
    """Reader and writer over a dictionary."""

    objects: dict[WorkloadRef, Json] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    version: int = 0
    fault: Exception | None = None
    now_at: float = 0.0

    def now(self) -> float:
        return self.now_at

    def monotonic(self) -> float:
        return self.now_at

    def get(self, ref: WorkloadRef) -> Json:
        if ref not in self.objects:
            raise NotFound(str(ref))
        return copy.deepcopy(self.objects[ref])

    def create(self, manifest: Json, manager: str, *, dry_run: bool = False) -> Json:
        self._called("create", manifest, dry_run)
        if _ref(manifest) in self.objects:
            raise AlreadyExists(str(_ref(manifest)))
        return self._store(manifest, manager, f"uid-{self.version}", dry_run)

    def apply(self, manifest: Json, manager: str, *, dry_run: bool = False) -> Json:
        self._called("apply", manifest, dry_run)
        live = self.objects.get(_ref(manifest))
        if live is None or any(
            live["metadata"][key] != manifest["metadata"][key] for key in ("uid", "resourceVersion")
        ):
            raise Conflict(str(_ref(manifest)))
        return self._store(manifest, manager, live["metadata"]["uid"], dry_run)

    def own_fields(self, live: Json, managed_fields: list[Json]) -> Json:
        return self.own(_ref(live), managedFields=managed_fields)

    def own(self, ref: WorkloadRef, **meta: Any) -> Json:
        self.objects[ref]["metadata"].update(meta)
        return copy.deepcopy(self.objects[ref])

    def _called(self, verb: str, manifest: Json, dry_run: bool) -> None:
        if self.fault:
            raise self.fault
        self.calls.append(f"{'dry ' if dry_run else ''}{verb} {manifest['kind']} {manifest['metadata']['name']}")

    def _store(self, manifest: Json, manager: str, uid: str, dry_run: bool) -> Json:
        labels = {f"f:{name}": {} for name in manifest["metadata"].get("labels") or {}}
        entry = {"manager": manager, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": labels}}}
        meta = {**manifest["metadata"], "uid": uid, "managedFields": [entry]}
        meta["resourceVersion"] = self.objects.get(_ref(manifest), {}).get("metadata", {}).get("resourceVersion", "0")
        if not dry_run:
            self.version += 1
            meta["resourceVersion"] = str(self.version)
            self.objects[_ref(manifest)] = {**manifest, "metadata": meta}
        return copy.deepcopy({**manifest, "metadata": meta})

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("dry")]


def _ref(manifest: Json) -> WorkloadRef:
    meta = manifest["metadata"]
    return WorkloadRef(manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"])


def service(name: str = "chat", **spec: Any) -> ServiceObject:
    engine = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    variant = {"name": "a", "pool": "p", "podTemplate": {"spec": {"containers": [engine]}}}
    found = parse_service(
        {
            "apiVersion": "serving.pertoken.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 1},
            "spec": {"model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}, "variants": [variant], **spec},
        }
    )
    assert found.spec is not None, found.refusals
    return found


def pool() -> PoolObject:
    return parse_pool(
        {
            "metadata": {"name": "p", "uid": "p", "generation": 1},
            "spec": {"accelerator": "a100-sxm-80gb", "pricePerGPUHour": "2", "capacity": {"gpus": 4}},
        }
    )


def surveyed(cluster: Cluster, *services: ServiceObject) -> Surveyed:
    deployments = [parse_deployment(obj) for ref, obj in cluster.objects.items() if ref.kind == "Deployment"]
    caps = [parse_config_map(obj) for ref, obj in cluster.objects.items() if ref.kind == "ConfigMap"]
    return Surveyed(
        services=services,
        pools=(pool(),),
        refusals={},
        namespaces={},
        scalables={fact.ref: fact for fact in deployments},
        caps={(cap.namespace, cap.name): cap for cap in caps if cap is not None},
    )


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
