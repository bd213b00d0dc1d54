"""Dynamo, SageServe, the ARIMA that both use, and the common profile."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.domain.service import Parallelism
from pertoken.performance.steady import Engine
from pertoken.performance.step_time import engine_model, iteration_time
from pertoken_bench.policies import arima, dynamo, prior, sageserve
from pertoken_bench.policies.dynamo import DynamoSettings, EngineLoad, StepTraffic


@pytest.fixture
def engine() -> Engine:
    model, gpu = SHIPPED.model("meta-llama/Llama-3.1-8B-Instruct"), SHIPPED.gpu("h100-sxm")
    assert not isinstance(model, Unknown)
    assert not isinstance(gpu, Unknown)
    return Engine(engine_model(model, gpu, Parallelism(), "bf16"), cap=256)


def test_arima_of_a_flat_series_is_flat():
    assert arima.forecast([7.0] * 50, (3, 1, 2), 3) == [7.0] * 3


def test_arima_short_series_repeat_the_last_value():
    assert arima.forecast([1.0, 5.0], (3, 1, 2), 2) == [5.0, 5.0]


def test_arima_follows_a_line():
    path = arima.forecast([10.0 + 2.0 * n for n in range(60)], (1, 1, 0), 5)
    assert path == pytest.approx([130.0 + 2.0 * n for n in range(5)], rel=0.02)


def test_arima_finds_an_autoregression():
    generator = np.random.default_rng(7)
    values = [100.0]
    for _ in range(2000):
        values.append(100.0 + 0.8 * (values[-1] - 100.0) + float(generator.normal(0, 1)))
    expected = 100.0 + 0.8 * (values[-1] - 100.0)
    assert arima.forecast(values, (1, 0, 0), 1)[0] == pytest.approx(expected, abs=0.2)
    assert arima.forecast(values, (1, 0, 1), 1)[0] == pytest.approx(expected, abs=0.3)


def test_arima_finds_a_moving_average():
    generator = np.random.default_rng(11)
    noise = generator.normal(0, 1, 4000)
    values = 50.0 + noise[1:] + 0.6 * noise[:-1]
    assert arima.forecast(list(values), (0, 0, 1), 1)[0] == pytest.approx(50.0 + 0.6 * float(noise[-1]), abs=0.15)


def test_arima_order_by_aic_prefers_what_made_the_series():
    generator = np.random.default_rng(3)
    white = list(50.0 + generator.normal(0, 1, 400))
    walk = list(100.0 + np.cumsum(generator.normal(0, 1, 400)))
    assert arima.best_order(white)[1] == 0
    assert arima.best_order(walk)[:2] in {(0, 1), (1, 0)}  # a walk, or a root next to one


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.sampled_from([(3, 1, 2), (1, 0, 1), (0, 1, 1)]))
@settings(max_examples=60)
def test_arima_is_bounded_and_never_negative(series, order):
    path = arima.forecast(series, order, 10)
    assert len(path) == 10
    assert all(0.0 <= value <= arima.BOUND * max(series) + 1e-9 for value in path)


def test_dynamo_adds_only_when_all_engines_are_late(engine):
    traffic = StepTraffic(1000.0, 50.0)
    idle, late = EngineLoad(10_000.0, 0.0, 10.0), EngineLoad(10_000.0, 200_000.0, 10.0)
    assert dynamo.by_ttft(engine, [late, late], traffic, 0.5, 0.8) == 1
    assert dynamo.by_ttft(engine, [late, idle], traffic, 0.5, 0.8) == 0
    assert dynamo.by_ttft(engine, [idle, idle], traffic, 0.5, 0.8) == -1
    assert dynamo.by_ttft(engine, [idle], traffic, 0.5, 0.8) == 0


def test_dynamo_keeps_what_consolidation_would_break(engine):
    traffic = StepTraffic(500.0, 20.0)
    step = dynamo.inter_token(engine, EngineLoad(100_000.0, 0.0, 100.0), traffic)
    load = EngineLoad(100_000.0, 0.0, 100.0)
    assert dynamo.by_inter_token(engine, [load, load], traffic, step * 10, 0.8) == -1
    assert dynamo.by_inter_token(engine, [load, load], traffic, step * 1.05, 0.8) == 0
    assert dynamo.by_inter_token(engine, [load, load], traffic, step * 0.9, 0.8) == 1
    full = EngineLoad(engine.kv_tokens * 0.6, 0.0, 100.0)
    assert dynamo.by_inter_token(engine, [full, full], traffic, 100.0, 0.8) == 0  # would not fit the cache


def test_dynamo_ttft_grows_with_queue_and_batch(engine):
    traffic = StepTraffic(1000.0, 0.0)
    alone = dynamo.ttft(engine, EngineLoad(0.0, 0.0, 0.0), traffic)
    assert alone == pytest.approx(iteration_time(engine.model, 1000.0, 0.0, 0.0, 0.0))
    assert alone < dynamo.ttft(engine, EngineLoad(0.0, 10_000.0, 0.0), traffic)
    assert alone < dynamo.ttft(engine, EngineLoad(50_000.0, 0.0, 50.0), traffic)


@pytest.mark.parametrize(("uses", "step"), [((1.1, 0.2), 1), ((0.5, 0.5), -1), ((0.5, 0.7), 0), ((0.1,), 0)])
def test_dynamo_easy(uses, step):
    assert dynamo.easy(uses, DynamoSettings()) == step


def supply(replicas: int, tokens: float, usd: float, least: int = 0, most: int = 8) -> sageserve.Supply:
    return sageserve.Supply(replicas, tokens, usd, least, most)


@pytest.mark.parametrize(
    ("supplies", "demand", "changes"),
    [
        pytest.param([supply(2, 100.0, 1.0)], 350.0, [2], id="covers"),
        pytest.param([supply(5, 100.0, 1.0)], 350.0, [-1], id="gives back"),
        pytest.param([supply(2, 100.0, 1.0, most=3)], 900.0, [1], id="what cannot be carried is left to the maximum"),
        pytest.param([supply(2, 100.0, 1.0, least=1)], 0.0, [-1], id="minimum"),
        pytest.param([supply(1, 100.0, 1.0), supply(0, 100.0, 0.5)], 200.0, [-1, 2], id="the cheaper variant"),
    ],
)
def test_sageserve_allocation(supplies, demand, changes):
    assert sageserve.allocate(supplies, demand, 0.05) == changes


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([50.0, 80.0, 130.0]), st.sampled_from([1.0, 1.7, 4.0])),
        min_size=1,
        max_size=3,
    ),
    st.floats(0, 900),
)
@settings(max_examples=40, deadline=None)
def test_sageserve_allocation_is_optimal(rows, demand):
    supplies = [supply(n, tokens, usd, 0, 4) for n, tokens, usd in rows]

    def cost(changes: tuple[int, ...]) -> float:
        return sum(s.usd_per_hour * (d + 0.1 * max(d, 0)) for s, d in zip(supplies, changes, strict=True))

    reachable = min(demand, sum(s.most * s.tokens for s in supplies))
    able = [
        changes
        for changes in product(*[range(-s.replicas, s.most - s.replicas + 1) for s in supplies])
        if sum((s.replicas + d) * s.tokens for s, d in zip(supplies, changes, strict=True)) >= reachable - 1e-6
    ]
    changed = tuple(sageserve.allocate(supplies, demand, 0.1))
    assert changed in able
    assert cost(changed) == pytest.approx(min(map(cost, able)), abs=1e-6)


@pytest.mark.parametrize(
    ("use", "budget", "surprise", "change"),
    [
        (0.6, None, 0.0, 1),
        (0.2, None, 0.0, -1),
        (0.4, None, 0.0, 0),
        (0.6, 2, 0.0, 1),
        (0.4, 2, 0.0, 0),
        (0.2, 2, 0.0, 0),
        (0.2, -1, 0.0, -1),
        (0.6, -1, 0.0, 0),
        (0.6, 0, 1.0, 0),
        (0.1, 0, 3.0, 1),
    ],
)
def test_sageserve_spends_its_budget_when_memory_agrees(use, budget, surprise, change):
    assert sageserve.react(use, budget, surprise, sageserve.SageServeSettings()) == change


def test_linear_step_of_the_profile_is_near_the_model(engine):
    step = prior.linear_step(engine)
    for batch, context in ((4, 1024), (32, 1024), (128, 1024)):
        line = step.alpha + step.beta * batch + step.gamma * batch * context
        exact = 1e3 * iteration_time(engine.model, 0.0, 0.0, batch, batch * context)
        assert line == pytest.approx(exact, rel=0.25)


def test_prefill_rate_of_the_profile_is_that_of_a_full_step(engine):
    tokens = engine.model.batched_tokens
    assert prior.prefill_rate(engine) == pytest.approx(tokens / iteration_time(engine.model, tokens, 0.0, 0.0, 0.0))
