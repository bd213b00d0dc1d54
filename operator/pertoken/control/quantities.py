"""Kubernetes' number and time formats."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from pertoken.raw.values import MOST_SECONDS, Malformed, shown

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


# A bounded exponent: `1e999999999` is a short text and a number of a billion digits.
_QUANTITY: Final = re.compile(
    r"(?P<number>[0-9]{1,24}(\.[0-9]{0,24})?|\.[0-9]{1,24})([eE](?P<power>[+-]?[0-9]{1,2})|(?P<suffix>[KMGTPE]i|[numkMGTPE]))?"
)
MOST_UNITS: Final = Decimal(2**63 - 1)  # the API's int64
EXPECTED: Final = "a Kubernetes quantity such as 8, 500m or 1Gi"


def quantity(value: object) -> Decimal:
    """A Kubernetes quantity (``"8"``, ``"1e3"``, ``"2k"``, ``"500m"``, ``"1Gi"``) as an exact number, 0 or more.

    Raises:
        ValueError: when it is no quantity.
    """
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
    match = None if isinstance(value, bool) else _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(value)} is not a Kubernetes quantity")
    number = Decimal(match["number"]).scaleb(int(match["power"] or 0)) * _SUFFIXES.get(
        match["suffix"] or "", Decimal(1)
    )
    if number > MOST_UNITS:
        raise ValueError(f"{shown(value)} is not a Kubernetes quantity")
    return number


def is_extended(resource: str) -> bool:
    """Whether a resource name is an extended one (a device), as the scheduler tells them apart.

    Extended names have a domain that is not Kubernetes' own; ``cpu``, ``memory``, ``hugepages-*`` have none.
    """
    domain, slash, _ = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def whole_units(resources: Mapping[str, Any], *, up: bool) -> dict[str, int]:
    """The extended resources of a list, in whole units; fractions are rounded up (requests) or down (capacity).

    Raises:
        Malformed: an amount cannot be read; leaving it out would show devices as free that are held.
    """
    rounded = math.ceil if up else math.floor
    units: dict[str, int] = {}
    for name, amount in resources.items():
        if not is_extended(name):
            continue
        try:
            units[name] = rounded(quantity(amount))
        except ValueError as error:
            raise Malformed(name, amount, EXPECTED) from error
    return units


def epoch(stamp: object) -> float | None:
    """RFC 3339 time (with or without fractions) as seconds since the epoch; None for none or for nonsense.

    Nonsense is also a time without zone, one before 1970 (Go's zero time is in the year 1) and one after 3058.
    """
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        at = None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return at if at is not None and 0.0 <= at <= MOST_SECONDS else None
