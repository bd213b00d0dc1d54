"""The snapshot that one planning cycle sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from pertoken.catalog.lookup import Catalog
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.cost import CostState
from pertoken.domain.identity import ServiceKey
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.route import RouteView
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class VariantView:
    """One variant with its workload and pods (living and recently deleted)."""

    spec: VariantSpec
    workload: WorkloadFact | WorkloadMissing
    pods: tuple[PodFact, ...] = ()


@dataclass(frozen=True, slots=True)
class TimedMinimum:
    """A minimum of all variants together from `start` until `end`, seconds since the epoch; `words` says whose."""

    start: float
    end: float
    replicas: int
    words: str


@dataclass(frozen=True, slots=True)
class SpecDoubt:
    """A spec that is valid, but contradicts its engines, its GPUs, or what GPUs can do; for `Accepted`."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One accepted service as it stands.

    Attributes:
        namespace_labels: of the service's namespace, for pool access rules.
        left_behind: workloads made for variants which are no more, that hold replicas and that pertoken leaves alone.
        minimums: of the spec's schedule that hold now or begin soon, worked out by `control.schedules`.
        fault: why they could not be worked out, for which the service is held; empty where they could.
        doubts: what `Accepted` says of the spec, worked out by `control.truth`; the gravest first.
        routed: requests per second beyond what it serves that a route is about to send to it; None behind no route.
        retired: workloads that pertoken made for variants which are no more, to be removed: they are billed, and what
            they serve counts as demand, until their last pod is gone. Named after the workload.
    """

    spec: ServiceSpec
    variants: tuple[VariantView, ...]
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()
    minimums: tuple[TimedMinimum, ...] = ()
    fault: str = ""
    doubts: tuple[SpecDoubt, ...] = ()
    routed: float | None = None
    retired: tuple[VariantView, ...] = ()

    @property
    def all_variants(self) -> tuple[VariantView, ...]:
        """The spec's variants, then those that are no more."""
        return self.variants + self.retired


@dataclass(frozen=True, slots=True)
class PoolView:
    """One accepted pool with the nodes that it selects."""

    spec: PoolSpec
    nodes: tuple[NodeFact, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """The administrator's limits on every decision.

    Attributes:
        cycle_seconds: planned distance between cycles.
        cap_interval_seconds: least time between two cap changes of one variant. Demand is watched as long before the
            first one, unless the planner's tuning asks for less.
        cap_change_threshold: relative change of the cap below which a restart is never worth it.
        canary_seconds: how long the first pod with a new cap must serve well before the others follow.
        tolerance: relative demand change that does not move replicas down where they come late (a lead of 400 s); less
            on the way to it, nothing up to 200 s.
        headroom: share of the expected demand that is at least added for what the forecast misses, by the same rule.
        attainment_margin: share of an objective's allowed misses that plans leave unused; below 0 they take more.
        start_seconds: expected time from pod creation to Ready until it has been observed.
        backlog_seconds: time in which a standing queue is to be worked off.
        min_index_requests: finished requests in the window below which the cost index is Unknown.
        calibrate: learn corrections to the performance model.
    """

    cycle_seconds: float = 15.0
    cap_interval_seconds: float = 1800.0
    cap_change_threshold: float = 0.2
    canary_seconds: float = 60.0
    tolerance: float = 0.05
    headroom: float = 0.05
    attainment_margin: float = 0.3
    start_seconds: float = 120.0
    backlog_seconds: float = 60.0
    min_index_requests: int = 20
    calibrate: bool = True


@dataclass(frozen=True, slots=True)
class Rejection:
    """A service that cannot be planned, with the condition to show.

    Attributes:
        conflicted: told in `Conflicted`, the spec itself being fine; else in `Accepted`.
    """

    key: ServiceKey
    uid: str
    generation: int
    reason: Reason
    message: str
    conflicted: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the planner may look at. Equal worlds give equal plans.

    Attributes:
        metrics: one snapshot per metrics profile.
        pods: every pod of the cluster that requests extended resources, whoever owns it: their GPUs count.
        catalog: the GPUs and models that are known: the shipped ones, and those of the administrator.
        costs: each service's account, as accounting leaves it before the plan.
        routes: the accepted ModelRoutes.
    """

    services: tuple[ServiceView, ...]
    pools: tuple[PoolView, ...]
    pods: tuple[PodFact, ...]
    metrics: Mapping[str, MetricsSnapshot]
    catalog: Catalog
    settings: PlannerSettings = PlannerSettings()
    costs: Mapping[ServiceKey, CostState] = field(default_factory=dict)
    routes: tuple[RouteView, ...] = ()
