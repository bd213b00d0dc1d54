"""Which types the parts of watched objects have that are read. A foreign object is held against them before parsing.

The API server checks types of the built-in kinds and of ours; a parser must not depend on it, and a refusal should name
the field. What is null counts as unset, what a table does not list is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pertoken.raw.values import Malformed


class Leaf(Enum):
    """Types of what is not looked into, in words."""

    TEXT = "a text"
    NAME = "a text that is not empty"
    TEXTS = "a mapping of texts"
    MAPPING = "a mapping"
    FLAG = "true or false"


@dataclass(frozen=True, slots=True)
class Each:
    """A list; every entry has this shape."""

    shape: Any


# A shape is a leaf, a list of shapes, or a mapping with shapes by field; NAME alone must be there.
Shape = Leaf | Each | Mapping[str, Any]

_META: Final = {
    "name": Leaf.NAME,
    "uid": Leaf.NAME,
    "resourceVersion": Leaf.TEXT,
    "creationTimestamp": Leaf.TEXT,
    "deletionTimestamp": Leaf.TEXT,
    "labels": Leaf.TEXTS,
    "annotations": Leaf.TEXTS,
    "ownerReferences": Each(
        {"apiVersion": Leaf.NAME, "kind": Leaf.NAME, "name": Leaf.NAME, "uid": Leaf.TEXT, "controller": Leaf.FLAG}
    ),
    "managedFields": Each({"manager": Leaf.TEXT, "time": Leaf.TEXT, "fieldsV1": {"f:spec": Leaf.MAPPING}}),
}
NAMESPACED: Final = {**_META, "namespace": Leaf.NAME}
_CONDITIONS: Final = Each(
    {
        "type": Leaf.NAME,
        "status": Leaf.TEXT,
        "reason": Leaf.TEXT,
        "message": Leaf.TEXT,
        "lastTransitionTime": Leaf.TEXT,
    }
)
_STATE: Final = {
    "waiting": {"reason": Leaf.TEXT, "message": Leaf.TEXT},
    "running": {"startedAt": Leaf.TEXT},
    "terminated": {"reason": Leaf.TEXT, "message": Leaf.TEXT, "finishedAt": Leaf.TEXT},
}
_CONTAINER_STATUSES: Final = Each({"name": Leaf.NAME, "state": _STATE, "lastState": _STATE})
_CONTAINERS: Final = Each(
    {
        "name": Leaf.NAME,
        "image": Leaf.TEXT,
        "command": Each(Leaf.TEXT),
        "args": Each(Leaf.TEXT),
        "restartPolicy": Leaf.TEXT,
        "env": Each(
            {
                "name": Leaf.NAME,
                "value": Leaf.TEXT,
                "valueFrom": {"configMapKeyRef": {"name": Leaf.TEXT, "key": Leaf.TEXT}},
            }
        ),
        "envFrom": Each({"prefix": Leaf.TEXT, "configMapRef": {"name": Leaf.TEXT}}),
        "resources": {"requests": Leaf.MAPPING, "limits": Leaf.MAPPING},
    }
)
_POD_SPEC: Final = {
    "nodeName": Leaf.TEXT,
    "nodeSelector": Leaf.TEXTS,
    "schedulerName": Leaf.TEXT,
    "resourceClaims": Each({"name": Leaf.TEXT, "resourceClaimName": Leaf.TEXT, "resourceClaimTemplateName": Leaf.TEXT}),
    "schedulingGates": Each({"name": Leaf.TEXT}),
    "tolerations": Each({"key": Leaf.TEXT, "operator": Leaf.TEXT, "value": Leaf.TEXT, "effect": Leaf.TEXT}),
    "containers": _CONTAINERS,
    "initContainers": _CONTAINERS,
}
_TEMPLATE: Final = {"metadata": {"labels": Leaf.TEXTS, "annotations": Leaf.TEXTS}, "spec": _POD_SPEC}

SCALABLE: Final[Mapping[str, Shape]] = {
    "apiVersion": Leaf.NAME,
    "kind": Leaf.NAME,
    "metadata": NAMESPACED,
    "spec": {
        "template": {**_TEMPLATE, "containers": _CONTAINERS},
        "leaderWorkerTemplate": {"leaderTemplate": _TEMPLATE, "workerTemplate": _TEMPLATE},
        "updateStrategy": {"type": Leaf.TEXT, "rollingUpdate": Leaf.MAPPING},
    },
    "status": {"conditions": _CONDITIONS, "currentRevision": Leaf.TEXT, "updateRevision": Leaf.TEXT},
}
STATUS: Final[Shape] = {"conditions": _CONDITIONS}
SHAPES: Final[Mapping[str, Shape]] = {
    "inferenceservices": {"metadata": NAMESPACED},
    "acceleratorpools": {"metadata": _META},
    "pods": {
        "metadata": NAMESPACED,
        "spec": _POD_SPEC,
        "status": {
            "phase": Leaf.TEXT,
            "startTime": Leaf.TEXT,
            "conditions": _CONDITIONS,
            "resourceClaimStatuses": Each({"name": Leaf.TEXT, "resourceClaimName": Leaf.TEXT}),
            "containerStatuses": _CONTAINER_STATUSES,
            "initContainerStatuses": _CONTAINER_STATUSES,
        },
    },
    "nodes": {
        "metadata": _META,
        "spec": {
            "unschedulable": Leaf.FLAG,
            "taints": Each({"key": Leaf.NAME, "value": Leaf.TEXT, "effect": Leaf.TEXT}),
        },
        "status": {"allocatable": Leaf.MAPPING, "conditions": _CONDITIONS},
    },
    "namespaces": {"metadata": _META},
    "deployments": {key: shape for key, shape in SCALABLE.items() if key not in {"apiVersion", "kind"}},
    "replicasets": {"metadata": NAMESPACED, "spec": Leaf.MAPPING, "status": Leaf.MAPPING},
    "configmaps": {"metadata": NAMESPACED, "data": Leaf.TEXTS},
    "horizontalpodautoscalers": {
        "metadata": NAMESPACED,
        "spec": {"scaleTargetRef": {"apiVersion": Leaf.TEXT, "kind": Leaf.NAME, "name": Leaf.NAME}},
    },
}


def require(value: Any, shape: Shape, path: str = "") -> None:
    """Hold a value against a shape.

    Raises:
        Malformed: the first field that does not have its type.
    """
    if value is None and shape is not Leaf.NAME:
        return
    match shape:
        case Leaf():
            if not _is(value, shape):
                raise Malformed(path, value, shape.value)
        case Each():
            _require_each(value, shape, path)
        case Mapping():
            if not isinstance(value, Mapping):
                raise Malformed(path, value, Leaf.MAPPING.value)
            for field, inner in shape.items():
                require(value.get(field), inner, f"{path}.{field}" if path else field)


def _require_each(value: Any, shape: Each, path: str) -> None:
    if not isinstance(value, list):
        raise Malformed(path, value, "a list")
    for index, entry in enumerate(value):
        if entry is None:
            raise Malformed(f"{path}[{index}]", None, "an entry")
        require(entry, shape.shape, f"{path}[{index}]")


def _is(value: Any, leaf: Leaf) -> bool:
    match leaf:
        case Leaf.TEXT:
            return isinstance(value, str)
        case Leaf.NAME:
            return isinstance(value, str) and bool(value)
        case Leaf.FLAG:
            return isinstance(value, bool)
        case Leaf.MAPPING:
            return isinstance(value, Mapping)
        case Leaf.TEXTS:
            return isinstance(value, Mapping) and all(isinstance(text, str | None) for text in value.values())
