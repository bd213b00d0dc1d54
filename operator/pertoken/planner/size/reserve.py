"""Replicas in reserve for those that get lost: reclaimed spot nodes, failed nodes, evictions.

They are added to what demand asks for, not taken off what a replica is believed to carry: the SLO knee learns from the
replicas that serve, and would learn such a discount away.
"""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.forecast.losses import reserve
from pertoken.planner.service_state import ServiceState, VariantState


def reserve_of(state: ServiceState, variant: VariantState, needed: int) -> int:
    """Replicas beyond those needed of one variant, as far as its maximum goes."""
    if needed <= 0:
        return 0
    more = reserve(needed, state.losses_of(variant), state.start_of(variant), state.tuning.losses)
    return min(more, max(0, variant.ceiling - needed))


def with_reserve(state: ServiceState, counts: Mapping[str, int]) -> dict[str, int]:
    """Replicas by variant with the reserve of each."""
    by_name = {variant.name: variant for variant in state.variants}
    return {name: count + reserve_of(state, by_name[name], count) for name, count in counts.items()}
