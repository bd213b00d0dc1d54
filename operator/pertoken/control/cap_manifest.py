"""The ConfigMap of a batch cap as it has to be after an action, made from what the cycle surveyed."""

from __future__ import annotations

from pertoken.api.batch_cap import CapDocument, cap_after, cap_config_map
from pertoken.api.naming import cap_name
from pertoken.api.ownership import identified, stranger
from pertoken.api.workloads import service_owner, workload_owner
from pertoken.control.caps import claim_of
from pertoken.control.objects import ServiceObject
from pertoken.control.survey import Surveyed
from pertoken.domain.cluster import BatchCap
from pertoken.domain.plan import CompleteBatchCap, SetBatchCap
from pertoken.domain.service import VariantSpec
from pertoken.ports import Conflict, Json


def cap_manifest(action: SetBatchCap | CompleteBatchCap, surveyed: Surveyed, now: float) -> Json:
    """The ConfigMap after a batch action, for exactly the object that was surveyed.

    Raises:
        Conflict: there was none of ours.
    """
    service, variant = _subject(action, surveyed)
    scalable = surveyed.scalables.get(variant.workload)
    uid = scalable.uid if scalable else ""
    cap = surveyed.caps.get((service.key.namespace, cap_name(variant.workload.name)))
    if cap is None or stranger(cap.marks, claim_of(service, variant, uid)):
        raise Conflict(f"ConfigMap {cap_name(action.target.name)} of the batch cap is not there, or not ours")
    document = cap_document(service, variant, cap_after(action, cap.cap, now), uid)
    return identified(cap_config_map(document), cap.marks)


def cap_document(service: ServiceObject, variant: VariantSpec, cap: BatchCap, workload_uid: str) -> CapDocument:
    """The cap's owner: the service for owned workloads, else the workload, whose pods may outlive the service."""
    owner: Json | None = None
    if variant.owned and service.spec is not None and not service.orphan:
        owner = service_owner(service.spec)
    elif not variant.owned and workload_uid:
        owner = workload_owner(variant.workload, workload_uid)
    return CapDocument(service.key, variant.name, variant.workload, cap, owner, service.uid)


def _subject(action: SetBatchCap | CompleteBatchCap, surveyed: Surveyed) -> tuple[ServiceObject, VariantSpec]:
    for service in surveyed.services:
        for variant in service.spec.variants if service.key == action.service and service.spec else ():
            if variant.name == action.variant:
                return service, variant
    raise Conflict(f"{action.service} has no variant {action.variant} any more")
