"""A ModelRoute as it is asked for, as its HTTPRoute stands, and the figures of its split."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final

from pertoken.domain.identity import ServiceKey
from pertoken.frozen import dataclass

POINTS: Final = 100  # weights of a route add up to it


class RouteOptimize(StrEnum):
    """`COST`: least spend within the quality floor. `QUALITY`: best quality within the cost target."""

    COST = "Cost"
    QUALITY = "Quality"


@dataclass(frozen=True, slots=True)
class ApiPrices:
    """A provider's price list, USD per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal


@dataclass(frozen=True, order=True, slots=True)
class BackendRef:
    """What an entry of backendRefs points to; `group` is empty for the core group."""

    group: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class TierBackend:
    """One of a tier's backends; `variant` is empty where it stands for all variants."""

    ref: BackendRef
    variant: str = ""


@dataclass(frozen=True, slots=True)
class TierSpec:
    """One model that may answer.

    Attributes:
        quality: expected, in [0, 1].
        service: that serves it; None for a provider's API.
        prices: of the provider's API; None for a service.
        backends: none where those of the service's workloads are meant.
    """

    name: str
    quality: float
    service: ServiceKey | None = None
    prices: ApiPrices | None = None
    backends: tuple[TierBackend, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One accepted ModelRoute.

    Attributes:
        key: namespace and name.
        floor: least mean quality, in [0, 1].
        served_name: by which clients ask; empty where nothing is to be checked.
        usd_per_thousand: cost target, USD per 1,000 answers.
        http_route: name of the HTTPRoute; empty where the split is only shown.
        signal: (metrics profile, name) of the signal that counts the route's requests per second; None without.
        acts: weights are written.
    """

    key: ServiceKey
    uid: str
    generation: int
    tiers: tuple[TierSpec, ...]
    floor: float = 0.0
    served_name: str = ""
    optimize: RouteOptimize = RouteOptimize.COST
    usd_per_thousand: Decimal | None = None
    http_route: str = ""
    signal: tuple[str, str] | None = None
    acts: bool = True
    paused: bool = False
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class WeightedRef:
    """One entry of the backendRefs of an HTTPRoute: its place, what it points to, and its weight."""

    rule: int
    entry: int
    ref: BackendRef
    weight: int


@dataclass(frozen=True, slots=True)
class HttpRouteFact:
    """An HTTPRoute as it stands.

    Attributes:
        refs: entries of all rules, in their order.
        manager: field manager that wrote the rules last; empty where that is not known.
    """

    uid: str
    resource_version: str
    refs: tuple[WeightedRef, ...] = ()
    manager: str = ""


@dataclass(frozen=True, slots=True)
class RouteView:
    """One accepted route as it stands.

    Attributes:
        live: its HTTPRoute; None where there is none, or it cannot be read.
        why: why there is none.
    """

    spec: RouteSpec
    live: HttpRouteFact | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class TierFigures:
    """One tier's part in the split.

    Attributes:
        weight: points of `POINTS` that it gets now.
        target: share in [0, 1] that the solved split gives it.
        measured: share of the requests that its engines took up; None where that is not known.
        usd_per_thousand: of 1,000 answers by full replicas, or by the price list.
        capacity: requests per second that it carries at most; None where that is not known, or not bounded.
    """

    name: str
    weight: int
    target: float
    quality: float
    measured: float | None = None
    usd_per_thousand: float | None = None
    capacity: float | None = None


@dataclass(frozen=True, slots=True)
class FrontierFigures:
    """The least cost of one quality, USD per 1,000 answers."""

    quality: float
    usd_per_thousand: float


@dataclass(frozen=True, slots=True)
class WeightChange:
    """The weight of one entry of backendRefs before and after."""

    entry: WeightedRef
    weight: int


@dataclass(frozen=True, slots=True)
class SetWeights:
    """Change the weights of one HTTPRoute, and nothing else of it."""

    route: ServiceKey
    http_route: str
    uid: str
    changes: tuple[WeightChange, ...]
    message: str = ""
