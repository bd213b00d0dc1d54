"""Answers that prompts hold up: the closed form beside arrivals at random, and what a deployment teaches of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.clumps import Clumping, Prefills, Spread, counted, late_share
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, prompt_seconds, sustainable_rate
from pertoken.performance.step_time import engine_model, marginal_prefill_time
from pertoken.performance.tuning import CLUMPS

LLAMA = SHIPPED.model("meta-llama/Llama-3.1-8B")
MODEL = engine_model(LLAMA, SHIPPED.gpu("a100-sxm-80gb"), Parallelism()).with_batched_tokens(8192)
TARGETS = Targets(inter_token=0.06, ttft=5.0)
LONG = Load(13_000, 150, spread=Spread(1.0, 1.0))


def drawn(prefills, steps, decode, objective, answers=20_000, seed=7):
    """The same share from a server that is fed prompts at random: exponential work, first come first served."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / prefills.rate, 4 * answers)
    work = rng.exponential(prefills.seconds, 4 * answers)
    at = np.cumsum(gaps)
    waiting = np.zeros(len(at))
    for index in range(1, len(at)):
        waiting[index] = max(0.0, waiting[index - 1] + work[index - 1] - gaps[index])
    total = np.concatenate(([0.0], np.cumsum(work)))
    late = 0
    starts = rng.uniform(at[answers // 10], at[-1] - 200.0, answers)
    counts = rng.choice(steps, answers)
    for start, count in zip(starts, counts, strict=True):
        here = np.searchsorted(at, start) - 1
        behind = max(0.0, waiting[here] + work[here] - (start - at[here]))
        until = np.searchsorted(at, start + count * objective)
        late += behind + total[until] - total[here + 1] > count * (objective - decode)
    return late / answers


@pytest.mark.parametrize(
    ("rate", "seconds", "count"),
    [(0.3, 0.5, 10.0), (0.6, 0.5, 10.0), (0.6, 0.5, 100.0), (1.0, 0.4, 400.0), (4.0, 0.05, 40.0)],
)
def test_the_closed_form_is_near_arrivals_at_random(rate, seconds, count):
    prefills = Prefills(rate, seconds, 1.0)
    modelled = late_share(prefills, (count,), 0.02, 0.06)

    assert modelled == pytest.approx(drawn(prefills, [count], 0.02, 0.06), abs=0.14)


lengths = st.floats(1.0, 2000.0)


@given(st.floats(0.01, 5.0), st.floats(0.001, 2.0), st.floats(0.0, 8.0), lengths, st.floats(1.01, 3.0))
def test_more_prompts_hold_no_fewer_answers_up(rate, seconds, spread, count, more):
    few = late_share(Prefills(rate, seconds, spread), (count,), 0.02, 0.06)
    many = late_share(Prefills(rate * more, seconds, spread), (count,), 0.02, 0.06)

    assert 0.0 <= few <= 1.0
    assert many >= few - 0.02


def test_short_answers_are_held_up_and_long_ones_see_the_mean():
    prefills = Prefills(0.5, 0.5, 1.0)

    assert late_share(prefills, (5.0,), 0.02, 0.06) > 0.15
    assert late_share(prefills, (5000.0,), 0.02, 0.06) < 0.01


@pytest.mark.parametrize(("rate", "decode", "late"), [(0.0, 0.02, 0.0), (0.0, 0.07, 1.0), (2.0, 0.02, 1.0)])
def test_nothing_and_too_much(rate, decode, late):
    assert late_share(Prefills(rate, 0.5, 1.0), (100.0,), decode, 0.06) == late


def test_a_fifth_of_the_answers_each_and_the_mean_in_the_middle():
    spread = Spread(1.0, 1.0)

    assert sum(spread.answers) / len(spread.answers) == pytest.approx(1.0, abs=0.12)
    assert Spread(1.0, 0.0).answers == pytest.approx((1.0,) * 5)


def test_long_prompts_take_more_than_the_mean_prompt_says():
    even = marginal_prefill_time(MODEL, 13_000, 4.0)
    mixture = [marginal_prefill_time(MODEL, tokens, 4.0) for tokens in (2_000, 6_000, 12_000, 32_000)]
    share = np.var([2_000, 6_000, 12_000, 32_000]) / 13_000**2
    load = Load(13_000, 150, spread=Spread(float(share), 1.0))

    assert prompt_seconds(MODEL, replace(load, spread=None), 4.0) == even
    assert prompt_seconds(MODEL, load, 4.0) == pytest.approx(np.mean(mixture), rel=0.02)


def test_cached_tokens_are_attended_to():
    load = Load(20_000, 150, cached_share=0.5)

    assert prompt_seconds(MODEL, load, 4.0) > marginal_prefill_time(MODEL, 10_000, 4.0) * 1.1


def carried(load, clumping=1.0, tokens=8192):
    point = sustainable_rate(Engine(MODEL.with_batched_tokens(tokens), clumping=clumping), load, TARGETS)
    assert isinstance(point, Sustainable)
    return point.rate


def test_a_replica_carries_less_where_prompts_hold_answers_up():
    assert carried(LONG) < carried(LONG, 0.3) <= carried(LONG, 0.0) < carried(replace(LONG, spread=None))


def test_short_prompts_come_in_no_clumps():
    chat = Load(1_000, 200, spread=Spread(0.0, 1.0))

    assert carried(chat, tokens=2048) == pytest.approx(carried(replace(chat, spread=None), tokens=2048))


def test_what_is_learnt_goes_from_the_prior_to_what_was_seen_and_back():
    known = Clumping()
    assert known.share() == pytest.approx(CLUMPS.prior)
    for minute in range(30):
        known = counted(known, late=4.0, modelled=80.0, now=1000.0 + 60.0 * minute)
    assert known.share() == pytest.approx(0.05, abs=0.02)

    late = counted(known, late=0.0, modelled=0.0, now=1000.0 + 20 * CLUMPS.half_life)
    assert late.share() == pytest.approx(CLUMPS.prior, abs=0.01)


def test_no_more_than_arrivals_at_random_hold_up_is_learnt():
    assert counted(Clumping(), late=900.0, modelled=10.0, now=5.0).share() == 1.0
