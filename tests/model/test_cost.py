from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.catalog.lookup import find_gpu, find_model
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import Parallelism, PriceList
from pertoken.model.cost import (
    Bill,
    Tokens,
    bill,
    cost_index,
    list_value,
    marginal,
    reachable,
    reachable_index,
    scaled_prices,
)
from pertoken.model.perf import engine_model
from pertoken.model.steady import Engine, Load, Sustainable, Targets, sustainable_rate

POOL = PoolSpec("p", "a100-sxm-80gb", price_per_gpu_hour=Decimal("2.95"))
PRICES = PriceList(Decimal("0.10"), Decimal("0.02"), Decimal("0.40"))
LOAD = Load(1000, 200)
ENGINE = Engine(engine_model(find_model("llama-3.1-8b"), find_gpu("a100"), Parallelism()), cap=64)


def pod(bound, deleted=None, gpus=1):
    return PodFact(PodKey("n", "p"), "u", {"nvidia.com/gpu": gpus}, bound_at=bound, deleted_at=deleted)


@pytest.mark.parametrize(
    ("held", "start", "end", "seconds"),
    [
        (pod(None), 0, 100, 0),
        (pod(50), 0, 100, 50),
        (pod(-10, 30), 0, 100, 30),
        (pod(10, 40, gpus=4), 0, 100, 120),
        (pod(200), 0, 100, 0),
        (pod(0, 10), 50, 100, 0),
    ],
    ids=["never bound", "bound within", "gone within", "four GPUs", "bound later", "gone before"],
)
def test_gpu_time_runs_from_bound_to_gone(held, start, end, seconds):
    assert bill([held], POOL, start, end).gpu_seconds == seconds


def test_an_hour_costs_the_price():
    assert bill([pod(0, gpus=2)], POOL, 0, 3600).usd == Decimal("5.90")


def test_a_share_of_a_gpu_costs_its_share():
    half = replace(POOL, gpu_fraction=Decimal("0.5"))

    assert bill([pod(0)], half, 0, 3600).usd == Decimal("1.475")


def test_without_price_the_time_is_known_and_the_money_is_not():
    found = bill([pod(0)], replace(POOL, price_per_gpu_hour=None), 0, 10)

    assert found.gpu_seconds == 10
    assert not found.priced
    assert bill([pod(None)], replace(POOL, price_per_gpu_hour=None), 0, 10).priced


instants = st.floats(0, 1e9, allow_nan=False)
pods = st.lists(
    st.builds(
        lambda bound, length, gpus: pod(bound, None if length is None else bound + length, gpus),
        instants,
        st.none() | st.floats(0, 1e6),
        st.integers(1, 16),
    ),
    max_size=6,
)


@given(pods=pods, cuts=st.lists(instants, min_size=2, max_size=6), price=st.decimals("0.0001", "99.9999", places=4))
def test_bills_of_adjoining_windows_add_up_exactly(pods, cuts, price):
    pool = replace(POOL, price_per_gpu_hour=price)
    edges = sorted(cuts)
    parts = Bill()
    for start, end in pairwise(edges):
        parts += bill(pods, pool, start, end)

    whole = bill(pods, pool, edges[0], edges[-1])

    assert parts.usd_microhours == whole.usd_microhours
    assert parts.gpu_microseconds == whole.gpu_microseconds


def test_cached_tokens_have_their_own_price():
    assert list_value(Tokens(1, 1e6, 0.5e6, 1e6), PRICES) == pytest.approx(0.05 + 0.01 + 0.40)


def test_scaled_prices_add_up_to_the_bill():
    tokens = Tokens(100, 3e6, 1e6, 2e6)
    index = cost_index(Decimal("2.5"), tokens, PRICES)
    assert index is not None
    new, cached, output = scaled_prices(PRICES, index)

    assert (2e6 * new + 1e6 * cached + 2e6 * output) / 1e6 == pytest.approx(2.5)


def test_no_tokens_have_no_index():
    assert cost_index(Decimal(1), Tokens(), PRICES) is None


def test_the_least_cost_is_a_replica_at_its_sustainable_rate():
    found = sustainable_rate(ENGINE, LOAD, Targets(0.04, 2.0))
    assert isinstance(found, Sustainable)
    least = reachable(found, LOAD, 2.0)

    assert least is not None
    assert least.usd_per_request == pytest.approx(2.0 / 3600 / found.rate)
    assert least.blended == pytest.approx(least.usd_per_request / 1200 * 1e6)
    assert reachable_index(least, LOAD, PRICES) == pytest.approx(
        least.usd_per_request / ((1000 * 0.1 + 200 * 0.4) / 1e6)
    )
    assert reachable(found, Load(0, 0), 2.0) is None


def test_one_more_request_costs_less_than_the_average_one():
    found = sustainable_rate(ENGINE, LOAD, Targets(0.04, 2.0))
    assert isinstance(found, Sustainable)
    least = reachable(found, LOAD, 2.0)
    more = marginal(ENGINE, LOAD, found.point.batch, 2.0)

    assert least is not None
    assert more is not None
    assert 0 < more < least.blended
    assert marginal(ENGINE, Load(0, 0), 4.0, 2.0) is None
