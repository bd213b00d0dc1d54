"""Whether a new status is worth a write. Words and replicas are, at once; numbers when they moved by 5 %."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.api.figures import moved

# Fields that hold numbers of which every change is urgent.
_EXACT: Final = frozenset(
    {
        "observedGeneration",
        "releasedGeneration",
        "replicas",
        "desiredReplicas",
        "readyReplicas",
        "batchCap",
        "desiredBatchCap",
        "batchedTokens",
        "desiredBatchedTokens",
        "podsOnNewCap",
        "gpusPerReplica",
        "total",
        "used",
        "free",
        "placeable",
        "pending",
        "percentile",
        "weight",
        "targetWeight",
    }
)
# Texts with numbers in them: they change with the fields that they explain and need no write of their own.
_IGNORED: Final = frozenset(
    {"message", "batchMessage", "batchSummary", "summary", "calibration", "lastTransitionTime", "samples", "split"}
)


def urgent_change(previous: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """A change that is written at once: a condition's status or reason, replicas, a cap, a reason."""
    return _differs(previous, new, numbers=False)


def significant_change(previous: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """An urgent change, or a number that moved by at least 5 %. The caller paces those that are not urgent."""
    return _differs(previous, new, numbers=True)


def _differs(before: Any, after: Any, *, numbers: bool) -> bool:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = (set(before) | set(after)) - _IGNORED
        return any(_field_differs(name, before.get(name), after.get(name), numbers=numbers) for name in names)
    if isinstance(before, list) and isinstance(after, list):
        old, new = _keyed(before), _keyed(after)
        return set(old) != set(new) or any(_differs(old[key], new[key], numbers=numbers) for key in new)
    return _scalar_differs(before, after, numbers=numbers)


def _field_differs(name: str, before: Any, after: Any, *, numbers: bool) -> bool:
    if name in _EXACT:
        return bool(before != after)
    if before is None or after is None:
        if _is_figure(before) or _is_figure(after) or isinstance(before or after, Mapping):
            return numbers and before != after
        return bool(before != after)
    return _differs(before, after, numbers=numbers)


def _scalar_differs(before: Any, after: Any, *, numbers: bool) -> bool:
    if _is_figure(before) and _is_figure(after):
        return numbers and moved(before, after)
    return bool(before != after)


def _is_figure(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _keyed(items: list[Any]) -> dict[str, Any]:
    return {str(item.get("type") or item.get("name")): item for item in items if isinstance(item, Mapping)}
