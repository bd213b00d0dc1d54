"""Strict priorities: what a higher priority lacks is taken from running replicas of lower ones in the same pool.

A loser keeps its variants' and its service's minimum and what its namespace is guaranteed, and everything while metrics
of the replicas that serve are missing. The lowest priority goes first, from the node on which the winner's replica then
fits; which pod really goes is the workload controller's choice, so that what was taken is counted anew in every cycle.
What is on its way out already is counted as free, and nothing is taken that would not let a replica of the winner run.
Between equal priorities nothing is taken. Who has given replicas up does not grow back before the higher priority has
what it asks for, and that asks for less only after its own stabilization window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from pertoken.domain.identity import ServiceKey
from pertoken.frozen import dataclass, replace
from pertoken.planner.allocate.shares import PoolShare, Scene
from pertoken.planner.grant import Grant
from pertoken.planner.pool_state import PoolState, Seat
from pertoken.planner.tuning import Reclaim
from pertoken.units import TINY

_Key = tuple[ServiceKey, str]
_Victim = tuple[PoolShare, Seat]


@dataclass(slots=True)
class _Pool:
    """One pool as it will be when everything that is on its way out is gone, and what may be taken from it.

    Attributes:
        later: free and committed units by then.
        seats: by variant, what may still be taken.
        above: replicas of a service above its minimum.
        uncovered: what a service's winners still lack, requests per second.
        due: replicas to be taken, by variant.
        for_whom: the highest priority for which they are.
        sources: services from which GPUs are due, by winner; empty where those on their way are enough.
    """

    shares: Sequence[PoolShare]
    later: PoolState
    seats: dict[_Key, list[Seat]]
    above: dict[ServiceKey, int]
    uncovered: dict[ServiceKey, float]
    due: Counter[_Key] = field(default_factory=Counter)
    for_whom: dict[_Key, PoolShare] = field(default_factory=dict)
    sources: dict[_Key, set[ServiceKey]] = field(default_factory=dict)


@dataclass(slots=True)
class _Loss:
    """Victims that are being weighed, with what their services and namespaces lose."""

    victims: list[_Victim] = field(default_factory=list)
    replicas: Counter[_Key] = field(default_factory=Counter)
    of_service: Counter[ServiceKey] = field(default_factory=Counter)
    of_rule: Counter[int] = field(default_factory=Counter)

    def add(self, share: PoolShare, seat: Seat) -> None:
        self.victims.append((share, seat))
        self.replicas[share.key] += 1
        self.of_service[share.service] += 1
        self.of_rule[share.rule] += seat.units


def settle_priorities(
    scene: Scene, grants: Mapping[ServiceKey, Grant], pools: Mapping[str, PoolState], tuning: Reclaim
) -> dict[ServiceKey, Grant]:
    """The grants after strict priorities: losers get less, winners know what is coming.

    Args:
        scene: after `allocate`.
        grants: what it gave.
        pools: after it; room that is being gathered for a winner is reserved in them.
        tuning: the pace.
    """
    settled = dict(grants)
    above: dict[ServiceKey, int] = {service: -least for service, least in scene.least.items()}
    for share in scene.shares:
        above[share.service] = above.get(share.service, 0) + share.kept - share.surge
    uncovered = dict(scene.uncovered)
    for name in sorted({share.pool for share in scene.shares if share.acts} & pools.keys()):
        pool = _when_gone(pools[name], [share for share in scene.shares if share.pool == name], above, uncovered)
        for want in sorted((share for share in pool.shares if share.acts), key=_precedence):
            _gather(want, pool, pools[name])
        _settle(pool, settled, scene, tuning)
    return settled


def _precedence(share: PoolShare) -> tuple[int, ServiceKey, str]:
    return -share.priority, share.service, share.variant


def _lowest_first(share: PoolShare) -> tuple[int, ServiceKey, str]:
    return share.priority, share.service, share.variant


def _when_gone(
    pool: PoolState, shares: Sequence[PoolShare], above: dict[ServiceKey, int], uncovered: dict[ServiceKey, float]
) -> _Pool:
    """The pool without what is on its way out, and what each variant holds then."""
    later = replace(pool, free=dict(pool.free), committed=dict(pool.committed), unplaced=0)
    for node, units in pool.leaving.items():
        if node in later.free:
            later.free[node] += units
    staying: dict[_Key, list[Seat]] = {}
    for share in shares:
        seats = pool.seats.get(share.key, [])
        later.committed[share.rule] = later.committed.get(share.rule, 0) - sum(s.units for s in seats if s.leaving)
        stay = sorted((s for s in seats if not s.leaving), key=lambda seat: (seat.bound, seat.node is not None))
        if any(seat.units != share.gpus for seat in stay):
            stay = []  # a replica of several pods is not taken apart
        surplus = max(0, len(stay) - share.kept)
        for seat in stay[:surplus]:
            _free(later, share, seat)
        staying[share.key] = stay[surplus:]
    return _Pool(shares, later, staying, above, uncovered)


def _free(later: PoolState, share: PoolShare, seat: Seat) -> None:
    later.committed[share.rule] = later.committed.get(share.rule, 0) - seat.units
    if seat.node is not None and seat.node in later.free:
        later.free[seat.node] += seat.units


def _gather(want: PoolShare, pool: _Pool, now: PoolState) -> None:
    """Find room for every replica that lacks it, pods that wait already first; stop where there is none to be had."""
    homeless = sum(1 for seat in pool.seats[want.key] if seat.node is None)
    for index in range(homeless + want.short):
        asked = index >= homeless  # a waiting pod is committed already and lacks only room
        if asked and want.rate > 0 and pool.uncovered.get(want.service, 0.0) <= TINY:
            return
        victims = _victims(want, pool, asked=asked)
        if victims is None:
            return
        sources = pool.sources.setdefault(want.key, set())
        for share, seat in victims:
            _free(pool.later, share, seat)
            pool.seats[share.key].remove(seat)
            pool.above[share.service] -= 1
            pool.due[share.key] += 1
            pool.for_whom.setdefault(share.key, want)
            sources.add(share.service)
        if asked:
            pool.later.committed[want.rule] = pool.later.committed.get(want.rule, 0) + want.gpus
            pool.uncovered[want.service] = pool.uncovered.get(want.service, 0.0) - want.rate
        node = pool.later.fit(want.gpus, want.where)
        if node is not None:
            # What is free on that node already waits for the rest.
            now.free[node] -= min(now.free[node], want.gpus)


def _victims(want: PoolShare, pool: _Pool, *, asked: bool) -> list[_Victim] | None:
    """Replicas that must go so that one of the winner's fits: none if it does already, None if that is no use.

    Args:
        want: the winner.
        pool: as it will be.
        asked: the replica does not count against ceilings and guarantees yet.
    """
    below = (share for share in pool.shares if share.priority < want.priority)
    losers = sorted((share for share in below if share.movable and share.yields), key=_lowest_first)
    loss = _on_best_node(want, pool, losers)
    if loss is None or not asked:
        return None if loss is None else loss.victims
    trial = replace(pool.later, free=dict(pool.later.free), committed=dict(pool.later.committed))
    for share, seat in loss.victims:
        _free(trial, share, seat)
    taken = {id(seat) for _, seat in loss.victims}
    spare = [(share, seat) for share in losers for seat in pool.seats[share.key] if id(seat) not in taken]
    while trial.refusal(want.gpus, want.rule, want.where):
        # A ceiling of the winner's own namespace yields only to replicas under the same rule.
        most = trial.rule(want.rule).max_gpus
        own_only = most is not None and trial.committed.get(want.rule, 0) + want.gpus > most
        open_to = ((s, seat) for s, seat in spare if s.rule == want.rule or not own_only)
        extra = next(((share, seat) for share, seat in open_to if _may_lose(share, want, pool, loss)), None)
        if extra is None:
            return None
        spare = [(share, seat) for share, seat in spare if seat is not extra[1]]
        loss.add(*extra)
        _free(trial, *extra)
    return loss.victims


def _on_best_node(want: PoolShare, pool: _Pool, losers: Sequence[PoolShare]) -> _Loss | None:
    """The victims on the node that costs the least: first by whom it takes from, then by how much."""
    if want.where.unknown:
        return _Loss()  # where it will run is not known: only ceilings stand in the way
    seated: dict[str, list[_Victim]] = {}
    for share in losers:
        for seat in pool.seats[share.key]:
            if seat.node is not None:
                seated.setdefault(seat.node, []).append((share, seat))
    best: tuple[tuple[float, int, str], _Loss] | None = None
    for node in pool.later.open_to(want.where):
        loss = _on_node(want, pool, pool.later.free[node], seated.get(node, ()))
        if loss is None:
            continue
        dearest = max((share.priority for share, _ in loss.victims), default=float("-inf"))
        cost = (dearest, sum(seat.units for _, seat in loss.victims), node)
        if best is None or cost < best[0]:
            best = cost, loss
    return None if best is None else best[1]


def _on_node(want: PoolShare, pool: _Pool, free: int, seated: Iterable[_Victim]) -> _Loss | None:
    """Who must leave one node so that a replica fits there; None if all who may are not enough."""
    loss = _Loss()
    for share, seat in seated:
        if free >= want.gpus:
            break
        if _may_lose(share, want, pool, loss):
            loss.add(share, seat)
            free += seat.units
    return loss if free >= want.gpus else None


def _may_lose(share: PoolShare, want: PoolShare, pool: _Pool, loss: _Loss) -> bool:
    """Whether a loser stays above its minimums and its namespace's guarantee without one more replica."""
    left = share.kept - share.surge - pool.due[share.key] - loss.replicas[share.key]
    if left <= share.least or pool.above[share.service] - loss.of_service[share.service] <= 0:
        return False
    guaranteed = pool.later.rule(share.rule).guaranteed_gpus
    if share.rule == want.rule or not guaranteed:
        return True
    return pool.later.committed.get(share.rule, 0) - loss.of_rule[share.rule] - share.gpus >= guaranteed


def _settle(pool: _Pool, grants: dict[ServiceKey, Grant], scene: Scene, tuning: Reclaim) -> None:
    """Take at the stated pace, hold who would grow, and tell both sides."""
    winners = [share for share in pool.shares if share.key in pool.sources]
    if not winners:
        return
    for want in winners:
        grant = grants[want.service]
        freed = {**grant.freed, want.variant: _coming(want, pool)}
        grants[want.service] = replace(grant, freed=freed)
    first = min(winners, key=_precedence)
    for share in pool.shares:
        guaranteed = pool.later.rule(share.rule).guaranteed_gpus
        within = pool.later.committed.get(share.rule, 0) <= guaranteed and not pool.due[share.key]
        if not share.movable or share.priority >= first.priority or within:
            continue
        cut = min(pool.due[share.key], share.most_cut(scene.now, tuning))
        keeps = max(share.kept - cut, min(share.replicas, share.least + share.surge))
        if pool.due[share.key] or share.short or keeps < share.replicas:
            grant = grants[share.service]
            grants[share.service] = replace(
                grant,
                replicas={**grant.replicas, share.variant: keeps - share.surge},
                reclaimed={**grant.reclaimed, share.variant: _taken(share, pool.for_whom.get(share.key, first), cut)},
            )


def _coming(want: PoolShare, pool: _Pool) -> str:
    """For the winner: whose GPUs are about to be free."""
    lower = {share.service: share.priority for share in pool.shares if share.priority < want.priority}
    leaving = {key[0] for key, seats in pool.later.seats.items() if any(seat.leaving for seat in seats)}
    named = sorted({*pool.sources[want.key], *(leaving & lower.keys())})
    if not named:
        return "GPUs of pods that are ending will be free soon"
    return f"GPUs are being reclaimed from {', '.join(f'{name} (priority {lower[name]})' for name in named)}"


def _taken(share: PoolShare, winner: PoolShare, cut: int) -> str:
    """For the loser: by whom, and how much."""
    loser = f"{share.variant} (priority {share.priority})"
    change = f"{loser} gives up {cut} of {share.held} replicas" if cut else f"{loser} does not grow meanwhile"
    return f"{winner.service} (priority {winner.priority}) is short of GPUs of pool {share.pool}: {change}"
