"""A plan with its decision trace, as plain JSON values and as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from pertoken.domain.plan import Decision, Plan


def plain(value: Any) -> Any:
    """Any domain value as what JSON can hold; keys become text, infinities and NaN null."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | bool | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if is_dataclass(value):
        own = {item.name: plain(getattr(value, item.name)) for item in fields(value)}
        return {"type": type(value).__name__, **own} if not isinstance(value, Plan) else own
    return str(value) if isinstance(value, Decimal) else repr(value)


def plan_text(plan: Plan) -> str:
    """For people: each service's decision with every stage's step, then the actions and pools."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    for decision in plan.decisions:
        yield from _decision_lines(decision)
        yield ""
    yield f"actions: {len(plan.actions)}"
    for action in plan.actions:
        words = ", ".join(f"{item.name}={getattr(action, item.name)}" for item in fields(action))
        yield f"  {type(action).__name__}: {words}"
    yield f"pools: {len(plan.pools)}"
    for pool in plan.pools:
        yield f"  {pool.name}: {pool.used} of {pool.total} GPUs used, {pool.free} free, {pool.pending} waited for"


def _decision_lines(decision: Decision) -> Iterator[str]:
    yield f"{decision.service}: {decision.reason.value}: {decision.message}"
    for variant in decision.variants:
        cap = "no cap" if variant.desired_cap is None else f"cap {variant.cap} -> {variant.desired_cap}"
        yield f"  variant {variant.variant}: replicas {variant.current} -> {variant.desired}, {cap}"
    for name, condition in sorted(decision.conditions.items()):
        yield f"  {name}={condition.verdict.value} ({condition.reason.value}): {condition.message}"
    for step in decision.trace:
        yield f"  {step.stage}: {step.before} -> {step.after} ({step.reason.value})"
        for key, number in step.figures().items():
            yield f"    {key}: {number}"
