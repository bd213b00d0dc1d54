"""Objects of an owned variant, built from its raw podTemplate: Deployment, Service, PodDisruptionBudget. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

from pertoken.api.engine_args import Additions, EngineContainer, complete_container
from pertoken.api.errors import FieldError, Rejected
from pertoken.api.naming import cap_name
from pertoken.api.ownership import SERVICE_LABEL, SERVICE_UID, VARIANT_LABEL
from pertoken.api.template_shape import shape_errors
from pertoken.api.v1alpha1 import API_VERSION
from pertoken.catalog.gpus import Gpu
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.raw.values import whole_number

ENGINE: Final = "engine"
# Loading a large model from a registry takes tens of minutes; the default of 600 s would call that a failed rollout.
PROGRESS_DEADLINE_SECONDS: Final = 3600

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkloadRequest:
    """What an owned variant's objects are made from.

    Attributes:
        template: the variant's podTemplate as the user wrote it.
        pool: the variant's pool; its node labels become the nodeSelector where the template has none. An empty
            `resource_name` leaves the GPU count unchecked (files that are checked without their pool).
        orphan: no owner reference, so that the objects outlive the InferenceService.
        claimed: GPUs that the template's resource claims stand for; None where that is not known.
        gpu: of the pool; None where the catalog does not know it.
        chunk: False for the form of earlier versions, whose engines do not read their prefill chunk from pertoken.
        admission: False for the form of earlier versions, whose engines make buffers for as many sequences as run.
    """

    service: ServiceSpec
    variant: VariantSpec
    template: Json
    pool: PoolSpec
    orphan: bool = False
    claimed: int | None = None
    gpu: Gpu | None = None
    chunk: bool = True
    admission: bool = True


@dataclass(frozen=True, slots=True)
class OwnedWorkload:
    """The objects of one variant.

    Attributes:
        reads_cap: the engine reads its batch cap from the ConfigMap ``<workload>-batch``, which must exist first.
        chunk: tokens per step that the ConfigMap must hold then; None where the engine reads none from it.
        allocated: sequences that the engine makes buffers for, apart from its cap; None where the cap decides both.
    """

    deployment: Json
    service: Json
    disruption_budget: Json
    reads_cap: bool
    chunk: int | None = None
    allocated: int | None = None

    @property
    def manifests(self) -> tuple[Json, Json, Json]:
        """All of them, in the order in which to apply them."""
        return self.deployment, self.service, self.disruption_budget


def build_workload(request: WorkloadRequest) -> OwnedWorkload | Rejected:
    """Build a variant's objects, or say what in its template is in the way."""
    names = [variant.name for variant in request.service.variants]
    path = f"spec.variants[{names.index(request.variant.name)}].podTemplate"
    misshapen = shape_errors(request.template, path)
    if misshapen:
        return Rejected(misshapen)
    pod = copy.deepcopy(request.template)
    containers = pod["spec"]["containers"]
    position = next(index for index, container in enumerate(containers) if container["name"] == ENGINE)
    settings = Additions(
        engine=request.variant.engine,
        batching=request.variant.batching,
        latency=request.service.latency,
        cap_config_map=cap_name(request.variant.workload.name),
        path=f"{path}.spec.containers[{position}]",
        engine_version=request.variant.engine_version,
        gpu=request.gpu,
        chunk=request.chunk,
        admission=request.admission,
    )
    engine = complete_container(containers[position], settings)
    errors = _gpu_errors(request, path)
    if not isinstance(engine, EngineContainer):
        return Rejected((*engine, *errors))
    if errors:
        return Rejected(errors)
    containers[position] = engine.container
    _place(pod["spec"], request.pool)
    return OwnedWorkload(
        deployment=_deployment(request, pod),
        service=_service(request, engine),
        disruption_budget=_disruption_budget(request),
        reads_cap=engine.reads_cap,
        chunk=engine.chunk,
        allocated=engine.allocated,
    )


def service_owner(service: ServiceSpec) -> Json:
    """Owner reference to the InferenceService: deleting it deletes what pertoken made for it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "name": service.key.name,
        "uid": service.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def workload_owner(ref: WorkloadRef, uid: str) -> Json:
    """Owner reference to an adopted workload, for the ConfigMap that its pods read."""
    return {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name, "uid": uid}


def without_replicas_yet(deployment: Json) -> Json:
    """A Deployment as it is created: its first replicas come from the plan, as all others do.

    Later applies leave the field out, so that the scale subresource alone sets it.
    """
    return {**deployment, "spec": {**deployment["spec"], "replicas": 0}}


def _gpu_errors(request: WorkloadRequest, path: str) -> tuple[FieldError, ...]:
    """The template's GPUs must be those that the parallelism needs; claims that are not known are left to be seen."""
    resource, wanted = request.pool.resource_name, request.variant.parallelism.gpus
    claims = bool(request.template["spec"].get("resourceClaims"))
    if not resource or (claims and request.claimed is None):
        return ()
    asked = [requested(container, resource) for container in request.template["spec"]["containers"]]
    counts = [0 if amount is None else whole_number(amount) for amount in asked]
    total = sum(count or 0 for count in counts) + (request.claimed or 0)
    if total == wanted and None not in counts:
        return ()
    where = f'{path}.spec.containers[].resources.limits["{resource}"]'
    shown = next((amount for amount, count in zip(asked, counts, strict=True) if count is None), total or None)
    return (FieldError(where, shown, f"{wanted} in sum: parallelism is tensor x pipeline x data"),)


def requested(container: Json, resource: str) -> Any:
    """What a container asks for, as it is written; None if it asks for nothing."""
    resources = container.get("resources") or {}
    stated = [(resources.get(part) or {}).get(resource) for part in ("limits", "requests")]
    return next((amount for amount in stated if amount is not None), None)


def _place(spec: Json, pool: PoolSpec) -> None:
    """Bring the pods onto the pool's nodes, unless the template says where."""
    if pool.node_selector and not spec.get("nodeSelector"):
        spec["nodeSelector"] = dict(pool.node_selector)
    if "tolerations" not in spec:
        # GPU nodes are commonly tainted with the resource's name, so that only pods that ask for GPUs land there.
        spec["tolerations"] = [{"key": pool.resource_name, "operator": "Exists", "effect": "NoSchedule"}]


def _selector(request: WorkloadRequest) -> dict[str, str]:
    return {SERVICE_LABEL: request.service.key.name, VARIANT_LABEL: request.variant.name}


def _labels(request: WorkloadRequest) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": request.variant.engine.value,
        "app.kubernetes.io/instance": request.variant.workload.name,
        "app.kubernetes.io/component": "inference-engine",
        "app.kubernetes.io/part-of": request.service.key.name,
        "app.kubernetes.io/managed-by": "pertoken",
        **_selector(request),
    }


def _metadata(request: WorkloadRequest) -> Json:
    metadata: Json = {
        "name": request.variant.workload.name,
        "namespace": request.service.key.namespace,
        "labels": _labels(request),
    }
    if request.orphan:
        metadata["annotations"] = {SERVICE_UID: request.service.uid}
    else:
        metadata["ownerReferences"] = [service_owner(request.service)]
    return metadata


def _deployment(request: WorkloadRequest, pod: Json) -> Json:
    metadata = dict(pod.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **_labels(request)}
    spec: Json = {
        "selector": {"matchLabels": _selector(request)},
        # No surge: there is rarely a spare GPU for one more replica.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": 3,
        "template": {"metadata": metadata, "spec": pod["spec"]},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(request), "spec": spec}


def _service(request: WorkloadRequest, engine: EngineContainer) -> Json:
    port = {"name": "http", "port": engine.port, "targetPort": engine.port, "protocol": "TCP", "appProtocol": "http"}
    spec = {"type": "ClusterIP", "selector": _selector(request), "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(request), "spec": spec}


def _disruption_budget(request: WorkloadRequest) -> Json:
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": _selector(request)},
        # A pod that never became ready serves nobody: it may always be replaced.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": _metadata(request), "spec": spec}
