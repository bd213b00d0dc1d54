"""From missing or spare tokens to replicas of variants: the optimizers of llm-d's workload-variant-autoscaler.

Source: llm-d/llm-d-workload-variant-autoscaler 2976e4e (Apache-2.0), written anew from its rules. Cost only orders
variants; the answer is greedy by cost per capacity and can overpay (upstream issue 1251), which is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf


@dataclass(frozen=True, slots=True)
class Choice:
    """One variant: `capacity` tokens and `cost` of one replica."""

    name: str
    cost: float
    capacity: float
    current: int
    least: int = 0
    most: int | None = None
    accelerator: str = ""
    gpus: int = 1

    @property
    def room(self) -> float:
        """Replicas up to the maximum."""
        return inf if self.most is None else max(0, self.most - self.current)


def cost_aware(required: float, spare: float, variants: Sequence[Choice]) -> dict[str, int]:
    """The default optimizer: no limit on GPUs."""
    replicas = {v.name: v.current for v in variants}
    if required > 0:
        return replicas | _grow(required, variants)
    return replicas | shrink(spare, variants)


def _by_price(variants: Sequence[Choice]) -> list[Choice]:
    return sorted((v for v in variants if v.capacity > 0), key=lambda v: (v.cost / v.capacity, v.name))


def _grow(required: float, variants: Sequence[Choice]) -> dict[str, int]:
    grown: dict[str, int] = {}
    for variant in _by_price(variants):
        if required <= 0:
            break
        added = int(min(ceil(required / variant.capacity), variant.room))
        grown[variant.name] = variant.current + added
        required -= added * variant.capacity
    return grown


def shrink(spare: float, variants: Sequence[Choice]) -> dict[str, int]:
    """Remove the dearest first; the cheapest keeps one replica unless a dearer variant has some."""
    replicas = {v.name: v.current for v in variants}
    ordered = sorted(variants, key=lambda v: (-v.cost, v.capacity, v.name))
    for variant in ordered:
        if spare <= 0 or variant.capacity <= 0:
            continue
        least = variant.least
        if variant is ordered[-1] and not any(replicas[v.name] > 0 for v in ordered[:-1]):
            least = max(least, 1)
        removed = min(floor(spare / variant.capacity), max(0, variant.current - least))
        replicas[variant.name] -= removed
        spare -= removed * variant.capacity
    return replicas


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """One model's need; `weight` = priority times the analyzer's score."""

    name: str
    required: float
    spare: float
    variants: Sequence[Choice]
    weight: float = 1.0


def greedy_by_score(needs: Sequence[ModelNeed], free: Mapping[str, int]) -> dict[str, int]:
    """The optimizer with a limiter: the neediest model is served down to the mean of all, again and again.

    Args:
        needs: of all models.
        free: GPUs by accelerator; a type without an entry has none.
    """
    left = dict(free)
    replicas = {v.name: v.current for need in needs for v in need.variants}
    open_needs = {need.name: need.required for need in needs if need.required > 0}
    by_name = {need.name: need for need in needs}
    while open_needs:
        values = {name: tokens * by_name[name].weight for name, tokens in open_needs.items()}
        mean = sum(values.values()) / len(values)
        name = max(sorted(values), key=lambda key: values[key])
        need = by_name[name]
        ask = open_needs[name] if len(values) == 1 else (values[name] - mean) / need.weight
        if ask <= 0:  # all are equal: serve this one a replica's worth
            ask = min(open_needs[name], min((v.capacity for v in need.variants if v.capacity > 0), default=0.0))
        served = _serve(ask, need, replicas, left)
        open_needs[name] -= served
        if open_needs[name] <= 0 or served <= 0 or (len(values) > 1 and open_needs[name] * need.weight > mean):
            del open_needs[name]
    for need in needs:
        if need.required <= 0:
            replicas.update(shrink(need.spare, need.variants))
    return replicas


def _serve(ask: float, need: ModelNeed, replicas: dict[str, int], left: dict[str, int]) -> float:
    """Add replicas for `ask` tokens from the GPUs left; returns the tokens gained."""
    gained = 0.0
    for variant in _by_price(need.variants):
        if ask <= gained:
            break
        size = max(variant.gpus, 1)
        room = inf if variant.most is None else variant.most - replicas[variant.name]
        added = int(min(ceil((ask - gained) / variant.capacity), left.get(variant.accelerator, 0) // size, room))
        if added <= 0:
            continue
        replicas[variant.name] += added
        left[variant.accelerator] -= added * size
        gained += added * variant.capacity
    return gained
