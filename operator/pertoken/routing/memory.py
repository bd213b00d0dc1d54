"""What a cycle remembers of the routes for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from pertoken.frozen import dataclass
from pertoken.raw.codec import decode, encode


@dataclass(frozen=True, slots=True)
class RouteMemory:
    """One route's history.

    Attributes:
        target: share by tier that the last solved split gives.
        weights: points by backend (as text) that were last wanted in the HTTPRoute.
        asked: requests per second by service (as text) beyond what it serves, which the split will send to it.
        reverts: instants at which somebody else changed the weights back, seconds since the epoch.
        manager: who did.
        demand: requests per second, as last known.
    """

    uid: str
    target: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    reverts: tuple[float, ...] = ()
    manager: str = ""
    demand: float | None = None


@dataclass(frozen=True, slots=True)
class Routes:
    """All of them, by ``namespace/name``."""

    routes: Mapping[str, RouteMemory] = field(default_factory=dict)

    @property
    def asked(self) -> Mapping[str, float]:
        """Requests per second by service, as in `RouteMemory`."""
        return {service: more for route in self.routes.values() for service, more in route.asked.items()}


EMPTY: Final = Routes()


def to_json(routes: Routes) -> Any:
    """As JSON data."""
    return encode(routes)


def from_json(data: Any) -> Routes:
    """What `to_json` wrote.

    Raises:
        ValueError: the data has another form.
    """
    routes = decode(Routes, data)
    assert isinstance(routes, Routes)  # noqa: S101 - narrows the codec's Any
    return routes
