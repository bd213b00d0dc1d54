"""What services ask of the pools, and what the pools give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from pertoken.domain.identity import ServiceKey
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One variant that may grow.

    Attributes:
        variant: name.
        pool: name.
        gpus: of one replica.
        current: replicas now.
        wanted: replicas asked for.
        ceiling: replicas that it may ever have.
        rate: requests per second that one replica carries; 0 when not known (then nothing spills over to it).
        where: on which nodes its pods may run.
        pods: GPUs of each pod of a replica, where it has several.
        spare: replicas among those asked for that only spend what a cost target leaves: they come after all needs.
    """

    variant: str
    pool: str
    gpus: int
    current: int
    wanted: int
    ceiling: int
    rate: float = 0.0
    where: PlacementRules = ANYWHERE
    pods: tuple[int, ...] = ()
    spare: int = 0


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """One service's scale-ups, cheapest variant first. A pool may let its priority count for less."""

    service: ServiceKey
    priority: int
    namespace_labels: Mapping[str, str]
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class GrantRefusal:
    """Why a variant got less than it asked for: the code and the words."""

    reason: Reason
    words: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What one service got.

    Attributes:
        replicas: by variant.
        refused: why a variant got less than it asked for, by variant.
        shortfall: GPUs asked for and not given, by variant.
        uncovered: requests per second for which no variant stands in; 0 also where rates are not known.
        reclaimed: variants that give replicas up for a higher priority, with the words for it; `replicas` is what
            stays.
        freed: by variant, what is under way to end its shortfall, in words.
    """

    replicas: Mapping[str, int]
    refused: Mapping[str, GrantRefusal]
    shortfall: Mapping[str, int]
    uncovered: float = 0.0
    reclaimed: Mapping[str, str] = field(default_factory=dict)
    freed: Mapping[str, str] = field(default_factory=dict)


NOTHING_GRANTED: Final = Grant({}, {}, {})
