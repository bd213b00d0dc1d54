"""Pauses between retries of a watch: geometric, bounded, re-iterable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoffs:
    """`count` pauses in seconds from `first`, each `factor` longer, none above `last`.

    Kopf stops the operator when the pauses run out, so there are enough for an hour and a half of outage; an API
    server that is gone for longer ends the process, and its restart is Kubernetes' business.
    """

    first: float
    factor: float
    last: float
    count: int

    def __iter__(self) -> Iterator[float]:
        pause = self.first
        for _ in range(self.count):
            yield pause
            pause = min(pause * self.factor, self.last)
