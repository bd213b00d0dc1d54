"""Where names stand in a picture of points, so that they touch neither each other nor what is drawn.

Coordinates are points (1/72 inch) from the frame's lower left corner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Final

LETTER: Final = 4.4  # width of a letter, points
HEIGHT: Final = 9.0  # of a line of text, points
DOT: Final = 4.0  # half a dot's width with the space around it, points
STEP: Final = 7.0  # distance between places that are tried, points
FARTHEST: Final = 14  # steps to either side
NEAR: Final = 16.0  # a name whose middle line starts farther from its dot gets a thin line to it, points
CLASH: Final = 1000.0  # cost of touching a name or a dot, in points of distance; of a line a tenth


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; one without width or height is a line's piece."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: Box) -> bool:
        """Whether they have a point in common."""
        across = self.left <= other.right and other.left <= self.right
        return across and self.bottom <= other.top and other.bottom <= self.top


@dataclass(frozen=True, slots=True)
class Label:
    """A name's place.

    Attributes:
        box: what it covers.
        far: far enough from its dot that a line has to lead to it.
    """

    name: str
    box: Box
    far: bool


def place(
    dots: Mapping[str, tuple[float, float]], lines: Sequence[Sequence[tuple[float, float]]], frame: tuple[float, float]
) -> tuple[Label, ...]:
    """Names beside their dots, the nearest place that touches nothing first.

    Args:
        dots: by name.
        lines: that are drawn, each by its corners: a front, whiskers, a threshold.
        frame: width and height within which names stay.
    """
    placed: list[Label] = []
    marks = [Box(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in dots.values()]
    pieces = [box for line in lines for box in _pieces(line)]
    for name, dot in sorted(dots.items(), key=lambda item: (item[1], item[0])):
        hard = [*marks, *(label.box for label in placed)]
        box = min(_places(name, dot, frame), key=lambda each: _cost(each, dot, hard, pieces))
        placed.append(Label(name, box, _distance(box, dot) > NEAR))
    return tuple(placed)


def _places(name: str, dot: tuple[float, float], frame: tuple[float, float]) -> Iterator[Box]:
    width = LETTER * len(name)
    for row in range(-FARTHEST, FARTHEST + 1):
        for column in range(-FARTHEST, FARTHEST + 1):
            right_of = column >= 0
            left = dot[0] + (DOT + 2.0 + STEP * column if right_of else -DOT - 2.0 - width + STEP * (column + 1))
            bottom = dot[1] + STEP * row / 2.0 - HEIGHT / 2.0
            if left >= 0.0 and left + width <= frame[0] and bottom >= 0.0 and bottom + HEIGHT <= frame[1]:
                yield Box(left, bottom, left + width, bottom + HEIGHT)


def _cost(box: Box, dot: tuple[float, float], hard: Iterable[Box], soft: Iterable[Box]) -> float:
    clashes = sum(box.touches(other) for other in hard)
    crossed = sum(box.touches(other) for other in soft)
    left_of = 4.0 if box.right < dot[0] else 0.0  # names stand to the right where either side is free
    return _distance(box, dot) + left_of + CLASH * clashes + CLASH / 10.0 * crossed


def _distance(box: Box, dot: tuple[float, float]) -> float:
    across = max(box.left - dot[0], dot[0] - box.right, 0.0)
    return hypot(across, (box.bottom + box.top) / 2.0 - dot[1])


def _pieces(line: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """A line as short pieces, whose rectangles are as good as the line."""
    for (x, y), (to_x, to_y) in pairwise(line):
        level = y == to_y or x == to_x
        count = 1 if level else max(1, int(hypot(to_x - x, to_y - y) / 3.0))
        for number in range(count):
            a, b = number / count, (number + 1) / count
            xs, ys = (x + (to_x - x) * a, x + (to_x - x) * b), (y + (to_y - y) * a, y + (to_y - y) * b)
            yield Box(min(xs), min(ys), max(xs), max(ys))
