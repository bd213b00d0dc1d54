"""Scale-ups served from scarce pools: strict priorities, fair shares within one, whole replicas on real nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from heapq import heapify, heappop, heapreplace
from math import ceil

from pertoken.domain.identity import ServiceKey
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass
from pertoken.planner.grant import Grant, GrantRefusal, Option, PoolRequest
from pertoken.planner.pool_state import PoolState
from pertoken.units import TINY


@dataclass(slots=True)
class _Open:
    """A request while it is being served."""

    request: PoolRequest
    wanted: dict[str, int]
    given: dict[str, int]
    refused: dict[str, GrantRefusal] = field(default_factory=dict)
    asked: int = 0
    received: int = 0
    priorities: dict[str, int] = field(default_factory=dict)
    uncovered: float = 0.0

    @property
    def share(self) -> float:
        """GPUs given of GPUs asked for."""
        return self.received / self.asked if self.asked else 1.0


def give_out(requests: Sequence[PoolRequest], pools: Mapping[str, PoolState]) -> dict[ServiceKey, Grant]:
    """Serve all scale-ups from the pools, whose states are used up.

    Higher priorities are served first and completely. Within a priority the service with the least share of what it
    asked for gets the next replica, so that nobody is starved. What a full pool refuses spills over to the service's
    next variant. A service counts with another priority in each pool whose access rules limit it. Replicas that only
    spend what a cost target leaves get what is then left; nobody is told that they are missing.
    """
    opened = [_open(request, pools) for request in sorted(requests, key=lambda request: request.service)]
    for priority in sorted({level for entry in opened for level in entry.priorities.values()}, reverse=True):
        entitled = {entry.request.service: entry for entry in opened if priority in entry.priorities.values()}
        waiting = [(entry.share, service) for service, entry in entitled.items()]
        heapify(waiting)
        while waiting:
            _, service = waiting[0]
            entry = entitled[service]
            if _serve_one(entry, pools, priority):
                heapreplace(waiting, (entry.share, service))
            else:
                heappop(waiting)
    for entry in sorted(opened, key=lambda entry: -entry.request.priority):
        _serve_spare(entry, pools)
    return {entry.request.service: _grant(entry) for entry in opened}


def _open(request: PoolRequest, pools: Mapping[str, PoolState]) -> _Open:
    entry = _Open(
        request,
        {option.variant: option.wanted - option.spare for option in request.options},
        {option.variant: option.current for option in request.options},
    )
    entry.asked = sum(max(0, entry.wanted[o.variant] - o.current) * o.gpus for o in request.options)
    for option in request.options:
        if option.pool not in pools:
            _refuse(entry, option, GrantRefusal(Reason.POOL_EXHAUSTED, f"pool {option.pool} does not exist"))
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
            _refuse(entry, option, GrantRefusal(Reason.ACCESS_DENIED, pool.no_access(entry.request.service)))
            continue
        why = pool.refusal(option.gpus, rule, option.where, option.pods)
        if why:
            _refuse(entry, option, GrantRefusal(Reason.POOL_EXHAUSTED, why))
            continue
        pool.take(option.gpus, rule, option.where, option.pods)
        entry.given[option.variant] += 1
        entry.received += option.gpus
        return True
    return False


def _serve_spare(entry: _Open, pools: Mapping[str, PoolState]) -> None:
    """Give replicas beyond the need, of variants that got all they need."""
    for option in entry.request.options:
        pool = pools.get(option.pool)
        rule = None if pool is None else pool.rule_of(entry.request.namespace_labels)
        if pool is None or rule is None or option.variant in entry.refused:
            continue
        for _ in range(min(option.spare, option.ceiling - entry.given[option.variant])):
            if pool.refusal(option.gpus, rule, option.where, option.pods):
                break
            pool.take(option.gpus, rule, option.where, option.pods)
            entry.wanted[option.variant] += 1
            entry.given[option.variant] += 1


def _refuse(entry: _Open, option: Option, why: GrantRefusal) -> None:
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
        more = min(room, ceil(rate / other.rate - TINY))
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
