"""Saturation by percentages, the analyzer V1 of llm-d's workload-variant-autoscaler, and its limiter.

Source: llm-d/llm-d-workload-variant-autoscaler v0.5.1 to 2976e4e (Apache-2.0), written anew from its rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SaturationSettings:
    """`wva-saturation-scaling-config` of V1."""

    kv_threshold: float = 0.80
    queue_threshold: float = 5.0
    kv_spare: float = 0.10
    queue_spare: float = 3.0


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """One Ready replica: largest KV use and queue length of the last minute."""

    kv: float
    queue: float


@dataclass(frozen=True, slots=True)
class ModelSaturation:
    """What all replicas of a model say together.

    Attributes:
        free: replicas that are not saturated.
        spare_kv, spare_queue: mean distance of those from the thresholds, 0 without any.
    """

    total: int
    free: int
    spare_kv: float
    spare_queue: float
    up: bool
    down_safe: bool


def analyze(replicas: Sequence[ReplicaLoad], settings: SaturationSettings) -> ModelSaturation:
    """Whether the model needs a replica, or can lose one: its load spread over one less keeps both spares."""
    if not replicas:
        return ModelSaturation(0, 0, 0.0, 0.0, up=False, down_safe=False)
    free = [r for r in replicas if r.kv < settings.kv_threshold and r.queue < settings.queue_threshold]
    count = len(free)
    spare_kv = sum(settings.kv_threshold - r.kv for r in free) / count if free else 0.0
    spare_queue = sum(settings.queue_threshold - r.queue for r in free) / count if free else 0.0
    down_safe = False
    if count >= 2:
        growth = count / (count - 1)
        left_kv = settings.kv_threshold - (settings.kv_threshold - spare_kv) * growth
        left_queue = settings.queue_threshold - (settings.queue_threshold - spare_queue) * growth
        down_safe = left_kv >= settings.kv_spare and left_queue >= settings.queue_spare
    up = spare_kv < settings.kv_spare or spare_queue < settings.queue_spare
    return ModelSaturation(len(replicas), count, spare_kv, spare_queue, up, down_safe)


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """One variant of the model.

    Attributes:
        cost: of one replica; only its order counts.
        desired: published last, 0 when nothing has been.
        pending: replicas that are not Ready.
    """

    name: str
    cost: float
    current: int
    desired: int = 0
    pending: int = 0
    least: int = 0
    most: int | None = None

    def clamp(self, replicas: int) -> int:
        """Within the variant's bounds."""
        bounded = max(replicas, self.least)
        return bounded if self.most is None else min(bounded, self.most)


def targets(verdict: ModelSaturation, variants: Sequence[ModelVariant]) -> dict[str, int]:
    """One step: +1 on the cheapest variant or -1 on the dearest; the whole model is held while any is in transition."""
    replicas = {v.name: v.desired if v.desired not in {0, v.current} else v.current for v in variants}
    if any(v.pending > 0 or v.desired not in {0, v.current} for v in variants):
        return {v.name: v.clamp(replicas[v.name]) for v in variants}
    if verdict.up:
        cheapest = min(variants, key=lambda v: (v.cost, v.name))
        replicas[cheapest.name] += 1
    elif verdict.down_safe:
        able = [v for v in variants if replicas[v.name] > 1]
        if able:
            dearest = max(able, key=lambda v: (v.cost, v.name))
            replicas[dearest.name] -= 1
    return {v.name: v.clamp(replicas[v.name]) for v in variants}


@dataclass(frozen=True, slots=True)
class Ask:
    """One variant's wish before the limiter; `spare` orders the wishes, the most saturated first."""

    name: str
    current: int
    target: int
    gpus: int
    spare: float
    cost: float
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class LimitedTargets:
    """Targets after the limiter, the variants that got less than they asked for, and the GPUs left."""

    targets: dict[str, int] = field(default_factory=dict)
    limited: frozenset[str] = frozenset()
    free: int = 0


def limit(asks: Iterable[Ask], free: int) -> LimitedTargets:
    """Grant scale-ups from the free GPUs in the order of saturation; `minReplicas` is granted whatever is free."""
    asked = list(asks)
    granted = {ask.name: ask.target for ask in asked}
    limited = set()
    for ask in sorted((a for a in asked if a.target > a.current), key=lambda a: (a.spare, a.cost)):
        size = max(ask.gpus, 1)
        wanted = ask.target if ask.most is None else min(ask.target, ask.most)
        given = min(wanted - ask.current, max(free, 0) // size)
        replicas = max(ask.current + given, min(ask.least, wanted))
        free -= (replicas - ask.current) * size
        granted[ask.name] = replicas
        if replicas < wanted:
            limited.add(ask.name)
    return LimitedTargets(granted, frozenset(limited), free)


@dataclass(frozen=True, slots=True)
class VariantTarget:
    """One variant's target before the enforcer."""

    name: str
    cost: float
    target: int


def enforce(decisions: Sequence[VariantTarget], requests: float, *, to_zero: bool) -> dict[str, int]:
    """Zero for all after a retention period without requests, where allowed; else at least one on the cheapest."""
    replicas = {d.name: d.target for d in decisions}
    if to_zero and requests <= 0:
        return dict.fromkeys(replicas, 0)
    if replicas and not any(replicas.values()):
        cheapest = min(decisions, key=lambda d: (d.cost, d.name))
        replicas[cheapest.name] = 1
    return replicas
