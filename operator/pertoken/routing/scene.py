"""What a route is decided on beside itself."""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.domain.identity import ServiceKey
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Decision
from pertoken.domain.service import ServiceSpec
from pertoken.frozen import dataclass
from pertoken.routing.tuning import Routing


@dataclass(frozen=True, slots=True)
class Scene:
    """What a route is decided on beside itself.

    Attributes:
        services: specs of the accepted services.
        decisions: of the plan of this cycle, by service.
        metrics: one snapshot per profile.
        now: seconds since the epoch.
    """

    services: Mapping[ServiceKey, ServiceSpec]
    decisions: Mapping[ServiceKey, Decision]
    metrics: Mapping[str, MetricsSnapshot]
    now: float
    tuning: Routing
