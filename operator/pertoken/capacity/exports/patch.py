"""What a patch is made of, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from pertoken.capacity.futures import PoolFutures

MEDIAN = 50
Json = dict[str, Any]


class PatchType(StrEnum):
    """How `kubectl patch --type` takes it."""

    MERGE = "merge"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Target:
    """An object that the user names for a pool.

    Attributes:
        detail: a ClusterQueue's flavor where several have the resource; GPUs of one chunk of a CapacityBuffer.
    """

    pool: str
    kind: str
    name: str
    namespace: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a pool needs.

    Attributes:
        resource: that pods request.
        gpus: most of any hour, at the plan's confidence, in whole nodes.
        headroom: most that the plan's confidence exceeds the median by in one hour.
    """

    resource: str
    gpus: int
    headroom: int


@dataclass(frozen=True, slots=True)
class Patch:
    """A change to one object; `why` says in words what it sets."""

    target: Target
    resource: str
    type: PatchType
    body: Json | Sequence[Json]
    why: str

    @property
    def command(self) -> str:
        """What applies it, for the user."""
        where = f" -n {self.target.namespace}" if self.target.namespace else ""
        return f"kubectl patch {self.resource} {self.target.name}{where} --type {self.type.value} --patch-file FILE"


@dataclass(frozen=True, slots=True)
class NoPatch:
    """Why there is none: what was named, and what was expected."""

    target: Target
    why: str

    def __str__(self) -> str:
        return f"{self.target}: {self.why}"


def amounts_of(futures: PoolFutures, confidence: float) -> Amounts:
    """What a pool's futures ask for."""
    size = futures.gpus_per_node
    needed = futures.quantile(confidence)
    spare = needed - futures.quantile(MEDIAN)
    return Amounts(futures.pool.resource_name, -(-int(needed.max()) // size) * size, int(np.max(spare)))


def mapping_at(obj: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A mapping inside an object; empty where there is none."""
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
