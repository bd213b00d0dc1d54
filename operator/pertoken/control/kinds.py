"""The watched kinds: what each is called in the API, and the type that its objects are read into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pertoken.control.facts import NamespaceFact, ReplicaSetFact
from pertoken.control.objects import CapObject, PoolObject, ServiceObject
from pertoken.control.workloads import AutoscalerFact, ScalableFact
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.ports import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WatchedKind(Generic[T]):
    """One watched kind.

    Attributes:
        plural: its name in the API, such as ``pods``.
        parse: one object as the inventory keeps it, None for one of no interest; raises for one that cannot be read.
    """

    plural: str
    parse: Callable[[Json], T | None]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Every watched kind; `pertoken.control.parse` has the operator's table."""

    services: WatchedKind[ServiceObject]
    pools: WatchedKind[PoolObject]
    pods: WatchedKind[PodFact]
    nodes: WatchedKind[NodeFact]
    namespaces: WatchedKind[NamespaceFact]
    deployments: WatchedKind[ScalableFact]
    replicasets: WatchedKind[ReplicaSetFact]
    caps: WatchedKind[CapObject]
    autoscalers: WatchedKind[AutoscalerFact]
