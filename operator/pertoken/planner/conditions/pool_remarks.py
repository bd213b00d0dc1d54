"""What a reader must know about a service's place in the pools, whether or not anything is short."""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Step, Told
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import UNCHANGED, step
from pertoken.planner.service_state import ServiceState


def remarks(state: ServiceState, pools: Mapping[str, PoolState]) -> list[str]:
    """In words, where free GPUs do not tell the whole story, and priorities that a pool lets count for less."""
    words = []
    for variant in state.variants:
        rules = variant.workload.placement
        if rules.unknown:
            doubts = ", ".join(rules.doubts)
            words.append(f"where pods of {variant.name} fit is not known and left to the scheduler: {doubts}")
        elif rules.narrowed_by:
            words.append(f"free GPUs are an upper bound for {variant.name}: {', '.join(rules.narrowed_by)}")
        pool = pools.get(variant.spec.pool)
        if pool is not None:
            counts = pool.priority(state.view.namespace_labels, state.spec.priority)
            if counts != state.spec.priority:
                words.append(
                    f"priority {state.spec.priority} counts as {counts} in pool {pool.spec.name} (maxPriority)"
                )
    return list(dict.fromkeys(words))


def doubts(state: ServiceState) -> list[Step]:
    """A step of the trace for every variant whose free GPUs a count does not tell."""
    return [
        step("place", UNCHANGED, Reason.PLACEMENT_UNKNOWN, Told(", ".join(words)), variant=variant.name)
        for variant in state.variants
        if (words := variant.workload.placement.doubts)
    ]
