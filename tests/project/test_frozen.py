"""Frozen values of the pure layers: equal, hashed and changed as those of the standard library are."""

from __future__ import annotations

import dataclasses
from dataclasses import field

import pytest

from pertoken.frozen import dataclass, replace


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: tuple[int, ...] = ()
    length: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.y))


@dataclass(frozen=True, slots=True)
class Single:
    x: int


@dataclass(frozen=True, slots=True)
class Named:
    x: int
    y: int
    z: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Hashed:
    x: int

    def __hash__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        (Point(1, (2,)), {"y": (3, 4)}, Point(1, (3, 4))),
        (Point(1), {}, Point(1)),
        (Single(1), {"x": 2}, Single(2)),
        (Named(1, 2, z=3), {"y": 5}, Named(1, 5, z=3)),
        (Named(1, 2), {"z": 5}, Named(1, 2, z=5)),
    ],
)
def test_a_changed_value_is_made_anew(value, changes, expected):
    before = dataclasses.replace(value)
    changed = replace(value, **changes)

    assert changed == expected
    assert hash(changed) == hash(expected)
    assert value == before
    assert dataclasses.replace(value, **changes) == changed


def test_what_follows_from_fields_is_worked_out_again():
    assert replace(Point(1, (2,)), y=(3, 4)).length == 2


@pytest.mark.parametrize("value", [Point(1), Single(1), Named(1, 2)])
def test_there_is_no_other_field(value):
    with pytest.raises((KeyError, TypeError)):
        replace(value, other=1)


def test_a_hash_of_its_own_stays():
    assert hash(Hashed(1)) == 7
