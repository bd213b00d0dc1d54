"""Stages `allocate` and `reclaim`: what services that act get of the pools, and what higher priorities take back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from pertoken.domain.identity import ServiceKey
from pertoken.frozen import dataclass, replace
from pertoken.planner.allocate.give_out import give_out
from pertoken.planner.allocate.reclaim import settle_priorities
from pertoken.planner.allocate.shares import scene_of
from pertoken.planner.grant import NOTHING_GRANTED, Grant, Option, PoolRequest
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Proposal, VariantProposal
from pertoken.planner.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True)
class Allocation:
    """All proposals on their way through the joint stages.

    Attributes:
        proposals: in the order of services.
        pools: what is left of them.
        grants: of the services that act.
    """

    proposals: tuple[Proposal, ...]
    pools: Mapping[str, PoolState]
    grants: Mapping[ServiceKey, Grant] = field(default_factory=dict)
    tuning: Tuning = TUNING

    def grant_of(self, key: ServiceKey) -> Grant:
        """What a service got; nothing for one that does not act."""
        return self.grants.get(key, NOTHING_GRANTED)


def allocate(allocation: Allocation) -> Allocation:
    """Serve the scale-ups of services that act; what a recommendation would need is shown, not reserved."""
    requests = [request_of(proposal) for proposal in allocation.proposals if proposal.stance.acts]
    pools = _copied(allocation.pools)
    return replace(allocation, grants=give_out(requests, pools), pools=pools)


def reclaim(allocation: Allocation) -> Allocation:
    """Take from lower priorities what higher ones lack."""
    pools = _copied(allocation.pools)
    scene = scene_of(allocation.proposals, allocation.grants, pools)
    grants = settle_priorities(scene, allocation.grants, pools, allocation.tuning.reclaim)
    return replace(allocation, grants=grants, pools=pools)


def _copied(pools: Mapping[str, PoolState]) -> dict[str, PoolState]:
    return {name: pool.copied() for name, pool in pools.items()}


def request_of(proposal: Proposal) -> PoolRequest:
    """What a service asks of the pools."""
    spec = proposal.state.spec
    options = tuple(_option(variant) for variant in proposal.variants)
    return PoolRequest(spec.key, spec.priority, proposal.state.view.namespace_labels, options)


def _option(variant: VariantProposal) -> Option:
    state = variant.state
    ceiling = state.spec.max_replicas if variant.status.may_grow else variant.replicas
    workload = state.workload
    return Option(
        variant=variant.name,
        pool=state.spec.pool,
        gpus=max(workload.gpus_per_replica, 0),
        current=variant.base,
        wanted=variant.replicas,
        ceiling=ceiling,
        rate=variant.rate,
        where=workload.placement,
        pods=workload.pod_gpus,
        spare=min(variant.spare, max(0, variant.replicas - variant.base)),
    )
