"""The example of docs/purchase.md, bought by the program: equal to the cent."""

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import yaml

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.purchase.document import purchase_document
from pertoken.capacity.purchase.options import OnDemand, PoolOptions, PurchaseOptions, Reserved, Spot
from pertoken.capacity.purchase.plan import purchase
from pertoken.domain.pool import PoolSpec

PAGE = Path(__file__).parents[2] / "docs" / "purchase.md"
GIVEN, ANSWER = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
DAYS = 30


def offers(name):
    pool = GIVEN[name]
    spot = pool.get("spot")
    return PoolOptions(
        name,
        OnDemand(Decimal(pool["onDemand"])),
        tuple(Reserved(term, Decimal(price), DAYS) for term, price in pool["reserved"].items()),
        Spot(Decimal(spot["price"]), float(spot["lostShare"]), float(spot["mostShare"])) if spot else None,
    )


@pytest.fixture(scope="module")
def document():
    pools = []
    for name, pool in GIVEN.items():
        day = [gpus for gpus, hours in pool["hours"].items() for _ in range(hours)]
        pools.append(PoolFutures(PoolSpec(name, "h100-sxm"), np.tile([day], DAYS), 0))
    futures = Futures(tuple(pools), 24 * DAYS)
    return purchase_document(purchase(futures, PurchaseOptions(tuple(offers(name) for name in GIVEN))))


@pytest.mark.parametrize("name", GIVEN)
def test_the_reserved_gpus_of_the_page(document, name):
    assert [(entry["pool"], entry["gpus"]) for entry in document["reserved"] if entry["pool"] == name] == [
        (name, ANSWER[name]["reservedGPUs"])
    ]


@pytest.mark.parametrize("name", GIVEN)
def test_the_dollars_of_the_page_by_pool(document, name):
    bought = [
        entry["usd_per_month"]
        for part in ("reserved", "on_demand", "spot")
        for entry in document[part]
        if entry["pool"] == name
    ]

    assert f"{sum(bought):.2f}" == ANSWER[name]["usdPerMonth"]


def test_the_dollars_of_the_page(document):
    assert f"{document['usd_per_month']:.2f}" == ANSWER["together"]["usdPerMonth"]
    assert f"{document['all_on_demand_usd_per_month']:.2f}" == ANSWER["together"]["allOnDemandUSDPerMonth"]
    assert sum(Decimal(ANSWER[name]["usdPerMonth"]) for name in GIVEN) == Decimal(ANSWER["together"]["usdPerMonth"])
