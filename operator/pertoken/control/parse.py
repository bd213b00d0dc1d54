"""Raw objects of every watched kind to what the inventory keeps."""

from __future__ import annotations

from typing import Any

from pertoken.api.batch_cap import parse_cap
from pertoken.api.errors import Rejected
from pertoken.api.translate import translate_pool, translate_service
from pertoken.control.facts import namespace_fact, node_fact, pod_fact, replicaset_fact
from pertoken.control.inventory import Parser
from pertoken.control.objects import CapObject, PoolObject, ServiceObject
from pertoken.control.quantities import epoch
from pertoken.control.workloads import ScalableFact, autoscaler_fact, scalable_fact
from pertoken.domain.identity import ServiceKey
from pertoken.ports import Json


def parse_service(obj: Json) -> ServiceObject:
    """An InferenceService; mistakes are kept as refusals, never raised."""
    meta = obj["metadata"]
    found = translate_service(obj)
    common: dict[str, Any] = {
        "key": ServiceKey(meta["namespace"], meta["name"]),
        "uid": meta["uid"],
        "generation": int(meta.get("generation", 0)),
        "deleting": "deletionTimestamp" in meta,
        "status": obj.get("status") or {},
    }
    if isinstance(found, Rejected):
        return ServiceObject(**common, spec=None, refusals=tuple(str(error) for error in found.errors))
    return ServiceObject(
        **common,
        spec=found.spec,
        not_acted_on=found.not_acted_on,
        templates=found.templates,
        orphan=found.orphan,
    )


def parse_pool(obj: Json) -> PoolObject:
    """An AcceleratorPool, likewise."""
    meta = obj["metadata"]
    found = translate_pool(obj)
    common: dict[str, Any] = {
        "name": meta["name"],
        "uid": meta["uid"],
        "generation": int(meta.get("generation", 0)),
        "created_at": epoch(meta.get("creationTimestamp")) or 0.0,
        "status": obj.get("status") or {},
    }
    if isinstance(found, Rejected):
        return PoolObject(**common, spec=None, refusals=tuple(str(error) for error in found.errors))
    return PoolObject(**common, spec=found.spec, not_acted_on=found.not_acted_on)


def parse_config_map(obj: Json) -> CapObject | None:
    """A batch cap; other ConfigMaps are of no interest."""
    cap = parse_cap(obj)
    if cap is None:
        return None
    return CapObject(obj["metadata"]["namespace"], obj["metadata"]["name"], cap)


def parse_deployment(obj: Json) -> ScalableFact:
    """A Deployment, whoever owns it: any may be a target."""
    return scalable_fact({"apiVersion": "apps/v1", "kind": "Deployment", **obj})


PARSERS: dict[str, Parser] = {
    "inferenceservices": parse_service,
    "acceleratorpools": parse_pool,
    "pods": pod_fact,
    "nodes": node_fact,
    "namespaces": namespace_fact,
    "deployments": parse_deployment,
    "replicasets": replicaset_fact,
    "configmaps": parse_config_map,
    "horizontalpodautoscalers": autoscaler_fact,
}
