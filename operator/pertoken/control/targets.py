"""One target, one service: a workload that several InferenceServices name belongs to the oldest of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pertoken.api.conditions import rfc3339
from pertoken.control.objects import Refusal, ServiceObject
from pertoken.control.workloads import group_of
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, VariantSpec

Target = tuple[str, str, str, str]


def target_of(ref: WorkloadRef) -> Target:
    """What a reference means: namespace, group, kind, name. The version is a way to write the same object."""
    return ref.namespace, group_of(ref.api_version), ref.kind, ref.name


def taken_targets(services: Iterable[ServiceObject]) -> dict[str, Refusal]:
    """Services that name a workload of an older one, or one workload twice, by uid.

    An owned variant names the Deployment that it makes. Whatever the older one's mode or state, it keeps its target
    until it is deleted or switched off, so that a service which is paused or broken for a while does not lose its
    workload.
    """
    holders: dict[Target, ServiceObject] = {}
    refusals: dict[str, Refusal] = {}
    for service in sorted(services, key=lambda service: (service.created_at, service.uid)):
        if service.spec is None or service.deleting or service.spec.mode is Mode.OFF:
            continue
        refusal = _twice(service) or _taken(service, holders)
        if refusal is not None:
            refusals[service.uid] = refusal
        for variant in service.spec.variants:
            holders.setdefault(target_of(variant.workload), service)
    return refusals


def _twice(service: ServiceObject) -> Refusal | None:
    seen: dict[Target, VariantSpec] = {}
    for variant in service.spec.variants if service.spec else ():
        first = seen.setdefault(target_of(variant.workload), variant)
        if first is not variant:
            words = f"variants {first.name} and {variant.name} are both {variant.workload}: give each its own workload"
            return Refusal(service.uid, Reason.INVALID_SPEC, words)
    return None


def _taken(service: ServiceObject, holders: dict[Target, ServiceObject]) -> Refusal | None:
    for variant in service.spec.variants if service.spec else ():
        holder = holders.get(target_of(variant.workload))
        if holder is None:
            continue
        words = (
            f"{variant.workload} belongs to InferenceService {holder.key}, which is older "
            f"(created {rfc3339(holder.created_at)}); nothing is done for this one. "
            f"{_cure(variant)}, or delete {holder.key.name} or switch it Off"
        )
        return Refusal(service.uid, Reason.TARGET_TAKEN, words, conflicted=True)
    return None


def _cure(variant: VariantSpec) -> str:
    return f"Rename variant {variant.name}" if variant.owned else f"Name another target in variant {variant.name}"
