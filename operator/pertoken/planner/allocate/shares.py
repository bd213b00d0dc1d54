"""What every variant has, lacks and may lose of its pool; `reclaim` settles priorities on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from pertoken.domain.identity import ServiceKey
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.frozen import dataclass
from pertoken.planner.grant import Grant
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Proposal, VariantProposal
from pertoken.planner.tuning import Reclaim
from pertoken.units import TINY


@dataclass(frozen=True, slots=True)
class PoolShare:
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
        yields: its service's metrics let a higher priority take replicas.
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
    yields: bool = True
    acts: bool = True

    @property
    def key(self) -> tuple[ServiceKey, str]:
        """Service and variant."""
        return self.service, self.variant

    @property
    def kept(self) -> int:
        """Replicas of those that it has which it would keep."""
        return min(self.replicas, self.held)

    def most_cut(self, now: float, tuning: Reclaim) -> int:
        """Replicas that it may lose now."""
        if now - self.last_cut_at < tuning.seconds:
            return 0
        return max(1, int(self.held * tuning.share))


@dataclass(frozen=True, slots=True)
class Scene:
    """All variants that hold or want GPUs, and what their services are owed.

    Attributes:
        least: a service's minimum over all its variants.
        uncovered: requests per second of a service for which no variant stands in.
    """

    shares: tuple[PoolShare, ...]
    least: Mapping[ServiceKey, int]
    uncovered: Mapping[ServiceKey, float]
    now: float


def scene_of(
    proposals: Iterable[Proposal], grants: Mapping[ServiceKey, Grant], pools: Mapping[str, PoolState]
) -> Scene:
    """The scene after `allocate`. Services without a grant do not act: they keep what they have and want nothing."""
    services = list(proposals)
    shares = []
    for proposal in services:
        for variant in proposal.variants:
            pool = pools.get(variant.state.spec.pool)
            if pool is not None:
                shares.append(_share(proposal, variant, grants.get(proposal.key), pool))
    return Scene(
        tuple(shares),
        {proposal.key: proposal.state.min_replicas for proposal in services},
        {service: grant.uncovered for service, grant in grants.items()},
        max((proposal.state.now for proposal in services), default=0.0),
    )


def _share(proposal: Proposal, variant: VariantProposal, grant: Grant | None, pool: PoolState) -> PoolShare:
    spec, labels = proposal.state.spec, proposal.state.view.namespace_labels
    workload, command = variant.state.workload, variant.state.memory.command
    rule = pool.rule_of(labels)
    own = variant.base
    surge = variant.state.current - own
    planned, short = own, 0
    if grant is not None:
        given = grant.replicas.get(variant.name, own)
        planned = given if given > own else min(variant.replicas, own)
        short = grant.shortfall.get(variant.name, 0) // max(workload.gpus_per_replica, 1)
        if variant.rate > 0:
            short = min(short, ceil(grant.uncovered / variant.rate - TINY))
    cut = command is not None and command.desired < command.before
    return PoolShare(
        service=spec.key,
        variant=variant.name,
        pool=pool.spec.name,
        priority=pool.priority(labels, spec.priority),
        rule=-1 if rule is None else rule,
        gpus=workload.gpus_per_replica,
        held=variant.state.current,
        replicas=planned + surge,
        where=workload.placement,
        short=0 if rule is None else short,
        rate=variant.rate,
        least=variant.state.spec.min_replicas,
        surge=surge,
        last_cut_at=command.at if command is not None and cut else 0.0,
        movable=grant is not None and workload.settled and workload.gpus_per_replica > 0,
        yields=_yields(proposal),
        acts=grant is not None and workload.gpus_per_replica > 0,
    )


def _yields(proposal: Proposal) -> bool:
    """Whether a higher priority may take replicas: missing metrics forbid it, as they forbid any other scale-down.

    Where no replica serves there is nothing to measure: pods that start, or crash, are no reason to let others wait.
    """
    assessment = proposal.assessment
    return assessment.complete or (not assessment.holds and proposal.state.serving == 0)
