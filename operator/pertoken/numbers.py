"""Numbers that decide, declared with their unit and provenance: a field of a frozen group in a `tuning` module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

UNIT: Final = "unit"
SOURCE: Final = "source"


def number(value: float, unit: str, source: str) -> Any:
    """A dataclass field with a number as its default.

    Args:
        value: what ships.
        unit: of it, in words.
        source: measured (on what), convention (of whom), by contract, or guess, and why.
    """
    return field(default=value, metadata={UNIT: unit, SOURCE: source})


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a tuning value.

    Attributes:
        path: field names from the tuning value to the number, e.g. ``("sizing", "safe_share")``.
    """

    path: tuple[str, ...]
    value: float
    unit: str
    source: str


def numbers_of(tuning: Any, path: tuple[str, ...] = ()) -> Iterator[Number]:
    """Every number of a tuning value, in the order of declaration."""
    for item in fields(tuning):
        value = getattr(tuning, item.name)
        if is_dataclass(value):
            yield from numbers_of(value, (*path, item.name))
        else:
            yield Number((*path, item.name), value, item.metadata[UNIT], item.metadata[SOURCE])
