"""Kubernetes' number and time formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_SUFFIXES: Mapping[str, Decimal] = {
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
}


def quantity(text: str | float) -> Decimal:
    """A Kubernetes quantity (``"8"``, ``"1e3"``, ``"2k"``, ``"500m"``, ``"1Gi"``) as an exact number.

    Raises:
        ValueError: when it is no quantity.
    """
    raw = str(text).strip()
    for length in (2, 1):
        factor = _SUFFIXES.get(raw[-length:])
        if factor is not None and len(raw) > length:
            return _number(raw[:-length], raw) * factor
    return _number(raw, raw)


def _number(digits: str, whole: str) -> Decimal:
    try:
        value = Decimal(digits)
    except InvalidOperation as error:
        raise ValueError(f"{whole!r} is not a Kubernetes quantity") from error
    if not value.is_finite():
        raise ValueError(f"{whole!r} is not a Kubernetes quantity")
    return value


def is_extended(resource: str) -> bool:
    """Whether a resource name is an extended one (a device), as the scheduler tells them apart.

    Extended names have a domain that is not Kubernetes' own; ``cpu``, ``memory``, ``hugepages-*`` have none.
    """
    domain, slash, _ = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def whole_units(resources: Mapping[str, Any], *, up: bool) -> dict[str, int]:
    """The extended resources of a list, in whole units; fractions are rounded up (requests) or down (capacity)."""
    rounded = math.ceil if up else math.floor
    units: dict[str, int] = {}
    for name, amount in resources.items():
        if not is_extended(name):
            continue
        try:
            units[name] = rounded(quantity(amount))
        except ValueError:
            continue  # the API server validates quantities; what it would not accept cannot be counted
    return units


def epoch(stamp: str | None) -> float | None:
    """RFC 3339 time (with or without fractions) as seconds since the epoch; None for none or for nonsense."""
    if not stamp:
        return None
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
