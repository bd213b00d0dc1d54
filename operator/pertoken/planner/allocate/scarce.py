"""What a scarce pool means for one service: refusals, missing access, priorities, as steps of its trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit, Step
from pertoken.planner.grant import Grant
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import UNCHANGED, Proposal, step


def pool_limits(proposal: Proposal, grant: Grant, pools: Mapping[str, PoolState]) -> Iterator[Step]:
    """What the pools keep from the service. A namespace without access is told even when it asks for nothing."""
    for name, words in grant.reclaimed.items():
        yield _limit("reclaim", Reason.RECLAIMED_FOR_PRIORITY, words, name)
    denied = _denied(proposal, pools)
    for name, words in denied.items():
        yield _limit("allocate", Reason.ACCESS_DENIED, words, name)
    for name, refused in grant.refused.items():
        if name in denied or name in grant.reclaimed:
            continue
        coming = f"; {grant.freed[name]}" if name in grant.freed else ""
        words = f"{grant.shortfall.get(name, 0)} GPUs short for {name}: {refused.words}{coming}"
        yield _limit("allocate", refused.reason, words, name)
    for name, words in grant.freed.items():
        if name not in grant.refused:
            yield _limit("allocate", Reason.POOL_EXHAUSTED, f"pods of {name} wait for room: {words}", name)


def _limit(stage: str, reason: Reason, words: str, variant: str) -> Step:
    return step(stage, UNCHANGED, reason, Limit(words), variant=variant)


def _denied(proposal: Proposal, pools: Mapping[str, PoolState]) -> dict[str, str]:
    denied: dict[str, str] = {}
    if proposal.stance.off:
        return denied
    for variant in proposal.state.variants:
        pool = pools.get(variant.spec.pool)
        if pool is not None and pool.rule_of(proposal.state.view.namespace_labels) is None:
            kept = f"{variant.name} keeps its {variant.current} replicas and gets no more"
            denied[variant.name] = f"{pool.no_access(proposal.key)}; {kept}"
    return denied
