"""Patches by kind: Karpenter's NodePool, Kueue's ClusterQueue, the autoscalers' CapacityBuffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pertoken.capacity.exports.patch import Amounts, Json, NoPatch, Patch, PatchType, Target, mapping_at


def patch_of(target: Target, amounts: Amounts, obj: Mapping[str, Any] | None) -> Patch | NoPatch:
    """The patch for one object.

    Args:
        target: the object that the user names.
        amounts: what its pool needs.
        obj: the object as it stands; None where the user gave none. Only a ClusterQueue cannot do without.
    """
    make = _BY_KIND.get(target.kind)
    if make is None:
        return NoPatch(target, f"expected one of {', '.join(_BY_KIND)}")
    return make(target, amounts, obj)


def _node_pool(target: Target, amounts: Amounts, obj: Mapping[str, Any] | None) -> Patch | NoPatch:
    """Limits of the GPUs that Karpenter may bring up; others of the NodePool stay."""
    if obj is not None and "replicas" in mapping_at(obj, "spec"):
        return NoPatch(target, "has spec.replicas: a static NodePool takes no limit of GPUs, only of nodes")
    body = {"spec": {"limits": {amounts.resource: str(amounts.gpus)}}}
    why = f"at most {amounts.gpus} {amounts.resource} for pool {target.pool}"
    return Patch(target, "nodepools.karpenter.sh", PatchType.MERGE, body, why)


def _cluster_queue(target: Target, amounts: Amounts, obj: Mapping[str, Any] | None) -> Patch | NoPatch:
    """Nominal quota of the resource in one flavor.

    The list of resource groups is atomic: the place is patched by its index, after a test that the names are still
    there. Borrowing and lending limits stay.
    """
    if obj is None:
        return NoPatch(target, "its manifest is needed beside the others (-f): quotas are patched by their place")
    places = [place for place in _places(obj) if place.resource == amounts.resource]
    if target.detail:
        places = [place for place in places if place.flavor == target.detail]
    if len(places) != 1:
        has = ", ".join(place.flavor for place in _places(obj) if place.resource == amounts.resource) or "none"
        return NoPatch(target, f"flavors with {amounts.resource}: {has}; expected one, or its name after the object's")
    place = places[0]
    body = [
        {"op": "test", "path": f"{place.flavor_path}/name", "value": place.flavor},
        {"op": "test", "path": f"{place.path}/name", "value": amounts.resource},
        {"op": "replace", "path": f"{place.path}/nominalQuota", "value": str(amounts.gpus)},
    ]
    why = f"quota of {amounts.gpus} {amounts.resource} in flavor {place.flavor} for pool {target.pool}"
    return Patch(target, "clusterqueues.kueue.x-k8s.io", PatchType.JSON, body, why)


class _Place:
    """Where one resource of one flavor stands in a ClusterQueue."""

    def __init__(self, indexes: tuple[int, int, int], flavor: str, resource: str) -> None:
        group, at, number = indexes
        self.flavor, self.resource = flavor, resource
        self.flavor_path = f"/spec/resourceGroups/{group}/flavors/{at}"
        self.path = f"{self.flavor_path}/resources/{number}"


def _places(obj: Mapping[str, Any]) -> Iterator[_Place]:
    for group, groups in _entries(mapping_at(obj, "spec"), "resourceGroups"):
        for at, flavor in _entries(groups, "flavors"):
            for number, resource in _entries(flavor, "resources"):
                yield _Place((group, at, number), str(flavor.get("name")), str(resource.get("name")))


def _entries(parent: Mapping[str, Any], field: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = parent.get(field)
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, Mapping):
            yield index, entry


def _capacity_buffer(target: Target, amounts: Amounts, obj: Mapping[str, Any] | None) -> Patch | NoPatch:
    """Chunks of head-room: as many as the plan's confidence exceeds the median by."""
    if not target.detail.isdecimal() or int(target.detail) < 1:
        return NoPatch(target, f"GPUs of one chunk: {target.detail or 'none'}; expected 1 or more after the name")
    chunk = int(target.detail)
    count = -(-amounts.headroom // chunk)
    spec: Json = {"replicas": count}
    if obj is not None and "percentage" in mapping_at(obj, "spec"):
        spec["percentage"] = None  # the smaller of both would count
    why = f"{count} chunks of {chunk} {amounts.resource}: head-room of {amounts.headroom} for pool {target.pool}"
    return Patch(target, "capacitybuffers.autoscaling.x-k8s.io", PatchType.MERGE, {"spec": spec}, why)


_BY_KIND: Final[Mapping[str, Callable[[Target, Amounts, Mapping[str, Any] | None], Patch | NoPatch]]] = {
    "NodePool": _node_pool,
    "ClusterQueue": _cluster_queue,
    "CapacityBuffer": _capacity_buffer,
}
