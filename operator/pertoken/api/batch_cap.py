"""The ConfigMap that holds a workload's batch cap, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.api.launch import CAP_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.api.ownership import SERVICE_LABEL, SERVICE_UID, VARIANT_LABEL
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import CompleteBatchCap, SetBatchCap
from pertoken.domain.service import Batching
from pertoken.raw.values import MOST_SEQUENCES, Malformed, seconds, whole_number

PREVIOUS: Final = "pertoken.dev/previous"
CHANGED_AT: Final = "pertoken.dev/changed-at"
COMPLETED: Final = "pertoken.dev/completed"
ROLLED_BACK: Final = "pertoken.dev/rolled-back"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CapDocument:
    """What a cap's ConfigMap is made of.

    Attributes:
        owner: owner reference, see `workloads.service_owner` and `workloads.workload_owner`. Of an adopted workload
            it must be the workload itself: its pods need the ConfigMap after the InferenceService is gone.
        service_uid: of the InferenceService, where there is no owner reference to tell.
    """

    service: ServiceKey
    variant: str
    target: WorkloadRef
    cap: BatchCap
    owner: Json | None = None
    service_uid: str = ""


def initial_cap(batching: Batching) -> BatchCap:
    """The first cap: the largest that the user allows, until measurements tell better."""
    return BatchCap(value=batching.max_sequences)


def cap_after(action: SetBatchCap | CompleteBatchCap, known: BatchCap | None, now: float) -> BatchCap:
    """The cap that an action leaves behind, given the one that was there. `now` in seconds since the epoch."""
    if isinstance(action, SetBatchCap):
        return BatchCap(
            value=action.value,
            previous=action.previous,
            changed_at=now,
            rolled_back=action.rolled_back,
            completed=False,
        )
    if known is None:
        return BatchCap(value=action.value)
    return replace(known, value=action.value, completed=True)


def cap_config_map(document: CapDocument) -> Json:
    """The ConfigMap ``<workload>-batch``."""
    cap = document.cap
    annotations = {
        CHANGED_AT: f"{cap.changed_at:.3f}",
        COMPLETED: _word(cap.completed),
        ROLLED_BACK: _word(cap.rolled_back),
    }
    if cap.previous is not None:
        annotations[PREVIOUS] = str(cap.previous)
    if document.owner is None and document.service_uid:
        annotations[SERVICE_UID] = document.service_uid
    metadata: Json = {
        "name": cap_name(document.target.name),
        "namespace": document.target.namespace,
        "labels": {
            "app.kubernetes.io/managed-by": "pertoken",
            "app.kubernetes.io/part-of": document.service.name,
            "app.kubernetes.io/component": "batch-cap",
            SERVICE_LABEL: document.service.name,
            VARIANT_LABEL: document.variant,
        },
        "annotations": annotations,
    }
    if document.owner is not None:
        metadata["ownerReferences"] = [document.owner]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {CAP_VARIABLE: str(cap.value)}}


def parse_cap(config_map: Mapping[str, Any]) -> BatchCap | None:
    """A cap read back; None when the ConfigMap has no such key.

    Raises:
        Malformed: someone has edited it, so that no cap is known.
    """
    text = (config_map.get("data") or {}).get(CAP_VARIABLE)
    if text is None:
        return None
    value = whole_number(text, MOST_SEQUENCES)
    if not value:
        raise Malformed(f"data.{CAP_VARIABLE}", text, f"a whole number from 1 to {MOST_SEQUENCES}")
    annotations = (config_map.get("metadata") or {}).get("annotations") or {}
    return BatchCap(
        value=value,
        previous=whole_number(annotations.get(PREVIOUS), MOST_SEQUENCES) or None,
        changed_at=seconds(annotations.get(CHANGED_AT)) or 0.0,
        rolled_back=annotations.get(ROLLED_BACK) == "true",
        completed=annotations.get(COMPLETED, "true") == "true",
    )


def _word(flag: bool) -> str:
    return "true" if flag else "false"
