"""When a pod ended: the instant from which it holds no devices and costs nothing.

A pod in phase Failed or Succeeded holds nothing, though its object may stay until somebody deletes it: evicted by the
kubelet, refused by the node (``UnexpectedAdmissionError``, ``OutOfnvidia.com/gpu``), preempted, shut down with its
node, or done. No field says when that was, so it is taken from the best of several others (`finished_at`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pertoken.control.quantities import epoch
from pertoken.ports import Json

ENDED_PHASES = frozenset({"Succeeded", "Failed"})
REFUSED = ("Pod was rejected", "UnexpectedAdmissionError", "OutOf", "TopologyAffinityError", "NodeAffinity")
_CONTAINER_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def finished(obj: Json) -> bool:
    """Whether a pod has ended for good."""
    return (obj.get("status") or {}).get("phase") in ENDED_PHASES


def finished_at(obj: Json) -> float | None:
    """When a finished pod ended, seconds since the epoch; None where nothing of the object tells.

    The first of these that is there: the end of its last container, the disruption that ended it, the last write of
    its status, the kubelet's first look at a pod that it refused, the loss of readiness, the deadline of a deletion.
    """
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    told = (
        max((end for name in _CONTAINER_LISTS for end in _container_ends(status.get(name) or ())), default=None),
        _since(conditions.get("DisruptionTarget"), "True"),
        _last_status_write(meta.get("managedFields") or ()),
        epoch(status.get("startTime")) if _refused(status) else None,
        _lost_readiness(conditions),
        epoch(meta.get("deletionTimestamp")),
    )
    return next((at for at in told if at is not None), None)


def _container_ends(statuses: Iterable[Json]) -> Iterable[float]:
    for entry in statuses:
        at = epoch(((entry.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        if at is not None and at > 0:  # a zero time is written where the container was lost sight of
            yield at


def _last_status_write(managed_fields: Iterable[Json]) -> float | None:
    """The last write of the status: nothing writes it after the pod has ended."""
    times = [epoch(entry.get("time")) for entry in managed_fields if entry.get("subresource") == "status"]
    return max((at for at in times if at is not None), default=None)


def _refused(status: Json) -> bool:
    """The kubelet never ran it: it had its devices from the scheduler's decision to the refusal, moments later."""
    return any(str(status.get(name) or "").startswith(REFUSED) for name in ("reason", "message"))


def _lost_readiness(conditions: dict[Any, Json]) -> float | None:
    """When it stopped being Ready; None for a pod that never was, whose condition is as old as the pod."""
    lost, since = _since(conditions.get("Ready"), "False"), _since(conditions.get("Initialized"), "True")
    return lost if lost is not None and since is not None and lost > since else None


def _since(condition: Json | None, status: str) -> float | None:
    if not condition or condition.get("status") != status:
        return None
    return epoch(condition.get("lastTransitionTime"))
