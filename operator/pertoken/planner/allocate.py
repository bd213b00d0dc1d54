"""Give out a scarce pool: strict priorities, fair shares within one, whole replicas on real nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from pertoken.domain.identity import ServiceKey
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.domain.reasons import Reason
from pertoken.planner.place import PoolState


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
    """

    variant: str
    pool: str
    gpus: int
    current: int
    wanted: int
    ceiling: int
    rate: float = 0.0
    where: PlacementRules = ANYWHERE


@dataclass(frozen=True, slots=True)
class Request:
    """One service's scale-ups, cheapest variant first. A pool may let its priority count for less."""

    service: ServiceKey
    priority: int
    namespace_labels: Mapping[str, str]
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Refused:
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
    refused: Mapping[str, Refused]
    shortfall: Mapping[str, int]
    uncovered: float = 0.0
    reclaimed: Mapping[str, str] = field(default_factory=dict)
    freed: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A request while it is being served."""

    request: Request
    wanted: dict[str, int]
    given: dict[str, int]
    refused: dict[str, Refused] = field(default_factory=dict)
    asked: int = 0
    got: int = 0
    priorities: dict[str, int] = field(default_factory=dict)
    uncovered: float = 0.0

    @property
    def share(self) -> float:
        """GPUs given of GPUs asked for."""
        return self.got / self.asked if self.asked else 1.0


def allocate(requests: Sequence[Request], pools: Mapping[str, PoolState]) -> dict[ServiceKey, Grant]:
    """Serve all scale-ups from the pools, whose states are used up.

    Higher priorities are served first and completely. Within a priority the service with the least share of what it
    asked for gets the next replica, so that nobody is starved. What a full pool refuses spills over to the service's
    next variant. A service counts with another priority in each pool whose access rules limit it.
    """
    opened = [_open(request, pools) for request in sorted(requests, key=lambda request: request.service)]
    for priority in sorted({level for entry in opened for level in entry.priorities.values()}, reverse=True):
        waiting = [entry for entry in opened if priority in entry.priorities.values()]
        while waiting:
            waiting.sort(key=lambda entry: (entry.share, entry.request.service))
            if not _serve_one(waiting[0], pools, priority):
                waiting.pop(0)
    return {entry.request.service: _grant(entry) for entry in opened}


def _open(request: Request, pools: Mapping[str, PoolState]) -> _Open:
    entry = _Open(
        request,
        {option.variant: option.wanted for option in request.options},
        {option.variant: option.current for option in request.options},
    )
    entry.asked = sum(max(0, option.wanted - option.current) * option.gpus for option in request.options)
    for option in request.options:
        if option.pool not in pools:
            _refuse(entry, option, Refused(Reason.POOL_EXHAUSTED, f"pool {option.pool} does not exist"))
            continue
        counts = pools[option.pool].priority(request.namespace_labels, request.priority)
        entry.priorities[option.variant] = counts
    return entry


def _serve_one(entry: _Open, pools: Mapping[str, PoolState], priority: int) -> bool:
    """Give the entry one replica that it may ask for at this priority; False when there is none to be given."""
    for option in entry.request.options:
        if option.variant in entry.refused or entry.given[option.variant] >= entry.wanted[option.variant]:
            continue
        if entry.priorities[option.variant] < priority:
            continue
        pool = pools[option.pool]
        rule = pool.rule_of(entry.request.namespace_labels)
        if rule is None:
            _refuse(entry, option, Refused(Reason.ACCESS_DENIED, no_access(entry.request.service, pool)))
            continue
        why = pool.refusal(option.gpus, rule, option.where)
        if why:
            _refuse(entry, option, Refused(Reason.POOL_EXHAUSTED, why))
            continue
        pool.take(option.gpus, rule, option.where)
        entry.given[option.variant] += 1
        entry.got += option.gpus
        return True
    return False


def no_access(service: ServiceKey, pool: PoolState) -> str:
    """In words, that no access rule of the pool is about the service's namespace."""
    return f"namespace {service.namespace} has no access to pool {pool.spec.name}: no entry of its `access` selects it"


def _refuse(entry: _Open, option: Option, why: Refused) -> None:
    """Note the refusal and ask the next variants for the rate that is missing."""
    missing = entry.wanted[option.variant] - entry.given[option.variant]
    if missing <= 0:
        return
    entry.refused[option.variant] = why
    rate = missing * option.rate
    for other in entry.request.options:
        if rate <= 0:
            return
        if other.rate <= 0 or other.variant in entry.refused:
            continue
        room = other.ceiling - entry.wanted[other.variant]
        more = min(room, ceil(rate / other.rate - 1e-9))
        if more > 0:
            entry.wanted[other.variant] += more
            rate -= more * other.rate
    entry.uncovered += max(0.0, rate)


def _grant(entry: _Open) -> Grant:
    gpus = {option.variant: option.gpus for option in entry.request.options}
    shortfall = {
        name: (entry.wanted[name] - entry.given[name]) * gpus[name]
        for name in entry.given
        if entry.wanted[name] > entry.given[name]
    }
    return Grant(entry.given, entry.refused, shortfall, entry.uncovered)
