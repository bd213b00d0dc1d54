"""What a plan is made of: what the user asks, what runs, and its past. Equal questions give equal plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pertoken.capacity.demand import USUAL_SHAPE, Shape
from pertoken.capacity.gpus.needs import Nodes
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.spec import PlanSpec
from pertoken.capacity.tuning import FUTURES
from pertoken.catalog.lookup import Catalog
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken.domain.world import PlannerSettings
from pertoken.units import HOURS_PER_DAY

START_SECONDS = PlannerSettings().start_seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    Attributes:
        spec: horizon, growth, events, confidence, and what can be bought.
        histories: by service (``namespace/name``), over the hours of `history`.
        nodes: by pool, what is known of its nodes.
        shape: of requests whose history does not tell tokens.
        resamples, seed: of the futures.
        start_seconds: from a pod on its node to one that serves.
    """

    spec: PlanSpec
    services: tuple[ServiceSpec, ...]
    pools: tuple[PoolSpec, ...]
    history: History
    histories: Mapping[str, ServiceHistory]
    catalog: Catalog
    nodes: Mapping[str, Nodes] = field(default_factory=dict)
    shape: Shape = USUAL_SHAPE
    resamples: int = FUTURES.resamples
    seed: int = 0
    start_seconds: float = START_SECONDS

    @property
    def hours(self) -> int:
        """Of the horizon."""
        return self.spec.horizon_days * HOURS_PER_DAY


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a service cannot be planned: field, value, expectation."""

    service: str
    field: str
    value: str
    expectation: str

    def __str__(self) -> str:
        return f"{self.service}: {self.field}: {self.value!r}: expected {self.expectation}"
