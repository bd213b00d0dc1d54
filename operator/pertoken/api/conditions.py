"""Conditions of a cycle merged into what the object already shows. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason

Json = dict[str, Any]
MAX_MESSAGE: Final = 1024


class ConditionType(StrEnum):
    """Every condition of a kind, in the order in which they are shown."""

    READY = "Ready"
    ACCEPTED = "Accepted"
    TARGET_FOUND = "TargetFound"
    METRICS_AVAILABLE = "MetricsAvailable"
    ABLE_TO_SCALE = "AbleToScale"
    SCALING_LIMITED = "ScalingLimited"
    WITHIN_COST_TARGET = "WithinCostTarget"
    WITHIN_LATENCY_TARGET = "WithinLatencyTarget"
    PAUSED = "Paused"
    CONFLICTED = "Conflicted"
    PROGRAMMED = "Programmed"
    DEGRADED = "Degraded"


ROUTE_CONDITIONS: Final = (
    ConditionType.READY,
    ConditionType.ACCEPTED,
    ConditionType.PROGRAMMED,
    ConditionType.DEGRADED,
    ConditionType.WITHIN_COST_TARGET,
)
SERVICE_CONDITIONS: Final = tuple(
    kind for kind in ConditionType if kind not in {ConditionType.PROGRAMMED, ConditionType.DEGRADED}
)
POOL_CONDITIONS: Final = (ConditionType.READY, ConditionType.ACCEPTED)


# Ready needs these to be True. Objectives are no part of it: a service that misses one still serves and is still run.
_NEEDED: Final = (
    ConditionType.ACCEPTED,
    ConditionType.TARGET_FOUND,
    ConditionType.METRICS_AVAILABLE,
    ConditionType.ABLE_TO_SCALE,
)
# Reasons with which Accepted is True but the object is not Ready.
DOUBTS: Final = frozenset(
    {
        *(Reason.UNKNOWN_MODEL, Reason.UNKNOWN_ACCELERATOR, Reason.ARGUMENTS_CONTRADICT, Reason.GPU_MISMATCH),
        Reason.NO_NODES,
    }
)
# Shown rather than missing metrics, which these cause.
NOT_RUNNING: Final = frozenset(
    {
        Reason.REPLICA_FAILURE,
        Reason.PODS_CRASHING,
        Reason.PODS_PENDING,
        Reason.PODS_NOT_READY,
        Reason.WAITING_FOR_PODS,
    }
)
_NOT_YET: Final = Condition(Verdict.UNKNOWN, Reason.WAITING_FOR_PODS, "not looked at yet")


def rfc3339(now: float) -> str:
    """Seconds since the epoch as the API writes times: ``2026-03-01T08:00:00Z``."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def accepted(not_acted_on: Sequence[str] = ()) -> Condition:
    """Accepted=True; the reason tells when set fields have no effect in this version."""
    if not not_acted_on:
        return Condition(Verdict.TRUE, Reason.ACCEPTED, "the spec is valid")
    return Condition(Verdict.TRUE, Reason.FIELDS_NOT_ACTED_ON, f"valid; {_without_effect(not_acted_on)}")


def doubted(doubt: Condition, not_acted_on: Sequence[str] = ()) -> Condition:
    """Accepted=True with the reason of a doubt; fields without effect are told beside it."""
    if not not_acted_on:
        return doubt
    return replace(doubt, message=f"{doubt.message}; {_without_effect(not_acted_on)}")


def _without_effect(fields: Sequence[str]) -> str:
    return f"this version does not act on: {', '.join(fields)}"


def rejected(reason: Reason, message: str) -> Condition:
    """Accepted=False."""
    return Condition(Verdict.FALSE, reason, message)


def ready(conditions: Mapping[str, Condition]) -> Condition:
    """Summary, as a user would say it.

    True when the spec is accepted, model and GPU are known, the target is found, the replicas that are asked for run,
    metrics are there, pertoken can act on it, and nobody else does. A conflict makes it False; else the first of these
    that is not so gives status, reason and message.
    """
    conflict = conditions.get(ConditionType.CONFLICTED)
    if conflict is not None and conflict.verdict is Verdict.TRUE:
        return Condition(Verdict.FALSE, conflict.reason, conflict.message)
    needed = list(_NEEDED)
    able = conditions.get(ConditionType.ABLE_TO_SCALE, _NOT_YET)
    if able.reason in NOT_RUNNING:
        needed = [ConditionType.ACCEPTED, ConditionType.TARGET_FOUND, ConditionType.ABLE_TO_SCALE, *needed]
    for name in needed:
        condition = conditions.get(name, _NOT_YET)
        if condition.verdict is not Verdict.TRUE:
            return Condition(condition.verdict, condition.reason, f"{name}: {condition.message}")
    doubt = _doubt(conditions)
    return doubt or Condition(Verdict.TRUE, Reason.ACCEPTED, "accepted, measured and under control")


def _doubt(conditions: Mapping[str, Condition]) -> Condition | None:
    """Ready=False of an object that is accepted although the catalog lacks something; None when it does not."""
    condition = conditions.get(ConditionType.ACCEPTED, _NOT_YET)
    if condition.reason not in DOUBTS:
        return None
    return Condition(Verdict.FALSE, condition.reason, f"{ConditionType.ACCEPTED}: {condition.message}")


def merge(
    previous: Iterable[Mapping[str, Any]],
    conditions: Mapping[str, Condition],
    now: float,
    generation: int,
    types: Sequence[ConditionType] = SERVICE_CONDITIONS,
) -> list[Json]:
    """The object's whole condition list, Ready included.

    A condition keeps its lastTransitionTime while its status stays the same. What this cycle did not judge keeps its
    earlier state if that was said of the same generation, and is Unknown otherwise. Conditions of other managers are
    left out: server-side apply keeps them, the list being keyed by type.
    """
    known = {str(shown.get("type")): shown for shown in previous}
    judged = dict(conditions)
    if ConditionType.READY not in judged:
        judged[ConditionType.READY] = _pool_ready(judged) if types == POOL_CONDITIONS else ready(judged)
    return [_condition(name, judged.get(name), known.get(name), now, generation) for name in types]


def _pool_ready(conditions: Mapping[str, Condition]) -> Condition:
    return _doubt(conditions) or conditions.get(ConditionType.ACCEPTED, _NOT_YET)


def _condition(
    name: str, condition: Condition | None, before: Mapping[str, Any] | None, now: float, generation: int
) -> Json:
    if condition is None:
        if before is not None and before.get("observedGeneration") == generation:
            return dict(before)
        condition = _NOT_YET
    status = condition.verdict.value
    unchanged = before is not None and before.get("status") == status and before.get("lastTransitionTime")
    return {
        "type": str(name),
        "status": status,
        "reason": condition.reason.value,
        "message": clip(condition.message),
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else rfc3339(now),
        "observedGeneration": generation,
    }


def clip(message: str) -> str:
    """A message within the API's limit."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
