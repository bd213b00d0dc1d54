"""Shares as whole points: weights of an HTTPRoute are integers."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.route import POINTS
from pertoken.units import TINY


def points_of(shares: Sequence[float], whole: int = POINTS) -> tuple[int, ...]:
    """Whole numbers that add up to `whole`, each within one of its share (largest remainders)."""
    total = sum(shares)
    if total <= TINY:
        return tuple(0 for _ in shares)
    exact = [share / total * whole for share in shares]
    floors = [int(value + TINY) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: (floors[index] - exact[index], index))
    for index in by_remainder[: whole - sum(floors)]:
        floors[index] += 1
    return tuple(floors)


def points_within(shares: Sequence[float], qualities: Sequence[float], floor: float) -> tuple[int, ...]:
    """The same, but rounding never takes the mean quality below a floor that the shares keep.

    A point then goes from the worst tier that has one to the next better tier that has some.
    """
    points = list(points_of(shares))
    mean = sum(quality * share for quality, share in zip(qualities, shares, strict=True))
    least = min(floor, mean) * POINTS - TINY * POINTS
    while sum(quality * point for quality, point in zip(qualities, points, strict=True)) < least:
        worst = min((i for i in range(len(points)) if points[i] > 0), key=lambda i: (qualities[i], i))
        better = [i for i in range(len(points)) if qualities[i] > qualities[worst] and shares[i] > TINY]
        if not better:
            break
        points[worst] -= 1
        points[min(better, key=lambda i: (qualities[i], i))] += 1
    return tuple(points)
