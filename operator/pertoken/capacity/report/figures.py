"""Figures of the plan's document as the page shows them.

Each is an element that carries the figure itself and where it stands in the document (``pools.0.peak_gpus``; ``*`` for
every entry of a list), so that the page can be read by programs and held against the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertoken.capacity.report.tags import Markup, element
from pertoken.capacity.report.times import date_of
from pertoken.units import PER_CENT

Json = Mapping[str, Any]
NONE: Final = "-"
PER_CENT_SIGN: Final = "\u00a0%"  # never on a line of its own
WHOLE_USD: Final = 1000.0  # from here on without cents
WHOLE_RATE: Final = 100.0


def mean(values: Sequence[float]) -> float:
    """Of a list that is not empty."""
    return sum(values) / len(values)


TAKES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {"max": max, "mean": mean}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one document."""

    document: Json

    def at(self, path: str) -> Any:
        """The value at a path; a list of them where the path has a star."""
        return _at(self.document, path.split("."))

    def number(self, path: str, take: str | None = None) -> float | None:
        """The number at a path, or the largest or the mean of those there."""
        value = self.at(path)
        number: float | None = value if take is None else TAKES[take](value)
        return number

    def usd(self, path: str, unit: str = " USD", sign: str = "") -> Markup:
        """Money."""
        return self._shown(path, lambda value: f"{usd_text(value, sign)}{unit}", None)

    def count(self, path: str, unit: str = "", take: str | None = None) -> Markup:
        """A count; with one decimal where it is a mean."""
        return self._shown(path, lambda value: f"{count_text(value)}{unit}", take)

    def gpus(self, path: str, take: str | None = None) -> Markup:
        """GPUs with their unit."""
        return self._shown(path, lambda value: f"{count_text(value)} {'GPU' if value == 1 else 'GPUs'}", take)

    def share(self, path: str) -> Markup:
        """A share as per cent."""
        return self._shown(path, lambda value: f"{value * PER_CENT:.1f}{PER_CENT_SIGN}", None)

    def rate(self, path: str, unit: str, take: str | None = None) -> Markup:
        """Something per second."""
        return self._shown(path, lambda value: f"{rate_text(value)}{unit}", take)

    def time(self, path: str, none: str = NONE) -> Markup:
        """A date and time, UTC."""
        seconds = self.at(path)
        if seconds is None:
            return Markup(none)
        date = date_of(seconds)
        return element("time", date.text, datetime=date.machine, data_at=path)

    def _shown(self, path: str, text: Callable[[float], str], take: str | None) -> Markup:
        value = self.number(path, take)
        if value is None:
            return Markup(NONE)
        return element("data", text(value), value=value, data_at=path, data_take=take)


def _at(value: Any, parts: Sequence[str]) -> Any:
    for index, part in enumerate(parts):
        if part == "*":
            return [_at(entry, parts[index + 1 :]) for entry in value]
        value = value[int(part) if part.isdecimal() else part]
    return value


def usd_text(value: float, sign: str = "") -> str:
    """USD with cents where they matter."""
    places = 0 if abs(value) >= WHOLE_USD else 2
    return f"{value:{sign},.{places}f}"


def count_text(value: float) -> str:
    """A whole number, or one with a decimal where that matters."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= WHOLE_RATE else f"{value:.1f}"


def rate_text(value: float) -> str:
    """Three significant digits or whole numbers."""
    return f"{value:,.0f}" if abs(value) >= WHOLE_RATE else f"{value:.3g}"
