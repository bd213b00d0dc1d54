"""The parsed form in which the inventory holds pertoken's own objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pertoken.api.ownership import Marks
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ServiceSpec
from pertoken.ports import Json


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """One InferenceService: what it asks for, or why it cannot be understood.

    Attributes:
        spec: None when it is refused.
        refusals: one line per mistake (field, value, expectation).
        not_acted_on: paths of set fields that this version shows but does not act upon.
        templates: variant name -> raw pod template, of owned variants.
        orphan: owned workloads stay when the object is deleted.
        status: as last seen, to keep transition times and to write only changes.
        created_at: seconds since the epoch.
    """

    key: ServiceKey
    uid: str
    generation: int
    deleting: bool
    spec: ServiceSpec | None
    refusals: tuple[str, ...] = ()
    not_acted_on: tuple[str, ...] = ()
    templates: Mapping[str, Json] = field(default_factory=dict)
    orphan: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolObject:
    """One AcceleratorPool, likewise."""

    name: str
    uid: str
    generation: int
    created_at: float
    spec: PoolSpec | None
    refusals: tuple[str, ...] = ()
    not_acted_on: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CapObject:
    """One ConfigMap with a batch cap."""

    namespace: str
    name: str
    cap: BatchCap
    marks: Marks


@dataclass(frozen=True, slots=True)
class Refusal:
    """A service or pool that cannot be planned now, with the reason to show.

    Attributes:
        conflicted: the spec is fine, but another object has what it asks for: told in `Conflicted`, not in `Accepted`.
    """

    uid: str
    reason: Reason
    message: str
    conflicted: bool = False
