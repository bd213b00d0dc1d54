"""Replicas that carry a rate, the cheapest variant first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from pertoken.planner.proposal import Capacity
from pertoken.planner.service_state import VariantState
from pertoken.units import TINY


def fill(order: Sequence[VariantState], capacities: Mapping[str, Capacity], need: float) -> dict[str, int]:
    """Give the rate to the cheapest variant first, up to its maximum; what none can carry is asked of the cheapest.

    What the minimums of dearer variants carry anyway is not asked of cheaper ones, and of a variant whose replicas
    Kubernetes refuses no more is asked than exists.

    Args:
        order: variants, the cheapest first.
        capacities: of one replica, by variant.
        need: requests per second.
    """
    wanted, left = {}, need
    floors = {variant.name: min(variant.spec.min_replicas, variant.ceiling) for variant in order}
    anyway = sum(floors[variant.name] * capacities[variant.name].rate for variant in order)
    for variant in order:
        rate, floor = capacities[variant.name].rate, floors[variant.name]
        anyway -= floor * rate
        asked = ceil((left - anyway) / rate - TINY)
        count = min(max(asked, floor, 0), variant.ceiling)
        wanted[variant.name] = count
        left = max(0.0, left - count * rate)
    if left > TINY and order:
        first = order[0]
        wanted[first.name] += ceil(left / capacities[first.name].rate - TINY)
    return wanted
