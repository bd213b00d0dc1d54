"""A fault in work that is done for all pools together costs the services of the pool in which it lies, not the cycle.

The work is tried on everything. Where it raises, it is tried on each pool alone, with the variants that use it; pools
on which it raises again are left out, and their services are held. A fault that no pool shows alone costs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pertoken.domain.identity import ServiceKey
from pertoken.domain.world import World
from pertoken.frozen import dataclass, replace
from pertoken.planner.allocate.stage import Allocation
from pertoken.planner.proposal import Proposal
from pertoken.units import fault_words

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PoolFault:
    """Why nothing is given out of a pool; an empty name stands for all pools together."""

    pool: str
    error: str

    @property
    def words(self) -> str:
        """For people."""
        where = f"pool {self.pool}" if self.pool else "the pools"
        return (
            f"sharing out {where} failed on a figure that it cannot work with; what uses it keeps its replicas. "
            "The decision trace has the details"
        )


def shared(
    stages: Callable[[Allocation], Allocation], allocation: Allocation
) -> tuple[Allocation, Mapping[ServiceKey, PoolFault]]:
    """The joint stages, and the services that they cannot serve, with the fault of each."""
    try:
        return stages(allocation), {}
    except Exception as raised:  # noqa: BLE001 - one pool must not fail the cycle
        cause = fault_words(raised)
    faults = {
        name: PoolFault(name, error)
        for name in allocation.pools
        if (error := _error_of(stages, _of_pool(allocation, name)))
    }
    held: dict[ServiceKey, PoolFault] = {
        proposal.key: faults[pool]
        for proposal in allocation.proposals
        for pool in _pools_of(proposal)
        if pool in faults
    }
    left = replace(allocation, proposals=tuple(each for each in allocation.proposals if each.key not in held))
    try:
        return stages(left), held
    except Exception:  # noqa: BLE001 - one pool must not fail the cycle
        everywhere = PoolFault("", cause)
        others = {proposal.key: everywhere for proposal in left.proposals}
        return replace(allocation, proposals=()), {**others, **held}


def without_faulty_pools(work: Callable[[World], Item], world: World) -> tuple[Item, Mapping[str, PoolFault]]:
    """What is worked out of the world's pools, and the pools for which it cannot be.

    Raises:
        Exception: of the work, where no pool alone explains it.
    """
    try:
        return work(world), {}
    except Exception:
        faults = {
            view.spec.name: PoolFault(view.spec.name, error)
            for view in world.pools
            if (error := _error_of(work, replace(world, pools=(view,))))
        }
        if not faults:
            raise
    return work(replace(world, pools=tuple(view for view in world.pools if view.spec.name not in faults))), faults


def _error_of(work: Callable[[Item], object], item: Item) -> str:
    """What the work raises; empty where it does not."""
    try:
        work(item)
    except Exception as error:  # noqa: BLE001 - told by its words
        return fault_words(error)
    return ""


def _pools_of(proposal: Proposal) -> tuple[str, ...]:
    return tuple(variant.state.spec.pool for variant in proposal.variants)


def _of_pool(allocation: Allocation, name: str) -> Allocation:
    """The services that use a pool, with their variants there alone."""
    there = (
        replace(proposal, variants=tuple(v for v in proposal.variants if v.state.spec.pool == name))
        for proposal in allocation.proposals
        if name in _pools_of(proposal)
    )
    return replace(allocation, proposals=tuple(there), pools={name: allocation.pools[name]})
