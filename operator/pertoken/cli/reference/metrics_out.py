"""`docs/reference/metrics-out.md`: every family that the operator exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from pertoken.adapters.clock import SystemClock
from pertoken.cli.reference.markdown import table
from pertoken.domain.plan import Plan
from pertoken.ports import CycleSummary
from pertoken.telemetry.families import capacity_plan_families, plan_families, source_families, unreadable_families
from pertoken.telemetry.metrics import OperatorMetrics, ProcessState

_HEAD: Final = """\
# Metrics out: what the operator exports

At `/metrics` of the pod's port `http`, as Prometheus text or OpenMetrics. The pod that holds the lease shows all
families, standbys those of the process alone. Where a figure is not known there is no series: missing is never zero.
Labels name namespaces, services, variants and pools, never pods, so that the number of series follows the number of
services.

*Stable* families keep name, labels, unit and meaning within a major version; one that has to go is named in the change
log one minor version before. *Experimental* ones may change with any version. Alerts and dashboards of the chart use
stable ones alone.

Scrape with `honor_labels: true` (the chart's ServiceMonitor does): `namespace` and `service` are those of the
InferenceService.

"""
_EXPERIMENTAL: Final = frozenset(
    {
        "pertoken_route_cost_usd_per_thousand_answers",
        "pertoken_route_not_carried_requests_per_second",
        "pertoken_route_quality_ratio",
        "pertoken_route_weight_ratio",
        "pertoken_route_measured_ratio",
        "pertoken_service_energy_joules_per_token",
        "pertoken_service_price_usd_per_million_tokens",
        "pertoken_service_lead_seconds",
        "pertoken_variant_batched_tokens",
        "pertoken_variant_desired_batched_tokens",
        "pertoken_variant_calibration_decode_gain_ratio",
        "pertoken_variant_calibration_prefill_gain_ratio",
    }
)
_UNITS: Final = (
    ("_usd_per_million_tokens", "USD per million tokens"),
    ("_usd_per_thousand_requests", "USD per 1,000 requests"),
    ("_usd_per_thousand_answers", "USD per 1,000 answers"),
    ("_usd_per_hour", "USD per hour"),
    ("_bill_usd_total", "USD"),
    ("_joules_per_token", "J per token"),
    ("_tokens_per_second", "tokens per second"),
    ("_requests_per_second", "requests per second"),
    ("_timestamp_seconds", "seconds since the epoch"),
    ("_seconds", "s"),
    ("_ratio", "share or factor"),
    ("_index", "bill over target"),
    ("_requests", "requests"),
    ("_replicas", "replicas"),
    ("_sequences", "sequences"),
    ("_batched_tokens", "tokens"),
    ("_gpus", "GPUs"),
    ("_gpus_per_replica", "GPUs"),
    ("_objects_refused", "objects"),
    ("_cycles_total", "cycles"),
    ("_actions_total", "actions"),
    ("_decisions_total", "decisions"),
)


@dataclass(frozen=True, slots=True)
class ExportedFamily:
    """One metric family, by the name of its series (a histogram's without its endings)."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str

    @property
    def unit(self) -> str:
        """In words; 0 or 1 where the name tells none."""
        return next((words for ending, words in _UNITS if self.name.endswith(ending)), "0 or 1")

    @property
    def stable(self) -> bool:
        """Whether its name, labels and meaning are kept within a major version."""
        return self.name not in _EXPERIMENTAL


def exported() -> tuple[ExportedFamily, ...]:
    """Every family, by name."""
    return tuple(sorted((*_of_plans(), *_of_process()), key=lambda family: family.name))


def metrics_page() -> str:
    """The page."""
    rows = [
        (
            f"`{family.name}`",
            family.type,
            ", ".join(f"`{label}`" for label in family.labels),
            family.unit,
            "stable" if family.stable else "experimental",
            family.text,
        )
        for family in exported()
    ]
    return _HEAD + table(("metric", "type", "labels", "unit", "stability", "meaning"), rows)


def _of_plans() -> Iterator[ExportedFamily]:
    """Families that are rendered at each scrape from what the last cycle left."""
    families = (
        *plan_families(Plan((), ())),
        *source_families({}),
        *unreadable_families({}),
        *capacity_plan_families(()),
    )
    for family in families:
        yield ExportedFamily(family.name, family.type, tuple(family._labelnames), family.documentation)  # noqa: SLF001 - the client has no other way


def _of_process() -> Iterator[ExportedFamily]:
    """Counters, histograms and gauges of the process."""
    state = ProcessState(lambda: True, lambda: True, lambda: 0.0)
    metrics = OperatorMetrics(SystemClock(), state)
    metrics.update(Plan((), ()), CycleSummary(number=0, ok=True))  # after a cycle its age is shown, too
    for collector in metrics.collectors:
        if isinstance(collector, MetricWrapperBase):
            [family] = collector.describe()
            ending = "_total" if family.type == "counter" else ""
            yield ExportedFamily(family.name + ending, family.type, collector._labelnames, family.documentation)  # noqa: SLF001 - the client has no other way
    for gauge in metrics.process_families():
        yield ExportedFamily(gauge.name, gauge.type, (), gauge.documentation)
