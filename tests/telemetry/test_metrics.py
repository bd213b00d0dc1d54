"""What Prometheus sees of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pertoken.control.capacity_plans import CapacityPlanFigures, PlannedPool
from pertoken.domain.cost import AttributionFigures, CostFigures
from pertoken.domain.identity import PodKey, ServiceKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.plan import (
    Condition,
    Decision,
    DemandFigures,
    LatencyFigures,
    Plan,
    PoolFigures,
    VariantDecision,
    Verdict,
)
from pertoken.domain.reasons import Reason
from pertoken.ports import CycleSummary
from pertoken.telemetry.metrics import OperatorMetrics, ProcessState


@dataclass
class HandClock:
    at: float = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class State:
    leading: bool = True
    synced: bool = True
    age: float | None = 12.0
    clock: HandClock = field(default_factory=HandClock)
    plans: tuple[CapacityPlanFigures, ...] = ()

    def metrics(self) -> OperatorMetrics:
        asked = ProcessState(
            lambda: self.leading, lambda: self.synced, lambda: self.age, capacity_plans=lambda: self.plans
        )
        return OperatorMetrics(self.clock, asked)


def decision(name: str = "chat", spend: float | None = 36.0) -> Decision:
    variant = VariantDecision(
        "h100", current=2, desired=3, ready=2, reason=Reason.DEMAND_ROSE, cap=64, desired_cap=128, operating_batch=41.5
    )
    return Decision(
        service=ServiceKey("prod", name),
        reason=Reason.DEMAND_ROSE,
        message="demand rose",
        variants=(variant,),
        conditions={"WithinCostTarget": Condition(Verdict.FALSE, Reason.COST_ABOVE_TARGET, "1.2")},
        cost=CostFigures(
            index=1.2,
            blended=0.9,
            output=2.5,
            spend_per_hour=spend,
            idle_share=0.25,
            attribution=AttributionFigures(work=0.5, idle=0.2, warming=0.1, unallocated=0.2),
            good_low=1.0,
        ),
        latency=LatencyFigures(percentile=95, ttft=0.4, missed_share=0.08, ttft_objective=2.0),
        demand=DemandFigures(output_tokens_per_second=812.0, waiting=3.0),
    )


def plan(*decisions: Decision) -> Plan:
    return Plan(decisions, (), (PoolFigures("h100", total=16, used=8, free=8, placeable=4, pending=0),))


SUMMARY = CycleSummary(
    number=1, ok=True, phases={"plan": 0.02, "act": 0.3}, outcomes={("scale_up", "done"): 2, ("evict", "refused"): 1}
)


def values(metrics: OperatorMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and sorted labels, as a scraper reads them."""
    body, content_type = metrics.render("")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return values(metrics).get((name, tuple(sorted(labels.items()))))


def test_a_plan_as_series():
    metrics = State().metrics()
    metrics.update(plan(decision()), SUMMARY)
    chat = {"namespace": "prod", "service": "chat"}
    expected = {
        ("pertoken_service_cost_index",): 1.2,
        ("pertoken_service_idle_ratio",): 0.25,
        ("pertoken_service_waiting_requests",): 3.0,
        ("pertoken_service_cost_usd_per_million_tokens", "kind", "output"): 2.5,
        ("pertoken_service_cost_usd_per_million_tokens", "kind", "good_low"): 1.0,
        ("pertoken_service_bill_ratio", "kind", "warming"): 0.1,
        ("pertoken_service_bill_ratio", "kind", "work"): 0.5,
        ("pertoken_service_demand_tokens_per_second", "kind", "output"): 812.0,
        ("pertoken_service_latency_seconds", "kind", "ttft", "percentile", "95"): 0.4,
        ("pertoken_service_condition", "status", "False", "type", "WithinCostTarget"): 1.0,
        ("pertoken_service_missed_requests_ratio",): 0.08,
        ("pertoken_service_allowed_misses_ratio",): pytest.approx(0.05),
        ("pertoken_service_latency_objective_seconds", "kind", "ttft"): 2.0,
        ("pertoken_variant_desired_replicas", "variant", "h100"): 3.0,
        ("pertoken_variant_current_replicas", "variant", "h100"): 2.0,
        ("pertoken_variant_desired_batch_cap_sequences", "variant", "h100"): 128.0,
        ("pertoken_variant_operating_batch_sequences", "variant", "h100"): 41.5,
    }
    for (name, *labels), number in expected.items():
        assert value(metrics, name, **chat, **dict(zip(labels[::2], labels[1::2], strict=True))) == number
    assert value(metrics, "pertoken_pool_capacity_gpus", pool="h100") == 16
    assert value(metrics, "pertoken_pool_placeable_gpus", pool="h100") == 4
    assert value(metrics, "pertoken_decisions_total", reason="DemandRose") == 1
    assert value(metrics, "pertoken_actions_total", kind="scale_up", outcome="done") == 2
    assert value(metrics, "pertoken_cycle_duration_seconds_count", phase="act") == 1


def test_what_is_not_known_has_no_series():
    metrics = State().metrics()
    metrics.update(plan(decision(spend=None)), SUMMARY)
    names = {name for name, _ in values(metrics)}
    assert "pertoken_service_spend_usd_per_hour" not in names
    assert "pertoken_service_cost_reachable_index" not in names
    assert "pertoken_service_energy_joules_per_token" not in names
    assert "pertoken_variant_gpu_utilization_ratio" not in names
    assert "pertoken_pool_spend_usd_per_hour" not in names


def test_series_of_a_deleted_service_vanish():
    metrics = State().metrics()
    metrics.update(plan(decision(), decision("search")), SUMMARY)
    assert any(("service", "search") in labels for _, labels in values(metrics))
    metrics.update(plan(decision()), SUMMARY)
    assert not any(("service", "search") in labels for _, labels in values(metrics))
    assert any(("service", "chat") in labels for _, labels in values(metrics))


def test_the_bill_adds_up_what_was_held():
    state = State()
    metrics = state.metrics()
    metrics.update(plan(decision(spend=36.0)), SUMMARY)
    chat = {"namespace": "prod", "service": "chat"}
    assert value(metrics, "pertoken_service_bill_usd_total", **chat) == 0
    state.clock.at += 100
    metrics.update(plan(decision(spend=72.0)), SUMMARY)
    assert value(metrics, "pertoken_service_bill_usd_total", **chat) == pytest.approx(1.0)
    state.clock.at += 50
    metrics.update(plan(decision(spend=72.0)), SUMMARY)
    assert value(metrics, "pertoken_service_bill_usd_total", **chat) == pytest.approx(2.0)
    state.clock.at += 3000  # an outage: what was held meanwhile is unknown
    metrics.update(plan(decision(spend=72.0)), SUMMARY)
    assert value(metrics, "pertoken_service_bill_usd_total", **chat) == pytest.approx(2.0)


def test_a_failed_cycle_counts_and_ages():
    state = State()
    metrics = state.metrics()
    assert value(metrics, "pertoken_cycles_total", outcome="failed") == 0
    assert value(metrics, "pertoken_cycle_age_seconds") is None
    metrics.update(plan(decision()), SUMMARY)
    state.clock.at += 40
    metrics.update(None, CycleSummary(number=2, ok=False, error="boom"))
    assert value(metrics, "pertoken_cycles_total", outcome="failed") == 1
    assert value(metrics, "pertoken_cycles_total", outcome="ok") == 1
    assert value(metrics, "pertoken_cycle_age_seconds") == 40
    assert value(metrics, "pertoken_service_cost_index", namespace="prod", service="chat") == 1.2


def test_a_standby_shows_no_plan():
    state = State()
    metrics = state.metrics()
    metrics.update(plan(decision()), SUMMARY)
    state.leading = False
    assert value(metrics, "pertoken_leader") == 0
    assert not any(name.startswith(("pertoken_variant", "pertoken_pool")) for name, _ in values(metrics))


def test_process_state_is_asked_at_each_scrape():
    state = State(synced=False, age=None)
    metrics = state.metrics()
    assert value(metrics, "pertoken_inventory_synced") == 0
    assert value(metrics, "pertoken_inventory_resync_age_seconds") is None
    state.synced, state.age = True, 7.0
    assert value(metrics, "pertoken_inventory_synced") == 1
    assert value(metrics, "pertoken_inventory_resync_age_seconds") == 7
    assert value(metrics, "pertoken_leader") == 1


def test_sources():
    metrics = State().metrics()
    pods = {PodKey("prod", "gone"): PodMetrics(PodKey("prod", "gone"), 300.0)}
    pods[PodKey("prod", "a")] = PodMetrics(PodKey("prod", "a"), 4.0)
    snapshots = {
        "default": MetricsSnapshot(MetricsHealth(ok=True), 90.0, 60.0, pods),
        "other": MetricsSnapshot(MetricsHealth(ok=False, why="unreachable"), 90.0, 60.0),
    }
    metrics.update(plan(), SUMMARY, snapshots)
    assert value(metrics, "pertoken_metrics_source_up", profile="default") == 1
    assert value(metrics, "pertoken_metrics_source_up", profile="other") == 0
    assert value(metrics, "pertoken_metrics_data_age_seconds", profile="default") == 4
    assert value(metrics, "pertoken_metrics_data_age_seconds", profile="other") is None


def test_labels_stay_few_and_never_name_pods():
    metrics = State().metrics()
    metrics.update(plan(decision()), SUMMARY)
    allowed = {"namespace", "service", "variant", "pool", "kind", "outcome", "reason", "phase", "le", "version"}
    allowed |= {"type", "status", "percentile", "profile", "basis", "route", "tier"}
    assert {label for _, labels in values(metrics) for label, _ in labels} <= allowed
    assert all(name.startswith("pertoken_") for name, _ in values(metrics))


def test_dates_and_shortfalls_of_capacity_plans():
    pools = (PlannedPool("h100", 24, 8), PlannedPool("l40s", 4, None))
    state = State(plans=(CapacityPlanFigures("year", 1e9, 2e9, pools), CapacityPlanFigures("new", None, None)))
    metrics = state.metrics()
    assert value(metrics, "pertoken_capacity_plan_made_timestamp_seconds", plan="year") == 1e9
    assert value(metrics, "pertoken_capacity_plan_order_by_timestamp_seconds", plan="year") == 2e9
    assert value(metrics, "pertoken_capacity_plan_peak_gpus", plan="year", pool="l40s") == 4
    assert value(metrics, "pertoken_capacity_plan_short_gpus", plan="year", pool="h100") == 8
    assert value(metrics, "pertoken_capacity_plan_short_gpus", plan="year", pool="l40s") is None
    assert not any(("plan", "new") in labels for _, labels in values(metrics))
    state.leading = False
    assert value(metrics, "pertoken_capacity_plan_peak_gpus", plan="year", pool="h100") is None


def test_openmetrics_is_spoken_when_asked_for():
    body, content_type = State().metrics().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
