"""The operator's own metrics in a registry of their own.

What a plan says is rendered from the last plan at each scrape, so series of deleted services vanish with them. Labels
name services, variants and pools, never pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pertoken.control.actuate import ACTION_KINDS, Result
from pertoken.control.capacity_plans import CapacityPlanFigures, CapacityPlans
from pertoken.control.cycle import CycleResult
from pertoken.control.inventory import Inventory
from pertoken.domain.identity import ServiceKey
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Plan
from pertoken.ports import Clock, CycleSummary, Leadership
from pertoken.telemetry.families import (
    Family,
    capacity_plan_families,
    plan_families,
    source_families,
    unreadable_families,
)

PHASE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
LONGEST_BILLED_GAP_SECONDS = 300.0  # a longer pause between cycles was an outage: what was held then is unknown


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What is asked anew at every scrape."""

    leading: Callable[[], bool]
    synced: Callable[[], bool]
    resync_age_seconds: Callable[[], float | None]
    unreadable: Callable[[], Mapping[str, int]] = dict
    capacity_plans: Callable[[], Sequence[CapacityPlanFigures]] = tuple

    @classmethod
    def of(cls, leadership: Leadership, inventory: Inventory, plans: CapacityPlans) -> ProcessState:
        """The state of the process that these belong to."""
        return cls(
            leading=leadership.valid,
            synced=lambda: inventory.synced,
            resync_age_seconds=lambda: inventory.resync_age_seconds,
            unreadable=lambda: inventory.unreadable,
            capacity_plans=lambda: plans.figures,
        )


class OperatorMetrics:
    """Everything under ``/metrics``; fed once per cycle by `update`."""

    def __init__(self, clock: Clock, state: ProcessState) -> None:
        """Register all metrics."""
        self._clock = clock
        self._state = state
        self._finished_at: float | None = None
        self._families: tuple[Family, ...] = ()
        self._spending: Mapping[ServiceKey, float] = {}
        self._spent_until: float | None = None
        self.registry = CollectorRegistry()
        self._cycles = Counter(
            "pertoken_cycles", "Planning cycles, by outcome (ok, failed).", ("outcome",), registry=self.registry
        )
        self._phases = Histogram(
            "pertoken_cycle_duration_seconds",
            "Duration of the phases of a cycle.",
            ("phase",),
            buckets=PHASE_BUCKETS,
            registry=self.registry,
        )
        self._actions = Counter(
            "pertoken_actions", "Actions, by kind and outcome.", ("kind", "outcome"), registry=self.registry
        )
        self._decisions = Counter(
            "pertoken_decisions", "Decisions, by headline reason.", ("reason",), registry=self.registry
        )
        self._bill = Counter(
            "pertoken_service_bill_usd",
            "GPU time held by the service in dollars, summed over this process's cycles.",
            ("namespace", "service"),
            registry=self.registry,
        )
        self._build = Gauge("pertoken_build_info", "Version; always 1.", ("version",), registry=self.registry)
        self._build.labels(version("pertoken")).set(1)
        self.registry.register(self)
        for outcome in ("ok", "failed"):
            self._cycles.labels(outcome)  # shown as 0 at once, so that an alert sees the first failure rise from it
        for kind, result in product(ACTION_KINDS, Result):
            self._actions.labels(kind, result.value)

    def update(
        self, plan: Plan | None, summary: CycleSummary, metrics: Mapping[str, MetricsSnapshot] | None = None
    ) -> None:
        """Take a finished cycle over.

        Args:
            plan: None for a cycle that failed; the last plan's series then stay, and the cycle's age grows.
            summary: of the cycle.
            metrics: what each metrics profile gave.
        """
        self._cycles.labels("ok" if summary.ok else "failed").inc()
        for phase, seconds in summary.phases.items():
            self._phases.labels(phase).observe(seconds)
        for (kind, outcome), count in summary.outcomes.items():
            self._actions.labels(kind, outcome).inc(count)
        if plan is None:
            return
        for decision in plan.decisions:
            self._decisions.labels(decision.reason.value).inc()
        self._families = (*plan_families(plan), *source_families(metrics or {}))
        self._finished_at = self._clock.monotonic()
        self._charge(plan)

    def finished(self, result: CycleResult) -> None:
        """A cycle went through."""
        self.update(result.plan, result.summary, result.metrics)

    def failed(self, summary: CycleSummary) -> None:
        """A cycle ended by a fault."""
        self.update(None, summary)

    def reported(self, seconds: float) -> None:
        """A report on a cycle, which the next cycles do not wait for."""
        self._phases.labels("report").observe(seconds)

    @property
    def collectors(self) -> Sequence[Collector]:
        """The counters, histograms and gauges that are not made anew at each scrape."""
        return (self._cycles, self._phases, self._actions, self._decisions, self._bill, self._build)

    def process_families(self) -> Iterable[Family]:
        """Gauges of this process at this moment."""
        yield _gauge("pertoken_leader", "1 while this process holds the lease.", float(self._state.leading()))
        yield _gauge("pertoken_inventory_synced", "1 when every kind was listed.", float(self._state.synced()))
        age = self._state.resync_age_seconds()
        if age is not None:
            yield _gauge("pertoken_inventory_resync_age_seconds", "Age of the oldest full list.", age)
        if self._finished_at is not None:
            since = self._clock.monotonic() - self._finished_at
            yield _gauge("pertoken_cycle_age_seconds", "Time since the last cycle that succeeded.", since)

    def collect(self) -> Iterable[Family]:
        """Families that depend on the moment (the prometheus_client collector protocol)."""
        yield from self.process_families()
        yield from unreadable_families(self._state.unreadable())
        if self._state.leading():  # a standby's last plan is out of date, and would be counted twice in sums over pods
            yield from self._families
            yield from capacity_plan_families(self._state.capacity_plans())

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in the format that the Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _charge(self, plan: Plan) -> None:
        """Charge the time since the last plan at what each service held then."""
        now = self._clock.monotonic()
        if self._spent_until is not None and now - self._spent_until <= LONGEST_BILLED_GAP_SECONDS:
            for key, per_hour in self._spending.items():
                self._bill.labels(key.namespace, key.name).inc(per_hour * (now - self._spent_until) / 3600)
        spending = {
            decision.service: decision.cost.spend_per_hour
            for decision in plan.decisions
            if decision.cost.spend_per_hour is not None  # without a price nothing is counted, and no zero is shown
        }
        for gone in self._spending.keys() - spending.keys():
            self._bill.remove(gone.namespace, gone.name)
        for key in spending:
            self._bill.labels(key.namespace, key.name)
        self._spending, self._spent_until = spending, now


def _gauge(name: str, text: str, value: float) -> Family:
    family = Family(name, text)
    family.add_metric([], value)
    return family
