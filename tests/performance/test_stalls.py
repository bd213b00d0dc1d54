"""The share of gaps between tokens that a stall objective is broken by, and what a replica carries within it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pertoken.calculators.curve import broken
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.stalls import Steps, share_late
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, Unreachable, at_batch, sustainable_rate
from pertoken.performance.step_time import NO_GAINS, Gains, engine_model

MODEL = engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("a100"), Parallelism())
CHAT = Load(1000, 250)


def steps(tokens=2048, batch=20.0, gains=NO_GAINS):
    return Steps(MODEL.with_batched_tokens(tokens), gains, batch, 1200.0)


def engine(tokens):
    return Engine(MODEL.with_batched_tokens(tokens), cap=256)


@pytest.mark.parametrize("mean", [300.0, 1000.0, 6000.0])
@pytest.mark.parametrize("chunk", [512, 2048])
def test_as_many_steps_are_long_as_prompts_cut_into_chunks_make(mean, chunk):
    made, gap, rate = steps(chunk), 0.02, 1.0
    within = 0.4 * made.room
    objective = made.seconds(within)
    lengths = np.random.default_rng(7).exponential(mean, 200_000)
    whole, rest = np.divmod(lengths, made.room)
    counted = (whole + (rest > within)).mean()  # a whole chunk is always longer

    assert share_late(made, objective, rate, mean, gap) == pytest.approx(min(1.0, rate * counted * gap), rel=0.02)


def test_no_gap_is_late_where_a_full_step_keeps_the_objective():
    made = steps(512)
    assert share_late(made, made.seconds(made.room) + 1e-6, 10.0, 4000.0, 0.02) == 0.0
    assert share_late(made, made.seconds(made.room) * 0.9, 10.0, 4000.0, 0.02) > 0.0
    assert share_late(made, 0.001, 1e6, 4000.0, 1.0) == 1.0
    assert share_late(made, 0.001, 1.0, 0.0, 1.0) == 0.0, "all prompts come from the cache"


def test_a_step_holds_the_tokens_that_fit_the_objective():
    made = steps(gains=Gains(1.2, 1.3))
    assert made.seconds(made.tokens_within(0.08)) == pytest.approx(0.08, rel=0.01)
    assert made.tokens_within(1e-6) == 0.0
    assert made.tokens_within(10.0) == made.room


@pytest.mark.parametrize("percentile", [90, 95, 99])
def test_a_replica_carries_less_where_long_steps_may_be_few(percentile):
    free, bound, loose = (
        sustainable_rate(engine(2048), CHAT, Targets(None, None, percentile, stall)) for stall in (None, 0.06, 0.5)
    )
    assert bound.binding == "stall"
    assert bound.rate < 0.9 * free.rate
    assert loose.rate == free.rate, "no step takes half a second"
    stricter = sustainable_rate(engine(2048), CHAT, Targets(None, None, percentile, 0.05))
    assert stricter.rate < bound.rate


def test_a_small_chunk_carries_more_within_a_stall_objective():
    within = [sustainable_rate(engine(tokens), CHAT, Targets(None, None, 95, 0.06)).rate for tokens in (512, 2048)]
    assert within[0] > 1.3 * within[1]


def test_a_step_without_prompts_that_is_too_long_is_no_matter_of_load():
    point = sustainable_rate(engine(2048), CHAT, Targets(0.05, None, 95, 0.001))
    assert isinstance(point, Unreachable)
    assert (point.what, point.objective) == ("stall", 0.001)


def test_the_curve_names_the_limit():
    targets = Targets(None, None, 95, 0.06)
    limit = sustainable_rate(engine(2048), CHAT, targets)
    assert isinstance(limit, Sustainable)
    for factor, expected in ((0.8, ()), (1.2, ("stall",))):
        point = at_batch(engine(2048), CHAT, factor * limit.point.batch, targets)
        assert broken(replace(engine(2048), cap=None), CHAT, targets, point) == expected
