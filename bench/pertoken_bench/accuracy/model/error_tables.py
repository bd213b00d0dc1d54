"""Relative errors of a model against measurements, and their Markdown tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import exp
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Miss:
    """One comparison: ln(modelled / measured), and which row it was."""

    log_ratio: float
    row: str

    @property
    def error(self) -> float:
        """Absolute relative error."""
        return abs(exp(self.log_ratio) - 1.0)


def say(text: str = "") -> None:
    """One line of the report."""
    sys.stdout.write(text + "\n")


def figures(misses: Sequence[Miss]) -> str:
    """Median / 90th percentile of the absolute relative error, and the median of the signed one."""
    if not misses:
        return "-"
    errors = np.array([miss.error for miss in misses]) * 100
    bias = (exp(float(np.median([miss.log_ratio for miss in misses]))) - 1.0) * 100
    return f"{np.median(errors):.1f} / {np.percentile(errors, 90):.1f} ({bias:+.1f})"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table."""
    say(f"\n### {title}\n")
    say("| " + " | ".join(columns) + " |")
    say("|" + "---|" * len(columns))
    for row in rows:
        say("| " + " | ".join(row) + " |")


def grouped(items: Iterable[_T], key: Callable[[_T], Hashable]) -> dict[Hashable, list[_T]]:
    """Items by key, keys in order of their text."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return dict(sorted(groups.items(), key=lambda pair: str(pair[0])))


def worst(misses: Sequence[Miss], count: int = 5) -> str:
    """The rows that are furthest off."""
    far = sorted(misses, key=lambda miss: -abs(miss.log_ratio))[:count]
    return "; ".join(f"{miss.row} ({(exp(miss.log_ratio) - 1) * 100:+.0f} %)" for miss in far)


def label(key: Hashable) -> str:
    """A group's name."""
    return ", ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
