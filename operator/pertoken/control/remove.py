"""Removing what pertoken made for a variant that is no more: only what the InferenceService is proven to control."""

from __future__ import annotations

from pertoken.api.naming import cap_name
from pertoken.api.ownership import marks_of
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.plan import RemoveWorkload
from pertoken.ports import ClusterReader, ClusterWriter, Conflict, Json, NotFound


def remove_made(action: RemoveWorkload, reader: ClusterReader, writer: ClusterWriter) -> None:
    """Delete Service, disruption budget and batch cap, then the workload, which stays until its pods are gone.

    The workload is last: what is left over after an operator was killed in between is found by it again.

    Raises:
        Conflict: the workload is not (or no longer) what the action names.
    """
    target = action.target
    workload = _live(target, reader)
    if workload is None:
        return
    if workload["metadata"]["uid"] != action.uid or not _controlled(workload, action):
        raise Conflict(f"{target} is not what was planned for: it is left alone")
    for ref in (
        WorkloadRef("v1", "Service", target.namespace, target.name),
        WorkloadRef("policy/v1", "PodDisruptionBudget", target.namespace, target.name),
        WorkloadRef("v1", "ConfigMap", target.namespace, cap_name(target.name)),
    ):
        live = _live(ref, reader)
        if live is not None and _controlled(live, action):
            writer.delete(_identity(ref, live))
    writer.delete(_identity(target, workload), foreground=True)


def _live(ref: WorkloadRef, reader: ClusterReader) -> Json | None:
    try:
        return reader.get(ref)
    except NotFound:
        return None


def _controlled(live: Json, action: RemoveWorkload) -> bool:
    return marks_of(live).controller.get("uid") == action.service_uid


def _identity(ref: WorkloadRef, live: Json) -> Json:
    meta = {"namespace": ref.namespace, "name": ref.name, "uid": live["metadata"]["uid"]}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta}
