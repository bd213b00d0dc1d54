"""Fields of a load generator's JSON, each with its name in the message where it is not what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

MILLI = 1e-3  # seconds


class NoResult(ValueError):
    """The file does not hold what its format promises: field, value, expectation."""


class FailedRun(NoResult):
    """The run measured nothing: it is left out, and the others of its file count."""


def group_of(outer: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    """An object inside another one.

    Raises:
        NoResult: it is none.
    """
    inner = outer.get(name)
    if not isinstance(inner, Mapping):
        raise NoResult(f"{where}{name}: {inner!r}; expected an object")
    return inner


def number_of(group: Mapping[str, Any], name: str, where: str = "") -> float:
    """A number above 0.

    Raises:
        NoResult: it is none.
    """
    value = group.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise NoResult(f"{where}{name}: {value!r}; expected a number above 0")
    return float(value)


def count_of(group: Mapping[str, Any], name: str, where: str = "") -> float:
    """How many requests a run completed.

    Raises:
        FailedRun: none.
        NoResult: it is no number.
    """
    value = group.get(name)
    if not isinstance(value, bool) and isinstance(value, int | float) and value == 0:
        raise FailedRun(f"{where}{name}: 0 requests completed")
    return number_of(group, name, where)
