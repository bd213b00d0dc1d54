"""A cluster in memory that keeps uids and versions, and one service with an owned workload in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from pertoken.control.inventory import Snapshot
from pertoken.control.objects import PoolObject, ServiceObject
from pertoken.control.parse import parse_config_map, parse_deployment, parse_pool, parse_service
from pertoken.control.survey import Surveyed
from pertoken.domain.identity import WorkloadRef
from pertoken.ports import AlreadyExists, Conflict, NotFound

Json = dict[str, Any]


@dataclass
class Cluster:
    """Reader and writer over a dictionary: `fault` is raised by each write, `silent` by each read."""

    objects: dict[WorkloadRef, Json] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    version: int = 0
    fault: Exception | None = None
    silent: Exception | None = None
    now_at: float = 0.0

    def now(self) -> float:
        return self.now_at

    def monotonic(self) -> float:
        return self.now_at

    def get(self, ref: WorkloadRef) -> Json:
        if self.silent:
            raise self.silent
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

    def delete(self, manifest: Json, *, foreground: bool = False) -> None:
        self._called("delete", manifest, dry_run=False)
        if foreground:
            self.calls[-1] += " in the foreground"
        live = self.objects.get(_ref(manifest))
        if live is not None and live["metadata"]["uid"] != manifest["metadata"]["uid"]:
            raise Conflict(str(_ref(manifest)))
        self.objects.pop(_ref(manifest), None)

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
    parsed = parse_service(
        {
            "apiVersion": "serving.pertoken.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 1},
            "spec": {"model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}, "variants": [variant], **spec},
        }
    )
    assert parsed.spec is not None, parsed.refusals
    return parsed


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
        snapshot=Snapshot(),
        services=services,
        pools=(pool(),),
        refusals={},
        namespaces={},
        scalables={fact.ref: fact for fact in deployments},
        caps={(cap.namespace, cap.name): cap for cap in caps if cap is not None},
    )
