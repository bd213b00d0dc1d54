"""What every variant has, lacks and may lose of its pool: the scene on which priorities are settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from pertoken.domain.identity import ServiceKey
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.planner.allocate import Grant
from pertoken.planner.facts import VariantFacts
from pertoken.planner.place import PoolState
from pertoken.planner.propose import Draft, has
from pertoken.planner.sizing import Wish

# The pace. A quarter at a time leaves the loser's other replicas to take its traffic over, and two cycles between two
# times show what the last one brought before more is taken: in one the pods end, in the next the winner's are placed.
RECLAIM_SHARE: Final = 0.25
RECLAIM_CYCLES: Final = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one variant has, lacks and may lose of its pool.

    Attributes:
        priority: as it counts in this pool.
        rule: index of the pool's access rule.
        gpus: of one replica.
        held: replicas now.
        replicas: that this cycle's plan gives it.
        short: replicas that it asked for and did not get.
        rate: requests per second that one replica carries, 0 when not known.
        least: the variant's minimum.
        surge: extra replicas of a rolling cap change among `held` and `replicas`.
        last_cut_at: when replicas were taken away last, 0 for never.
        movable: pertoken scales it, and no rollout is under way.
        acts: its wants count.
    """

    service: ServiceKey
    variant: str
    pool: str
    priority: int
    rule: int
    gpus: int
    held: int
    replicas: int
    where: PlacementRules = ANYWHERE
    short: int = 0
    rate: float = 0.0
    least: int = 0
    surge: int = 0
    last_cut_at: float = 0.0
    movable: bool = True
    acts: bool = True

    @property
    def key(self) -> tuple[ServiceKey, str]:
        """Service and variant."""
        return self.service, self.variant

    @property
    def kept(self) -> int:
        """Replicas of those that it has which it would keep."""
        return min(self.replicas, self.held)

    def pace(self, now: float, cycle_seconds: float) -> int:
        """Replicas that it may lose now."""
        if now - self.last_cut_at < RECLAIM_CYCLES * cycle_seconds:
            return 0
        return max(1, int(self.held * RECLAIM_SHARE))


@dataclass(frozen=True, slots=True)
class Scene:
    """All variants that hold or want GPUs, and what their services are owed.

    Attributes:
        least: a service's minimum over all its variants.
        uncovered: requests per second of a service for which no variant stands in.
    """

    shares: tuple[Share, ...]
    least: Mapping[ServiceKey, int]
    uncovered: Mapping[ServiceKey, float]
    now: float
    cycle_seconds: float


def scene_of(drafts: Iterable[Draft], grants: Mapping[ServiceKey, Grant], pools: Mapping[str, PoolState]) -> Scene:
    """The scene after `allocate`. Services without a grant do not act: they keep what they have and want nothing."""
    found = list(drafts)
    shares = []
    for draft in found:
        variants = {variant.name: variant for variant in draft.facts.variants}
        for wish in draft.wishes:
            variant = variants[wish.variant]
            pool = pools.get(variant.spec.pool)
            if pool is not None:
                shares.append(_share(draft, variant, wish, grants.get(draft.facts.spec.key), pool))
    return Scene(
        tuple(shares),
        {draft.facts.spec.key: draft.facts.spec.min_replicas for draft in found},
        {service: grant.uncovered for service, grant in grants.items()},
        max((draft.facts.now for draft in found), default=0.0),
        max((draft.facts.settings.cycle_seconds for draft in found), default=0.0),
    )


def _share(draft: Draft, variant: VariantFacts, wish: Wish, grant: Grant | None, pool: PoolState) -> Share:
    spec, labels = draft.facts.spec, draft.facts.view.namespace_labels
    workload, command = variant.workload, variant.memory.command
    rule = pool.rule_of(labels)
    own = has(variant, wish)
    surge = variant.current - own
    planned, short = own, 0
    rate = 0.0 if wish.capacity is None else wish.capacity.rate
    if grant is not None:
        given = grant.replicas.get(variant.name, own)
        planned = given if given > own else min(wish.replicas, own)
        short = grant.shortfall.get(variant.name, 0) // max(workload.gpus_per_replica, 1)
        if rate > 0:
            short = min(short, ceil(grant.uncovered / rate - 1e-9))
    cut = command is not None and command.desired < command.before
    return Share(
        service=spec.key,
        variant=variant.name,
        pool=pool.spec.name,
        priority=pool.priority(labels, spec.priority),
        rule=-1 if rule is None else rule,
        gpus=workload.gpus_per_replica,
        held=variant.current,
        replicas=planned + surge,
        where=workload.placement,
        short=0 if rule is None else short,
        rate=rate,
        least=variant.spec.min_replicas,
        surge=surge,
        last_cut_at=command.at if command is not None and cut else 0.0,
        movable=grant is not None and workload.settled and workload.gpus_per_replica > 0,
        acts=grant is not None and workload.gpus_per_replica > 0,
    )
