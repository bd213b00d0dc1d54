from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.accounting.attribution import Weights, weights_at
from pertoken.accounting.bill import Bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.statement import GpuTime, statement
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.steady import Engine, Load
from pertoken.performance.step_time import engine_model

CENT_HALF = Decimal("0.005")
ENGINE = Engine(engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("a100"), Parallelism()), cap=64)
WEIGHTS = weights_at(ENGINE, Load(1000, 200, 0.25), 16.0)


def hours(gpus, price="2.95"):
    return Bill(round(gpus * 3.6e9), Decimal(round(gpus * 3.6e9)) * Decimal(price))


DAY = GpuTime(hours(10), hours(5), hours(2), hours(3))


def gap(statement):
    """The law's left side: what price x tokens misses of GPU-seconds x price, work prices and fully loaded ones."""
    prices, loaded = statement.prices, statement.loaded_prices
    assert prices is not None
    assert loaded is not None
    work = prices.usd(statement.tokens) + statement.overhead.usd - statement.bill.usd
    whole = loaded.usd(statement.tokens) + statement.unloaded - statement.bill.usd
    return max(abs(work), abs(whole))


@pytest.mark.parametrize(
    ("tokens", "charged"),
    [
        (Tokens(10, 1e6, 2e5, 3e5), {"input", "cached_input", "output"}),
        (Tokens(10, 0, 0, 3e5), {"output"}),
        (Tokens(10, 1e6, 0, 0), {"input"}),
        (Tokens(10, 1e6, 1e6, 0), {"cached_input"}),
        (Tokens(10, 1e6, 2e6, 5), {"cached_input", "output"}),
        (Tokens(), set()),
    ],
    ids=["all kinds", "no input", "no output", "all cached", "cached beyond input", "no tokens"],
)
def test_every_window_adds_up(tokens, charged):
    priced = statement(DAY, tokens, WEIGHTS)

    assert priced.bill == DAY.total
    assert gap(priced) <= CENT_HALF
    lines = {"input": priced.input, "cached_input": priced.cached_input, "output": priced.output}
    assert {name for name, line in lines.items() if line.usd_microhours} == charged
    assert {name for name in lines if getattr(priced.prices, name) is not None} == charged
    assert (priced.warming, priced.unallocated) == (DAY.warming, DAY.unallocated)


def test_without_tokens_everything_is_a_line():
    priced = statement(DAY, Tokens(), WEIGHTS)

    assert priced.idle == DAY.work + DAY.idle
    assert priced.work == Bill()
    assert priced.unloaded == DAY.total.usd


def test_tokens_without_weight_are_charged_alike():
    priced = statement(DAY, Tokens(1, 3e5, 0, 1e5), Weights(0.0, 0.0, 0.0))

    assert priced.input.usd == pytest.approx(3 * priced.output.usd)


def test_without_a_gpu_price_time_is_attributed_and_money_is_not():
    unpriced = Bill(3_600_000_000, priced=False)
    priced = statement(GpuTime(work=unpriced), Tokens(1, 1000, 0, 1000), WEIGHTS)

    assert priced.prices is None
    assert priced.bill.gpu_seconds == 3600
    assert priced.input.gpu_microseconds >= 0


def test_loaded_prices_carry_the_overhead():
    priced = statement(DAY, Tokens(10, 1e6, 2e5, 3e5), WEIGHTS)

    assert float(priced.loaded_prices.output / priced.prices.output) == pytest.approx(2.0, rel=1e-4)
    assert priced.unloaded == 0


@pytest.mark.parametrize("bad", [Tokens(1, -1.0), Tokens(1, 1, 1, float("nan")), Tokens(1, float("inf"))])
def test_counts_must_be_finite_and_not_negative(bad):
    with pytest.raises(ValueError, match="tokens"):
        statement(DAY, bad, WEIGHTS)


counts = st.just(0.0) | st.floats(0, 1e13, allow_subnormal=False)
weighing = st.just(0.0) | st.floats(1e-9, 10.0)
times = st.integers(0, 10**14)
prices = st.decimals("0", "99.9999", places=4)


@given(
    spent=st.tuples(times, times, times, times),
    price=prices,
    counts=st.tuples(counts, counts, counts),
    weighing=st.tuples(weighing, weighing, weighing),
)
def test_prices_add_up_to_the_bill_whatever_the_window(spent, price, counts, weighing):
    lines = GpuTime(*(Bill(time, time * price) for time in spent))

    priced = statement(lines, Tokens(1.0, *counts), Weights(*weighing))

    assert priced.bill == lines.total
    assert gap(priced) <= CENT_HALF
    assert all(line.usd_microhours >= 0 for line in (priced.input, priced.cached_input, priced.output))


def test_a_thousand_random_windows_add_up():
    random = Random(20260)  # noqa: S311 - reproducible windows
    seen = set()
    for _ in range(1000):
        price = Decimal(random.randrange(1, 150_000)) / 10_000
        lines = GpuTime(
            *(Bill(t, t * price) for t in (random.randrange(10 ** random.randrange(1, 15)) for _ in "1234"))
        )
        empty = random.randrange(8)  # bits: which kinds of tokens are missing
        new, cached, output = (
            0.0 if empty >> kind & 1 else float(random.randrange(1, 10 ** random.randrange(2, 14))) for kind in range(3)
        )
        seen.add(empty)
        load = Load(random.uniform(1, 30000), random.uniform(1, 4000), random.random())
        point = weights_at(ENGINE, load, random.uniform(0.1, 200))

        priced = statement(lines, Tokens(1.0, new + cached, cached, output), point)

        assert priced.bill == lines.total
        assert gap(priced) <= CENT_HALF
        assert abs(priced.bill.usd - lines.total.gpu_microseconds * price / Decimal(3_600_000_000)) <= Decimal("1e-15")
    assert seen == set(range(8))


def test_windows_of_different_prices_are_kept_apart():
    mixed = replace(DAY, idle=hours(5, "1.00"))

    assert statement(mixed, Tokens(1, 1e6, 0, 1e6), WEIGHTS).idle.usd == Decimal("5.00")
