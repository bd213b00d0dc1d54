"""Stabilization windows and rate limits, with the meaning that they have in HPA v2: functions of histories."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior, PolicyType, ScalingRules, SelectPolicy
from pertoken.frozen import dataclass
from pertoken.planner.memory import Change, PastRecommendation
from pertoken.units import PER_CENT


@dataclass(frozen=True, slots=True)
class ScalingHistory:
    """What happened before.

    Attributes:
        observed_since: since when this service has been watched without interruption.
        recommendations: earlier ones, oldest first.
        changes: replicas added and removed, oldest first.
    """

    observed_since: float
    recommendations: Sequence[PastRecommendation] = ()
    changes: Sequence[Change] = ()


@dataclass(frozen=True, slots=True)
class Limited:
    """Replicas after a limit, with the reason of the limit (None if it did not bind)."""

    replicas: int
    reason: Reason | None = None


def hold_back(wanted: int, current: int, behavior: Behavior, history: ScalingHistory, now: float) -> Limited:
    """Hold a recommendation that recent ones contradict.

    Scale-up takes the least of the recommendations in the up window, scale-down the greatest in the down window. Until
    a whole down window has been watched (after a start without memory) nothing goes down.
    """
    if wanted > current:
        window = behavior.scale_up.window
        least = min((r.replicas for r in history.recommendations if now - r.at <= window), default=wanted)
        held = max(min(least, wanted), current)
        return Limited(held, Reason.STABILIZED if held < wanted else None)
    if wanted < current:
        window = behavior.scale_down.window
        if now - history.observed_since < window:
            return Limited(current, Reason.STABILIZED)
        most = max((r.replicas for r in history.recommendations if now - r.at <= window), default=wanted)
        held = min(max(most, wanted), current)
        return Limited(held, Reason.STABILIZED if held > wanted else None)
    return Limited(wanted)


def limit_rate(wanted: int, current: int, behavior: Behavior, history: ScalingHistory, now: float) -> Limited:
    """Apply the scaling policies."""
    if wanted > current:
        most = max(_highest(current, behavior.scale_up, history, now), current)
        return Limited(min(wanted, most), Reason.SCALE_UP_LIMITED if most < wanted else None)
    if wanted < current:
        least = min(_lowest(current, behavior.scale_down, history, now), current)
        return Limited(max(wanted, least), Reason.SCALE_DOWN_LIMITED if least > wanted else None)
    return Limited(wanted)


def _highest(current: int, rules: ScalingRules, history: ScalingHistory, now: float) -> int:
    if rules.select is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        added = sum(c.delta for c in history.changes if c.delta > 0 and now - c.at < policy.period_seconds)
        start = current - added
        if policy.type is PolicyType.PODS:
            limits.append(start + policy.value)
        else:
            # A workload at zero can always be woken.
            limits.append(max(ceil(start * (1 + policy.value / PER_CENT)), 1))
    return _select(limits, rules.select, current, upward=True)


def _lowest(current: int, rules: ScalingRules, history: ScalingHistory, now: float) -> int:
    if rules.select is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        removed = -sum(c.delta for c in history.changes if c.delta < 0 and now - c.at < policy.period_seconds)
        start = current + removed
        if policy.type is PolicyType.PODS:
            limits.append(start - policy.value)
        else:
            limits.append(int(start * (1 - policy.value / PER_CENT)))
    return _select(limits, rules.select, current, upward=False)


def _select(limits: list[int], select: SelectPolicy, current: int, *, upward: bool) -> int:
    if not limits:
        return current
    widest = (select is SelectPolicy.MAX) == upward
    return max(limits) if widest else min(limits)


def remember_recommendation(
    history: Sequence[PastRecommendation], wanted: int, behavior: Behavior, now: float
) -> tuple[PastRecommendation, ...]:
    """The recommendations to keep: those that some window can still ask for."""
    keep = max(behavior.scale_up.window, behavior.scale_down.window)
    return (*(r for r in history if now - r.at <= keep), PastRecommendation(now, wanted))


def remember_change(changes: Sequence[Change], delta: int, behavior: Behavior, now: float) -> tuple[Change, ...]:
    """The changes to keep, with a new one unless it is zero."""
    rules = (*behavior.scale_up.policies, *behavior.scale_down.policies)
    keep = max((policy.period_seconds for policy in rules), default=0)
    kept = tuple(change for change in changes if now - change.at < keep)
    return (*kept, Change(now, delta)) if delta else kept
