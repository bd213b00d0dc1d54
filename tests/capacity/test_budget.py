"""A budget per month: what fits, and what staying inside takes."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.budget import within_budget
from pertoken.capacity.purchase.document import purchase_document
from pertoken.capacity.purchase.options import OnDemand, PoolOptions, PurchaseOptions, Reserved
from pertoken.capacity.purchase.plan import purchase
from pertoken.domain.pool import PoolSpec

POOL = PoolSpec(name="a", accelerator="h100-sxm", price_per_gpu_hour=Decimal(2))
OFFER = Reserved("1 month", Decimal("1.20"), 30)
DAY = [1] * 12 + [2] * 6 + [4] * 6


def futures(*pools):
    return Futures(tuple(PoolFutures(pool, np.tile(np.array([day]), 30), 0) for pool, day in pools), 720)


def answer(given, budget, *, least=0, others=None):
    entries = [PoolOptions(pool.name, OnDemand(Decimal(2)), (OFFER,), min_nodes=least) for pool in given.pools]
    options = PurchaseOptions(tuple(entries), Decimal(budget))
    return within_budget(given, options, purchase(given, options), others)


def test_a_plan_within_its_budget_fits():
    budget = answer(futures((POOL, DAY)), 2400)

    assert budget.fits
    assert budget.caps is None
    assert not budget.infeasible


def test_no_budget_gets_no_answer():
    given = futures((POOL, DAY))

    assert within_budget(given, PurchaseOptions(), purchase(given, PurchaseOptions())) is None


def test_the_largest_cap_that_fits_is_found():
    """Three GPUs: one reserved (876), 6 hours a day with one and 6 with two more on demand (1,095)."""
    budget = answer(futures((POOL, DAY)), 2000)

    assert budget.over_usd == pytest.approx(336)
    assert budget.caps.gpus == (("a", 3),)
    assert budget.caps.worst_month_usd == pytest.approx(876 + 1095)
    assert budget.caps.unserved_share == pytest.approx(6 / 48)
    assert budget.caps.short_share == pytest.approx(6 / 24)


def test_all_pools_give_up_the_same_share_of_hours():
    other = replace(POOL, name="b")
    budget = answer(futures((POOL, list(range(24))), (other, [10 * hour for hour in range(24)])), 100_000)

    assert dict(budget.caps.gpus)["b"] == pytest.approx(10 * dict(budget.caps.gpus)["a"], abs=10)
    assert budget.caps.worst_month_usd <= 100_000


def test_a_budget_below_what_is_always_paid_cannot_hold():
    budget = answer(futures((replace(POOL, committed_gpus=2), DAY)), 2000)

    assert budget.infeasible
    assert budget.least_usd == pytest.approx(2 * 2 * 730)
    assert "no cap helps: commitments and least nodes alone cost 2,920" in budget.message


def test_a_budget_of_nothing_holds_nothing():
    budget = answer(futures((POOL, DAY)), 0)

    assert budget.caps.gpus == (("a", 0),)
    assert budget.caps.unserved_share == 1.0


def test_cheaper_variants_are_told_cheapest_first():
    others = {"fp8": futures((POOL, [1] * 24)), "longer": futures((POOL, [4] * 24))}
    budget = answer(futures((POOL, DAY)), 2000, others=others)

    assert [(entry.name, entry.fits) for entry in budget.alternatives] == [("fp8", True), ("longer", False)]
    assert "fp8 fits at 876" in budget.message


def test_the_dearest_month_counts():
    grows = Futures((PoolFutures(POOL, np.repeat([[1, 3]], 730, axis=1), 0),), 1460)
    options = PurchaseOptions(budget_usd_per_month=Decimal(3000))
    budget = within_budget(grows, options, purchase(grows, options))

    assert budget.worst_month_usd == pytest.approx(3 * 2 * 730)
    assert budget.caps.gpus == (("a", 2),)


def test_the_document_has_the_contract_and_cents():
    given = futures((POOL, DAY))
    options = PurchaseOptions((PoolOptions("a", OnDemand(Decimal(2)), (OFFER,)),), Decimal(2000))
    plan = purchase(given, options)
    document = purchase_document(plan, within_budget(given, options, plan))

    assert {"reserved", "on_demand", "spot", "usd_per_month", "all_on_demand_usd_per_month"} <= set(document)
    assert (document["usd_per_month"], document["all_on_demand_usd_per_month"]) == (2336.00, 2920.00)
    assert document["saving_against_all_on_demand_usd_per_month"] == 584.00
    assert document["todays_fleet_usd_per_month"] is None
    assert document["reserved"][0]["gpus"] == 1
    assert document["budget"]["caps"]["gpus"] == {"a": 3}
