from decimal import Decimal

import pytest

from pertoken.accounting.cost_index import (
    Tokens,
    cost_index,
    list_value,
    marginal,
    reachable,
    reachable_index,
    scaled_prices,
)
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism, PriceList
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, sustainable_rate
from pertoken.performance.step_time import engine_model

PRICES = PriceList(Decimal("0.10"), Decimal("0.02"), Decimal("0.40"))
LOAD = Load(1000, 200)
ENGINE = Engine(engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("a100"), Parallelism()), cap=64)


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
    sustained = sustainable_rate(ENGINE, LOAD, Targets(0.04, 2.0))
    assert isinstance(sustained, Sustainable)
    least = reachable(sustained, LOAD, 2.0)

    assert least is not None
    assert least.usd_per_request == pytest.approx(2.0 / 3600 / sustained.rate)
    assert least.blended == pytest.approx(least.usd_per_request / 1200 * 1e6)
    assert reachable_index(least, LOAD, PRICES) == pytest.approx(
        least.usd_per_request / ((1000 * 0.1 + 200 * 0.4) / 1e6)
    )
    assert reachable(sustained, Load(0, 0), 2.0) is None


def test_one_more_request_costs_less_than_the_average_one():
    sustained = sustainable_rate(ENGINE, LOAD, Targets(0.04, 2.0))
    assert isinstance(sustained, Sustainable)
    least = reachable(sustained, LOAD, 2.0)
    more = marginal(ENGINE, LOAD, sustained.point.batch, 2.0)

    assert least is not None
    assert more is not None
    assert 0 < more < least.blended
    assert marginal(ENGINE, Load(0, 0), 4.0, 2.0) is None
