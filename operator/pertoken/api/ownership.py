"""Whose an object is, and who owns which of its fields. Pure; objects are as the API server stores them.

Nothing is applied over an object that is not proven to be pertoken's: a name alone proves nothing, and labels can be
written by anybody. What proves it is the controller reference to the very InferenceService (by uid), or, for objects
that shall outlive it and so have none, the labels together with the field manager that wrote them and the uid.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertoken.domain.identity import ServiceKey, WorkloadRef

SERVICE_LABEL: Final = "serving.pertoken.dev/service"
VARIANT_LABEL: Final = "serving.pertoken.dev/variant"
# Of objects without owner reference (deletionPolicy Orphan): the InferenceService that they are made for.
SERVICE_UID: Final = "serving.pertoken.dev/service-uid"
FIELD_MANAGER: Final = "pertoken"
SCALE_MANAGER: Final = "pertoken-scaler"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells whose an object is.

    Attributes:
        controller: owner reference with ``controller: true``, empty if there is none.
        owners: uids of all owners.
        service, variant: labels, empty if they are not set.
        service_uid: annotation of objects that outlive their InferenceService, empty if it is not set.
        labelled_by_us: pertoken's field manager wrote these labels.
    """

    ref: WorkloadRef
    uid: str
    resource_version: str
    controller: Mapping[str, Any]
    owners: frozenset[str] = frozenset()
    service: str = ""
    variant: str = ""
    service_uid: str = ""
    labelled_by_us: bool = False


def marks_of(obj: Mapping[str, Any]) -> Marks:
    """Read the marks of an object of any kind."""
    meta = obj["metadata"]
    owners = [dict(owner) for owner in meta.get("ownerReferences") or ()]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    return Marks(
        ref=WorkloadRef(obj.get("apiVersion", "v1"), obj.get("kind", ""), meta.get("namespace", ""), meta["name"]),
        uid=meta["uid"],
        resource_version=meta.get("resourceVersion", ""),
        controller=next((owner for owner in owners if owner.get("controller")), {}),
        owners=frozenset(str(owner.get("uid", "")) for owner in owners),
        service=labels.get(SERVICE_LABEL, ""),
        variant=labels.get(VARIANT_LABEL, ""),
        service_uid=annotations.get(SERVICE_UID, ""),
        labelled_by_us=any(_wrote_label(entry) for entry in meta.get("managedFields") or ()),
    )


def _wrote_label(entry: Mapping[str, Any]) -> bool:
    labels = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:labels") or {}
    return entry.get("manager") == FIELD_MANAGER and f"f:{SERVICE_LABEL}" in labels


@dataclass(frozen=True, slots=True)
class OwnershipClaim:
    """For whom pertoken wants to write an object.

    Attributes:
        uid: of the InferenceService.
        workload_uid: of the adopted workload that owns the ConfigMap of its batch cap; empty for what pertoken owns.
    """

    service: ServiceKey
    variant: str
    uid: str
    workload_uid: str = ""


def stranger(marks: Marks, claim: OwnershipClaim) -> str:
    """Why an object is not pertoken's to write for this claim, in words; empty when it is proven to be."""
    if claim.workload_uid:
        ours = claim.workload_uid in marks.owners and marks.labelled_by_us
        return "" if ours else "pertoken did not make it for this workload"
    if marks.controller:
        ours = marks.controller.get("uid") == claim.uid
        return "" if ours else f"it is controlled by {_named(marks.controller, claim)}"
    if not marks.labelled_by_us or (marks.service, marks.variant) != (claim.service.name, claim.variant):
        return "pertoken did not make it"
    # Earlier builds wrote no uid.
    if marks.service_uid in {"", claim.uid}:
        return ""
    return (
        f"an earlier InferenceService {claim.service.name} left it (deletionPolicy Orphan); "
        f"to go on with it annotate it {SERVICE_UID}={claim.uid}"
    )


def _named(owner: Mapping[str, Any], claim: OwnershipClaim) -> str:
    name = f"{owner.get('kind', '')} {owner.get('name', '')}"
    earlier = owner.get("kind") == "InferenceService" and owner.get("name") == claim.service.name
    return f"an earlier {name}, which is being deleted" if earlier else name


def identified(manifest: Mapping[str, Any], marks: Marks) -> Json:
    """A manifest that the API server applies only over exactly the object that was looked at."""
    identity = {"uid": marks.uid, "resourceVersion": marks.resource_version}
    return {**manifest, "metadata": {**manifest["metadata"], **identity}}


def handed_over(managed_fields: Sequence[Mapping[str, Any]]) -> list[Json] | None:
    """The managedFields after a creation is handed over to server-side apply; None when there is nothing to do.

    A POST leaves its fields to an entry of operation Update, which later applies would share and could never empty. So
    it becomes the entry of the applier. The replicas go to the scaler, so that applies may leave them out.
    """
    created = [entry for entry in managed_fields if _created_by_us(entry)]
    if not created:
        return None
    others = [entry for entry in managed_fields if entry not in created]
    applied = next((entry for entry in others if _applied_by(entry, FIELD_MANAGER)), None)
    fields: Json = copy.deepcopy(applied["fieldsV1"]) if applied else {}
    for entry in created:
        _unite(fields, entry.get("fieldsV1") or {})
    replicas = (fields.get("f:spec") or {}).pop("f:replicas", None)
    records = [{**created[0], "operation": "Apply", "fieldsV1": fields}]
    if replicas is not None and not any(_holds_replicas(entry) for entry in others):
        claim: Json = {"f:spec": {"f:replicas": {}}}
        records.append({**created[0], "manager": SCALE_MANAGER, "operation": "Apply", "fieldsV1": claim})
    return [dict(entry) for entry in others if entry is not applied] + records


def _created_by_us(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Update" and not entry.get("subresource")


def _applied_by(entry: Mapping[str, Any], manager: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")


def _holds_replicas(entry: Mapping[str, Any]) -> bool:
    return "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})


def _unite(into: Json, more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        _unite(into.setdefault(key, {}), value)


def differs(live: Mapping[str, Any], applied: Mapping[str, Any]) -> bool:
    """Whether an apply changed more than the record of who owns which field."""
    return _content(live) != _content(applied)


def _content(obj: Mapping[str, Any]) -> Json:
    bookkeeping: Iterable[str] = ("managedFields", "resourceVersion", "generation")
    meta = {key: value for key, value in obj["metadata"].items() if key not in bookkeeping}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": meta}
