"""A name that the catalog does not know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unknown:
    """The catalog has no such row.

    Attributes:
        what: ``GPU`` or ``model``.
        close: known names that look alike, best first.
    """

    what: str
    name: str
    close: tuple[str, ...]

    def __str__(self) -> str:
        hint = f"; close: {', '.join(self.close)}" if self.close else ""
        return f"unknown {self.what} {self.name!r}{hint}"
