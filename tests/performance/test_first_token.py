import csv
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import median, quantiles

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import engine_model
from pertoken.performance.first_token import Prompts
from pertoken.performance.steady import Engine, Load, at_rate
from pertoken.performance.step_time import Gains

RUNS = Path(__file__).parent / "data" / "simulated_runs.csv"
PROMPTS = Prompts(rate=2.0, prefill=0.05, decode=0.02, batch=20.0, tokens=1000.0, budget=2048.0, spread=0.0)


@settings(deadline=None)
@given(
    rate=st.floats(0.01, 20),
    more=st.floats(0.01, 5),
    prefill=st.floats(1e-3, 0.5),
    tokens=st.floats(10, 20_000),
    budget=st.sampled_from([512.0, 2048.0, 8192.0]),
)
def test_more_prompts_wait_longer(rate, more, prefill, tokens, budget):
    few = replace(PROMPTS, rate=rate, prefill=prefill, tokens=tokens, budget=budget)
    many = replace(few, rate=rate + more)

    assert many.load > few.load
    if many.load < 0.9:
        assert many.mean >= few.mean * (1 - 0.05)
        assert many.tail(0.05, 1.645, 0.02) >= few.tail(0.05, 1.645, 0.02)


def test_alone_a_prompt_takes_its_own_steps():
    alone = replace(PROMPTS, rate=1e-9, batch=1e-9)

    assert alone.mean == pytest.approx(0.05 + 0.02, rel=1e-3)


def test_a_prompt_longer_than_a_step_visits_several():
    long = replace(PROMPTS, tokens=5000.0)

    assert long.visits == pytest.approx(3, abs=0.01)
    assert long.steps == pytest.approx(5000 / 2028)


def test_the_token_budget_is_used_up_before_arithmetic_is():
    """388 tokens a step of 42 ms are 9,240 a second: fewer than 20 prompts of 512."""
    full = Prompts(rate=20.0, prefill=0.026, decode=0.0168, batch=124.0, tokens=512.0, budget=512.0, spread=0.0)

    assert full.rate * full.prefill < 0.6
    assert full.load > 0.95


def test_uneven_prompts_wait_longer_than_even_ones():
    long = replace(PROMPTS, tokens=5000.0)

    assert replace(long, spread=1.0).mean > long.mean


@dataclass(frozen=True)
class Run:
    setting: str
    engine: Engine
    load: Load
    rate: float
    ttft: float
    inter_token: float
    served: float


def runs():
    with RUNS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            model = engine_model(
                SHIPPED.model(row["model"]), SHIPPED.gpu(row["device"]), Parallelism(tensor=int(row["tp"]))
            )
            prompt, answer = int(row["isl"]), int(row["osl"])
            yield Run(
                f"{row['tag']} {prompt}/{answer}",
                Engine(
                    model.with_batched_tokens(int(row["chunk_or_max_tokens"])),
                    cap=int(row["batch_cap"]),
                    kv_capacity=16 * float(row["kv_blocks16"]),
                ),
                Load(prompt, answer, context=prompt + answer / 2, prompt_spread=0.0),
                float(row["qps"]),
                float(row["ttft_mean_ms"]) / 1e3,
                float(row["tpot_mean_ms"]) / 1e3,
                float(row["out_tok_s"]),
            )


def learnt(run):
    """The engine that meets both latencies of one run."""
    gains = Gains()
    for _ in range(25):
        point = at_rate(replace(run.engine, gains=gains), run.load, run.rate)
        gains = Gains(
            gains.decode * (run.inter_token / point.inter_token) ** 0.7,
            gains.prefill * (run.ttft / point.ttft) ** 0.7,
        )
    return replace(run.engine, gains=gains)


@pytest.fixture(scope="module")
def higher():
    """All but the lowest rate of each setting, with what is said of them from the lowest."""
    predictions = []
    for _, group in groupby(sorted(runs(), key=lambda run: (run.setting, run.rate)), key=lambda run: run.setting):
        first, *others = group
        engine = learnt(first)
        for run in others:
            late = run.ttft > 10 * first.ttft
            overloaded = late or run.served < 0.93 * run.rate * run.load.output_tokens
            predictions.append((run, at_rate(engine, run.load, run.rate), overloaded))
    return predictions


def test_latencies_at_higher_loads_follow_from_the_lowest(higher):
    steady = [(run, point) for run, point, overloaded in higher if point and not overloaded]
    steps = [abs(point.inter_token / run.inter_token - 1) for run, point in steady]
    first = [abs(point.ttft / run.ttft - 1) for run, point in steady]
    served = [abs(run.load.output_tokens * point.rate / run.served - 1) for run, point in steady]

    assert len(steady) > 40
    assert median(steps) < 0.04
    assert quantiles(steps, n=10)[-1] < 0.20
    assert median(first) < 0.08
    assert quantiles(first, n=10)[-1] < 0.16
    assert median(served) < 0.02


def test_every_overload_is_seen(higher):
    overloads = [point for _, point, overloaded in higher if overloaded]
    early = [run.setting for run, point, overloaded in higher if point is None and not overloaded]

    assert len(overloads) >= 5
    assert overloads == [None] * len(overloads)
    assert len(early) <= 1
