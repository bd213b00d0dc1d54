from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pertoken.api.conditions import SERVICE_CONDITIONS, accepted, merge, ready, rfc3339
from pertoken.api.figures import fixed, money, moved
from pertoken.api.significance import significant_change, urgent_change
from pertoken.api.status import (
    StatusContext,
    batch_summary,
    pool_status,
    rejected_status,
    service_status,
)
from pertoken.api.translate import translate_service
from pertoken.domain.cost import CostFigures
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import (
    CalibrationFigures,
    Condition,
    Decision,
    DemandFigures,
    LatencyFigures,
    PoolFigures,
    VariantDecision,
    Verdict,
)
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.domain.world import Rejection

NOW = 1_772_352_000.0  # 2026-03-01T08:00:00Z


def yes(reason=Reason.TARGET_FOUND, message="fine"):
    return Condition(Verdict.TRUE, reason, message)


def no(reason, message="not fine"):
    return Condition(Verdict.FALSE, reason, message)


GOOD = {
    "Accepted": yes(Reason.ACCEPTED),
    "TargetFound": yes(),
    "MetricsAvailable": yes(Reason.METRICS_FRESH),
    "AbleToScale": yes(Reason.READY_FOR_SCALE),
    "ScalingLimited": no(Reason.UNLIMITED),
    "WithinCostTarget": yes(Reason.WITHIN_COST_TARGET),
    "WithinLatencyTarget": yes(Reason.WITHIN_LATENCY_TARGET),
    "Paused": no(Reason.NOT_PAUSED),
    "Conflicted": no(Reason.NOT_CONFLICTED),
}


def by_type(conditions):
    return {condition["type"]: condition for condition in conditions}


def test_time_format():
    assert rfc3339(NOW + 0.9) == "2026-03-01T08:00:00Z"


def test_every_condition_from_the_first_visit():
    merged = merge((), {}, NOW, 1)
    assert [condition["type"] for condition in merged] == list(SERVICE_CONDITIONS)
    assert {condition["status"] for condition in merged} == {"Unknown"}
    assert all(condition["reason"] and condition["message"] for condition in merged)


def test_transition_time_moves_with_the_status_alone():
    first = merge((), GOOD, NOW, 1)
    later = {**GOOD, "WithinCostTarget": yes(Reason.WITHIN_COST_TARGET, "index 0.91")}
    second = by_type(merge(first, later, NOW + 60, 1))
    assert second["WithinCostTarget"]["lastTransitionTime"] == rfc3339(NOW)
    assert second["WithinCostTarget"]["message"] == "index 0.91"
    third = by_type(merge(second.values(), {**GOOD, "WithinCostTarget": no(Reason.COST_ABOVE_TARGET)}, NOW + 120, 1))
    assert third["WithinCostTarget"]["lastTransitionTime"] == rfc3339(NOW + 120)
    assert third["TargetFound"]["lastTransitionTime"] == rfc3339(NOW)


def test_unjudged_conditions_stay_within_a_generation_and_are_forgotten_after_it():
    first = merge((), GOOD, NOW, 1)
    same = by_type(merge(first, {"Accepted": yes(Reason.ACCEPTED)}, NOW + 60, 1))
    assert same["TargetFound"]["status"] == "True"
    new = by_type(merge(first, {"Accepted": no(Reason.INVALID_SPEC)}, NOW + 60, 2))
    assert new["TargetFound"]["status"] == "Unknown"
    assert new["TargetFound"]["lastTransitionTime"] == rfc3339(NOW + 60)


@pytest.mark.parametrize(
    ("changed", "verdict", "reason"),
    [
        ({}, Verdict.TRUE, Reason.ACCEPTED),
        ({"Accepted": no(Reason.INVALID_SPEC)}, Verdict.FALSE, Reason.INVALID_SPEC),
        (
            {"MetricsAvailable": Condition(Verdict.UNKNOWN, Reason.METRICS_WARMING_UP, "")},
            Verdict.UNKNOWN,
            Reason.METRICS_WARMING_UP,
        ),
        ({"Conflicted": yes(Reason.CONFLICTING_MANAGER)}, Verdict.FALSE, Reason.CONFLICTING_MANAGER),
        ({"WithinCostTarget": no(Reason.COST_ABOVE_TARGET)}, Verdict.TRUE, Reason.ACCEPTED),
        ({"Paused": yes(Reason.PAUSED)}, Verdict.TRUE, Reason.ACCEPTED),
    ],
)
def test_ready(changed, verdict, reason):
    summary = ready({**GOOD, **changed})
    assert (summary.verdict, summary.reason) == (verdict, reason)


def test_fields_without_effect_show_in_accepted():
    condition = accepted(["spec.freeze"])
    assert condition.verdict is Verdict.TRUE
    assert condition.reason is Reason.FIELDS_NOT_ACTED_ON
    assert "spec.freeze" in condition.message


VARIANT = VariantDecision(
    variant="a100",
    current=3,
    desired=2,
    ready=3,
    reason=Reason.DEMAND_FELL,
    cap=128,
    desired_cap=96,
    operating_batch=40.6,
    gpus_per_replica=1,
    capacity_per_replica=2304.4,
    gpu_utilization=0.634,
    kv_usage=0.55,
    calibration=CalibrationFigures(1.184, 0.97, 0.012, 40),
)
DECISION = Decision(
    service=ServiceKey("demo", "chat"),
    reason=Reason.DEMAND_FELL,
    message="demand fell to 4600 tokens/s: 2 replicas suffice",
    variants=(VARIANT,),
    conditions={name: condition for name, condition in GOOD.items() if name != "Accepted"},
    cost=CostFigures(index=0.8712, blended=0.4123, idle_share=0.31, window_seconds=3600.0, finished_requests=1200.0),
    latency=LatencyFigures(ttft=0.81, inter_token=0.0312, inter_token_low=0.03, inter_token_high=0.04),
    demand=DemandFigures(output_tokens_per_second=4600.0, lead_seconds=95.0),
)


@pytest.fixture
def spec(service):
    return translate_service(service).spec


def test_status_document(spec):
    status = service_status(spec, DECISION, StatusContext(NOW))
    assert status["observedGeneration"] == 3
    assert (status["replicas"], status["desiredReplicas"], status["readyReplicas"]) == (3, 2, 3)
    assert (status["costIndex"], status["costPerMillionTokens"]) == ("0.87", "0.412")
    assert (status["gpuUtilization"], status["batchSummary"]) == ("63", "41/128→96")
    assert status["cost"] == {
        "index": "0.871",
        "blended": "0.412",
        "idleShare": "31",
        "windowSeconds": 3600,
        "finishedRequests": 1200,
    }
    assert status["latency"]["interTokenMilliseconds"] == "31.2"
    assert "ttftLowMilliseconds" not in status["latency"]
    assert status["demand"] == {"now": {"outputTokensPerSecond": "4600.0"}, "leadSeconds": 95}
    assert status["variants"][0]["calibration"]["decodeGain"] == "1.18"
    assert by_type(status["conditions"])["Ready"]["status"] == "True"
    assert "recommendation" not in status
    assert not [value for value in json.dumps(status).split() if value == "null"]


def test_recommendation_says_what_would_be_done(spec):
    status = service_status(replace(spec, mode=Mode.RECOMMEND), replace(DECISION, acts=False), StatusContext(NOW))
    recommendation = status["recommendation"]
    assert recommendation["summary"] == "scale a100 from 3 to 2; set the batch cap of a100 from 128 to 96"
    assert recommendation["variants"] == [{"name": "a100", "replicas": 2, "batchCap": 96, "reason": "DemandFell"}]


def test_missing_figures_have_no_entry(spec):
    bare = VariantDecision(variant="a100", current=1, desired=1, ready=0, reason=Reason.HELD_NO_METRICS)
    decision = Decision(DECISION.service, Reason.HELD_NO_METRICS, "no metrics", (bare,), {})
    status = service_status(spec, decision, StatusContext(NOW))
    for name in ("costIndex", "costPerMillionTokens", "gpuUtilization", "batchSummary", "cost", "latency", "demand"):
        assert name not in status
    assert "batchCap" not in status["variants"][0]


def test_rejected_status_shows_no_old_figures(spec):
    old = service_status(spec, DECISION, StatusContext(NOW))
    rejection = Rejection(spec.key, spec.uid, 4, Reason.INVALID_SPEC, "spec.x: 1: no such field")
    status = rejected_status(rejection, StatusContext(NOW + 9, previous=old))
    assert "costIndex" not in status
    assert by_type(status["conditions"])["Ready"]["reason"] == "InvalidSpec"
    assert set(by_type(status["conditions"])) == {"Ready", "Accepted"}, "the rest was not looked at"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cap": 96, "desired_cap": 96}, "41/96"),
        ({"operating_batch": None}, "-/128→96"),
        ({"cap": None, "desired_cap": None}, "41/-"),
        ({"cap": None, "desired_cap": None, "operating_batch": None}, None),
    ],
)
def test_batch_summary(change, text):
    assert batch_summary((replace(VARIANT, **change),)) == text


def test_pool_status():
    figures = PoolFigures("a100", total=16, used=5, free=11, placeable=8, pending=1, spend_per_hour_usd=6.45)
    status = pool_status(figures, yes(Reason.ACCEPTED), 2, StatusContext(NOW))
    assert (status["total"], status["placeable"], status["spendPerHour"]) == (16, 8, "6.45")
    assert [condition["type"] for condition in status["conditions"]] == ["Ready", "Accepted"]
    refused = pool_status(None, no(Reason.POOLS_OVERLAP), 2, StatusContext(NOW))
    assert "total" not in refused
    assert by_type(refused["conditions"])["Ready"]["reason"] == "PoolsOverlap"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4123, "0.412"), (12.3, "12.30"), (0.000125, "0.000125"), (0.0, "0.00"), (1234.5, "1234.50"), (None, None)],
)
def test_money(value, text):
    assert money(value) == text


def test_figures_are_never_not_a_number():
    assert fixed(float("nan"), 1) is None
    assert money(float("inf")) is None
    assert fixed(-0.0001, 2) == "0.00"


@pytest.mark.parametrize(
    ("before", "after", "is_moved"), [("1.00", "1.04", False), ("1.00", "1.05", True), ("0", "1", True)]
)
def test_five_percent(before, after, is_moved):
    assert moved(before, after) is is_moved


def changed(spec, decision):
    before = service_status(spec, DECISION, StatusContext(NOW))
    after = service_status(spec, decision, StatusContext(NOW + 30, previous=before))
    return urgent_change(before, after), significant_change(before, after)


def test_nothing_new_is_not_written(spec):
    assert changed(spec, replace(DECISION, message="demand fell to 4601 tokens/s: 2 replicas suffice")) == (
        False,
        False,
    )


def test_small_movements_are_not_written(spec):
    cost = replace(DECISION.cost, index=0.88, blended=0.415)
    assert changed(spec, replace(DECISION, cost=cost)) == (False, False)


def test_large_movements_wait_for_the_pace(spec):
    cost = replace(DECISION.cost, index=0.95)
    assert changed(spec, replace(DECISION, cost=cost)) == (False, True)


def test_figures_that_come_or_go_wait_for_the_pace(spec):
    assert changed(spec, replace(DECISION, latency=LatencyFigures())) == (False, True)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": Reason.AT_DESIRED},
        {"variants": (replace(VARIANT, desired=3),)},
        {"variants": (replace(VARIANT, desired_cap=128),)},
        {"conditions": {**DECISION.conditions, "WithinCostTarget": no(Reason.COST_ABOVE_TARGET)}},
        {"conditions": {**DECISION.conditions, "ScalingLimited": no(Reason.AT_MINIMUM)}},
    ],
)
def test_words_and_replicas_are_written_at_once(spec, change):
    assert changed(spec, replace(DECISION, **change)) == (True, True)


def test_the_first_status_is_urgent(spec):
    assert urgent_change({}, service_status(spec, DECISION, StatusContext(NOW)))
