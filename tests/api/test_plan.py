"""CapacityPlan: from the manifest to what is asked, and from what was planned to the status."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pertoken.api.capacityplan import translate_plan
from pertoken.api.check import check
from pertoken.api.plan_status import Planned, failed_plan_status, plan_status
from pertoken.api.v1alpha1.capacity_plan_status import CapacityPlanStatus
from pertoken.calculators.advice import Row
from pertoken.calculators.changes import Change, Kind
from pertoken.calculators.fleet import Setup
from pertoken.capacity.advice import ServiceAdvice
from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.budget import within_budget
from pertoken.capacity.purchase.plan import purchase
from pertoken.capacity.shortfall import shortfalls
from pertoken.capacity.spec import Event
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.identity import ServiceKey
from pertoken.domain.pool import PoolSpec

NOW = 1_798_000_000 // 3600 * 3600
POOL = PoolSpec(name="a100", accelerator="a100-sxm-80gb", price_per_gpu_hour=Decimal("2.45"), provisioning_seconds=600)


def test_a_manifest_becomes_what_is_asked(plan):
    spec = translate_plan(plan).spec

    assert (spec.name, spec.horizon_days, spec.confidence, spec.history_days) == ("next-month", 14, 90.0, 42)
    assert spec.services == (ServiceKey("demo", "chat"),)
    assert spec.growth_per_month == pytest.approx(0.1)
    assert spec.events == (Event("launch", 1_799_654_400, 1_799_737_200, 1.5),)
    assert spec.budget_usd_per_month == 12000
    assert spec.includes(ServiceKey("demo", "chat"))
    assert not spec.includes(ServiceKey("demo", "other"))


def test_offers_take_the_pools_lead_time_and_price_where_they_have_none(plan):
    spec = translate_plan(plan).spec
    [options] = spec.options((POOL,)).pools

    assert options.on_demand.usd_per_gpu_hour == Decimal("2.45")
    assert [(offer.name, offer.lead_seconds) for offer in options.reserved] == [("one-month", 86400), ("one-year", 0)]
    assert (options.spot.lost_share, options.spot.most_share) == (0.05, 0.5)
    assert spec.gpus_per_node("a100") == 8
    assert (spec.lead_seconds(POOL), spec.lead_seconds(replace(POOL, name="l4"))) == (86400, 600)
    del plan["spec"]["pools"][0]["onDemand"]
    assert translate_plan(plan).spec.options((POOL,)).pools[0].on_demand.usd_per_gpu_hour == Decimal("2.45")
    assert translate_plan(plan).spec.options((replace(POOL, price_per_gpu_hour=None),)).pools == ()


def test_a_plan_without_anything_is_for_all_services_and_at_the_pools_prices():
    spec = translate_plan({"metadata": {"name": "all"}, "spec": {}}).spec

    assert spec.includes(ServiceKey("any", "thing"))
    assert spec.options((POOL,)).pools == ()


def planned(plan, **changes):
    day = [8] * 12 + [16] * 6 + [32] * 6
    spec = replace(translate_plan(plan).spec, **changes)
    futures = Futures((PoolFutures(POOL, np.tile([day], 14), NOW, 8, 24),), 24 * 14)
    options = spec.options((POOL,))
    bought = purchase(futures, options)
    short = shortfalls(futures, {"a100": spec.lead_seconds(POOL)}, NOW)
    return Planned(spec, NOW, NOW, 3, 1, short, bought, within_budget(futures, options, bought), advised())


def advised():
    """Advice of twenty services; the status has room for sixteen."""
    setup = Setup(SHIPPED.model("meta-llama/Llama-3.1-70B"), SHIPPED.known_gpu("a100-sxm-80gb"), Decimal("2.45"))
    change = Change(Kind.QUANTIZATION, "bf16", "fp8", setup, None, widened=True)
    row = Row(change, None, 1234.567)
    return tuple(ServiceAdvice(ServiceKey("demo", f"chat-{number}"), "main", 2.0, (row,)) for number in range(20))


def test_the_status_tells_the_best_change_of_the_first_services(plan):
    advice = plan_status(planned(plan), {})["advice"]

    assert len(advice) == 16
    assert advice[0] == {
        "namespace": "demo",
        "name": "chat-0",
        "variant": "main",
        "change": "quantization and GPUs per replica: bf16 -> fp8",
        "savingPerMonth": "1234.57",
        "surety": "measured elsewhere",
    }
    CapacityPlanStatus.model_validate(plan_status(planned(plan), {}))


def test_the_status_has_counts_dates_and_money(plan):
    status = plan_status(planned(plan), {})
    conditions = {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}

    CapacityPlanStatus.model_validate(status)
    assert (status["services"], status["unplannedServices"], status["shortfalls"], status["peakGPUs"]) == (3, 1, 1, 32)
    assert status["orderBy"] == status["pools"][0]["orderBy"] == "2026-12-22T22:00:00Z"
    assert status["pools"][0]["overdue"] is True
    assert Decimal(status["costPerMonth"]) + Decimal(status["savingPerMonth"]) == Decimal(
        status["purchase"]["allOnDemandPerMonth"]
    )
    assert conditions == {
        "Ready": ("True", "ServicesLeftOut"),
        "CapacitySuffices": ("False", "Shortfall"),
        "WithinBudget": ("False", "OverBudget"),
    }
    assert "which has passed" in status["message"]


@pytest.mark.parametrize(("budget", "said"), [(None, "NoBudget"), (Decimal(10**6), "WithinBudget")])
def test_the_budgets_condition(plan, budget, said):
    status = plan_status(planned(plan, budget_usd_per_month=budget), {})

    assert [entry["reason"] for entry in status["conditions"] if entry["type"] == "WithinBudget"] == [said]


def test_a_condition_keeps_its_time_while_its_status_stays(plan):
    first = plan_status(planned(plan), {})
    later = plan_status(replace(planned(plan, budget_usd_per_month=None), planned_s=NOW + 3600), first)
    times = {entry["type"]: entry["lastTransitionTime"] for entry in later["conditions"]}

    assert times["CapacitySuffices"] == first["plannedTime"]
    assert times["WithinBudget"] == later["plannedTime"]


def test_a_plan_that_failed_says_why_and_shows_no_figures():
    status = failed_plan_status(3, NOW, "pool a100: no price", {})

    CapacityPlanStatus.model_validate(status)
    assert (status["conditions"][0]["status"], status["message"]) == ("False", "pool a100: no price")
    assert "costPerMonth" not in status


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "an AcceleratorPool; the files hold none of this name"),
        ({"onDemand": None}, "without a price by the hour nothing can be bought"),
        ({"onDemand": {"pricePerGPUHour": "1.80"}}, "below the price by the hour, 1.80: it is never bought"),
        ({"spot": {"pricePerGPUHour": "3"}}, "below the price by the hour, 2.45: it is never bought"),
    ],
)
def test_validate_warns_of_what_can_never_be_bought(plan, change, said):
    plan["spec"]["pools"][0].update(change)
    findings = check({"f.yaml": json.dumps(plan)}, SHIPPED).findings

    assert said in [finding.expectation for finding in findings]


@pytest.mark.e2e
def test_the_server_takes_the_status_and_prints_it(crds, plan):
    plan["metadata"]["name"] = "printed"
    crds.apply(plan)
    stored = crds.json("get", "ptplan", "printed")
    assert translate_plan(stored).spec == replace(
        translate_plan(plan).spec, uid=stored["metadata"]["uid"], generation=1
    )
    document = {
        **{key: plan[key] for key in ("apiVersion", "kind", "metadata")},
        "status": plan_status(planned(stored), {}),
    }
    crds(
        *("apply", "--server-side", "--field-manager=pertoken-plan", "--subresource=status", "--validate=strict"),
        *("-f", "-"),
        stdin=json.dumps(document),
    )
    assert crds.json("get", "ptplan", "printed")["status"] == document["status"]
    header, row = crds("get", "ptplan").splitlines()
    assert header.split() == [
        *("NAME", "DAYS", "SERVICES", "GPUS", "SHORT", "ORDER-BY", "USD/MONTH", "IN-BUDGET", "PLANNED", "AGE"),
    ]
    assert row.split()[:8] == [
        *("printed", "14", "3", "32", "1", "2026-12-22T22:00:00Z"),
        *(document["status"]["costPerMonth"], "False"),
    ]
