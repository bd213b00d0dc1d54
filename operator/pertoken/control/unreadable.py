"""Watched objects that cannot be parsed: what is known of them all the same, and which workloads they put in doubt.

An object that cannot be read is never counted as absent: its pod still runs, its workload exists, its node is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.control.facts import ReplicaSets, controller_of, resolve
from pertoken.control.shapes import NAMESPACED, require
from pertoken.domain.cluster import NodeFact
from pertoken.domain.identity import WorkloadRef
from pertoken.raw.values import Malformed, shown

KINDS: Final[Mapping[str, str]] = {
    "inferenceservices": "InferenceService",
    "acceleratorpools": "AcceleratorPool",
    "pods": "Pod",
    "nodes": "Node",
    "namespaces": "Namespace",
    "deployments": "Deployment",
    "replicasets": "ReplicaSet",
    "configmaps": "ConfigMap",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}
MOST_NAME: Final = 253  # characters of a name in the API
_MADE_FROM_A_WORKLOAD: Final = frozenset({"pods", "replicasets"})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One object that cannot be parsed.

    Attributes:
        plural: of its kind.
        uid: how the inventory knows it.
        why: field, value, expectation, or words where no field is to blame.
        owner: what controls it directly (of an autoscaler: its target); None if nothing does or it is not known.
        owner_known: whether `owner` could be read.
        node: where a pod is bound, empty if it is not or that cannot be read either.
    """

    plural: str
    namespace: str
    name: str
    uid: str
    why: str
    owner: WorkloadRef | None = None
    owner_known: bool = False
    node: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{KINDS.get(self.plural, self.plural)} {where} cannot be read: {self.why}"

    def concerns(self, target: WorkloadRef, replicasets: ReplicaSets) -> bool:
        """Whether a workload's replicas, pods or autoscalers are not known as long as this object is not."""
        if self.namespace != target.namespace:
            return False
        if self.plural == "deployments":
            return (target.kind, target.name) == ("Deployment", self.name)
        if self.plural == "horizontalpodautoscalers":
            return self.owner is None or (self.owner.kind, self.owner.name) == (target.kind, target.name)
        if self.plural not in _MADE_FROM_A_WORKLOAD:
            return False
        owner = resolve(self.owner, replicasets)
        if self.owner_known and (owner is None or owner.kind != "ReplicaSet"):
            return owner == target
        return self.name.startswith(f"{target.name}-")  # controllers name what they make after the workload


def unreadable(plural: str, uid: str, obj: Any, error: Exception) -> Unreadable:
    """What can be told of an object whose parser raised; never raises itself."""
    meta = _mapping(_mapping(obj).get("metadata"))
    owner, known = _owner(plural, obj)
    node = _mapping(_mapping(obj).get("spec")).get("nodeName") if plural == "pods" else ""
    return Unreadable(
        plural=plural,
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")) or uid,
        uid=uid,
        why=words(error),
        owner=owner,
        owner_known=known,
        node=_text(node),
    )


def words(error: Exception) -> str:
    """Why something could not be read, for its owner: no names of Python's errors."""
    match error:
        case Malformed():
            return str(error)
        case RecursionError():
            return "it is nested too deep"
        case KeyError() if error.args:
            return f"{error.args[0]}: missing: required"
    return "a field has an unexpected type or value"


def in_doubt(
    unreadable: Iterable[Unreadable], targets: Iterable[WorkloadRef], replicasets: ReplicaSets
) -> dict[WorkloadRef, Unreadable]:
    """The scale targets of which not everything can be read, each with the first object that is to blame."""
    blamed = sorted(unreadable, key=lambda obj: (obj.plural, obj.namespace, obj.name, obj.uid))
    doubts: dict[WorkloadRef, Unreadable] = {}
    for target in targets if blamed else ():
        first = next((each for each in blamed if each.concerns(target, replicasets)), None)
        if first is not None:
            doubts[target] = first
    return doubts


def without_room(nodes: Iterable[NodeFact], unreadable: Iterable[Unreadable]) -> tuple[NodeFact, ...]:
    """The nodes; one that holds a pod whose requests are not known gives no room."""
    doubtful = {obj.node for obj in unreadable if obj.node}
    return tuple(replace(node, schedulable=False) if node.name in doubtful else node for node in nodes)


def _owner(plural: str, obj: Any) -> tuple[WorkloadRef | None, bool]:
    try:
        require(obj, {"metadata": NAMESPACED})
        if plural != "horizontalpodautoscalers":
            return controller_of(obj), True
        target = obj["spec"]["scaleTargetRef"]
        kind, name = target["kind"], target["name"]
        known = isinstance(kind, str) and isinstance(name, str)
        return (WorkloadRef("", kind, obj["metadata"]["namespace"], name), True) if known else (None, False)
    except Exception:  # noqa: BLE001 - the object is known to be broken: what it says of itself may be, too
        return None, False


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= MOST_NAME else "" if value is None else shown(value)
