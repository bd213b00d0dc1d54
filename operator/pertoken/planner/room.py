"""How many replicas a variant can have at most now: what it has room for, and what the pool would still take."""

from __future__ import annotations

from math import ceil

from pertoken.planner.pool_state import PoolState
from pertoken.planner.service_state import ServiceState, VariantState


def most_replicas(state: ServiceState, variant: VariantState, replicas: int, pool: PoolState | None) -> int:
    """Replicas within the variant's maximum, its pool's GPUs and ceilings, after all services got theirs.

    Args:
        state: of the service.
        variant: of it.
        replicas: that it shall have.
        pool: as it is left; None where the pool is not known.
    """
    workload = variant.workload
    gpus, ceiling = workload.gpus_per_replica, variant.ceiling
    rule = None if pool is None else pool.rule_of(state.view.namespace_labels)
    if pool is None or rule is None or gpus <= 0:
        return min(replicas, ceiling)
    seats = pool.seats.get((state.spec.key, variant.name), [])
    homeless = sum(1 for seat in seats if seat.node is None and not seat.leaving)
    # Pods without room may be the very ones beyond what the pool has.
    most = replicas - max(ceil(homeless / variant.pods_per_replica), ceil(_surplus(pool) / gpus))
    if most < replicas:
        return max(0, min(max(most, variant.ready), ceiling))
    trial = pool.copied()
    while most < ceiling and not trial.refusal(gpus, rule, workload.placement, workload.pod_gpus):
        trial.take(gpus, rule, workload.placement, workload.pod_gpus)
        most += 1
    return min(most, ceiling)


def _surplus(pool: PoolState) -> int:
    """GPUs in use beyond what the pool has, or may use."""
    allowed = pool.total if pool.spec.max_gpus is None else min(pool.total, pool.spec.max_gpus)
    return max(0, sum(pool.committed.values()) - allowed)
