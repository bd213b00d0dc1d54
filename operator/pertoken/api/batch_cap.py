"""The ConfigMap that holds a workload's batch cap, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.api.launch import CAP_VARIABLE, CHUNK_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.api.ownership import SERVICE_LABEL, SERVICE_UID, VARIANT_LABEL
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import CompleteBatchCap, SetBatchCap
from pertoken.domain.service import Batching
from pertoken.raw.values import MOST_SEQUENCES, MOST_STEP_TOKENS, Malformed, seconds, whole_number

PREVIOUS: Final = "pertoken.dev/previous"
PREVIOUS_CHUNK: Final = "pertoken.dev/previous-batched-tokens"
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


def initial_cap(batching: Batching, chunk: int | None = None) -> BatchCap:
    """The first cap: the largest that the user allows, until measurements tell better; likewise the chunk.

    Args:
        batching: of the variant.
        chunk: tokens per step where the user names no maximum; None where engines read none.
    """
    first = batching.max_batched_tokens if chunk is not None and batching.max_batched_tokens else chunk
    return BatchCap(value=batching.max_sequences, chunk=None if first is None else max(first, batching.max_sequences))


def cap_after(action: SetBatchCap | CompleteBatchCap, known: BatchCap | None, now: float) -> BatchCap:
    """The cap that an action leaves behind, given the one that was there. `now` in seconds since the epoch."""
    if isinstance(action, SetBatchCap):
        return BatchCap(
            value=action.value,
            previous=action.previous,
            changed_at=now,
            rolled_back=action.rolled_back,
            completed=False,
            # Templates of before may still read it: a key that is gone would keep their pods from starting.
            chunk=known.chunk if action.chunk is None and known is not None else action.chunk,
            previous_chunk=action.previous_chunk,
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
    if cap.previous_chunk is not None:
        annotations[PREVIOUS_CHUNK] = str(cap.previous_chunk)
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
    data = {CAP_VARIABLE: str(cap.value)}
    if cap.chunk is not None:
        data[CHUNK_VARIABLE] = str(cap.chunk)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def parse_cap(config_map: Mapping[str, Any]) -> BatchCap | None:
    """A cap read back; None when the ConfigMap has no such key.

    Raises:
        Malformed: someone has edited it, so that no cap is known.
    """
    data = config_map.get("data") or {}
    if data.get(CAP_VARIABLE) is None:
        return None
    value = _counted(data, CAP_VARIABLE, MOST_SEQUENCES)
    chunk = _counted(data, CHUNK_VARIABLE, MOST_STEP_TOKENS) if data.get(CHUNK_VARIABLE) is not None else None
    annotations = (config_map.get("metadata") or {}).get("annotations") or {}
    return BatchCap(
        value=value,
        previous=whole_number(annotations.get(PREVIOUS), MOST_SEQUENCES) or None,
        changed_at=seconds(annotations.get(CHANGED_AT)) or 0.0,
        rolled_back=annotations.get(ROLLED_BACK) == "true",
        completed=annotations.get(COMPLETED, "true") == "true",
        chunk=chunk,
        previous_chunk=whole_number(annotations.get(PREVIOUS_CHUNK), MOST_STEP_TOKENS) or None,
    )


def _counted(data: Mapping[str, Any], key: str, most: int) -> int:
    value = whole_number(data[key], most)
    if not value:
        raise Malformed(f"data.{key}", data[key], f"a whole number from 1 to {most}")
    return value


def _word(flag: bool) -> str:
    return "true" if flag else "false"
