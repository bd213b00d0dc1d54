import math
from dataclasses import replace

import pytest

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.calibrate import Calibration, Observation, for_key, learn
from pertoken.performance.steady import Engine, Load, at_batch
from pertoken.performance.step_time import Gains, engine_model, marginal_prefill_time

LOAD = Load(1000, 200)
MODEL = engine_model(SHIPPED.model("meta-llama/Llama-3.1-8B"), SHIPPED.gpu("a100-sxm-80gb"), Parallelism())


def observe(slow, batch=16.0, **changes):
    """What an engine shows whose steps take `slow` times the catalog's; sequences see one batch more."""
    point = at_batch(Engine(MODEL, Gains(slow, slow)), LOAD, batch)
    seen = at_batch(Engine(MODEL, Gains(slow, slow)), LOAD, batch + 1)
    observed = Observation(
        step_seconds=seen.inter_token,
        batch=batch,
        request_rate=point.rate,
        load=LOAD,
        tokens=5000.0,
    )
    return replace(observed, **changes)


def run(observations, state=None):
    state = state or Calibration()
    for index, observation in enumerate(observations):
        state = learn(state, MODEL, observation, 1000.0 + 15.0 * index)
    return state


@pytest.mark.parametrize("slow", [0.8, 1.0, 1.15, 1.2, 1.5])
def test_the_gain_converges_within_six_cycles(slow):
    learnt = run([observe(slow, batch) for batch in (8, 16, 24, 16, 8, 24)])
    predicted = at_batch(Engine(MODEL, learnt.gains), LOAD, 16).inter_token
    true = at_batch(Engine(MODEL, Gains(slow, slow)), LOAD, 16).inter_token

    assert predicted / true == pytest.approx(1.0, abs=0.03)
    assert learnt.samples == 6


def test_decode_and_prefill_are_told_apart_by_their_load():
    point = at_batch(Engine(MODEL, Gains(1.2, 1.0)), LOAD, 17)
    slow_decode = [
        observe(1.0, batch, step_seconds=at_batch(Engine(MODEL, Gains(1.2, 1.0)), LOAD, batch + 1).inter_token)
        for batch in (4, 8, 16, 32) * 10
    ]
    learnt = run(slow_decode).gains

    assert learnt.decode == pytest.approx(1.2, abs=0.08)
    assert learnt.decode > learnt.prefill
    assert point.inter_token > 0


@pytest.mark.parametrize(
    "changes",
    [{"tokens": 10.0}, {"batch": 0.05}, {"saturated": True}, {"step_seconds": 0.0}],
    ids=["few tokens", "no batch", "preemptions", "no step time"],
)
def test_unusable_observations_teach_nothing(changes):
    assert run([observe(1.5, **changes)]) == Calibration()


def test_an_outlier_is_ignored_but_a_lasting_change_is_believed():
    settled = run([observe(1.0)] * 20)
    once = run([observe(1.0, step_seconds=0.5)], settled)
    lasting = run([observe(1.9)] * 20, settled)

    assert once.decode == settled.decode
    assert once.outliers == 1
    assert math.exp(lasting.decode) == pytest.approx(1.9, rel=0.1)


def test_gains_stay_within_bounds():
    learnt = run([observe(1.0, step_seconds=observe(3.0).step_seconds)] * 60)

    assert 0.5 <= learnt.gains.decode <= 2.0
    assert 0.5 <= learnt.gains.prefill <= 2.0


def test_the_offset_is_what_the_engine_does_not_explain():
    learnt = run([observe(1.0, ttft_seconds=0.6)] * 60)

    assert 0.3 < learnt.ttft_offset < 0.6


def test_queues_do_not_reach_the_offset():
    assert run([observe(1.0, ttft_seconds=30.0, queued=True)] * 5).ttft_offset == 0.0


def test_uncertainty_returns_over_hours():
    learnt = run([observe(1.1)] * 20)
    later = learn(learnt, MODEL, observe(1.1), 1000.0 + 86_400)

    assert learnt.variance_decode < 0.25**2 / 4
    assert later.samples == learnt.samples + 1


def test_another_template_starts_afresh():
    learnt = run([observe(1.1)] * 5, Calibration(key="a"))

    assert for_key(learnt, "a") is learnt
    assert for_key(learnt, "b") == Calibration(key="b")


def test_a_gpu_that_nothing_was_measured_on_has_a_wide_prior():
    """An engine 1.8 times as slow as the data sheet lets hope: believed at once, not taken for an outlier."""
    known, unknown = for_key(Calibration(), "a"), for_key(Calibration(), "a", measured=False)
    assert (known.variance_decode, unknown.variance_decode) == (0.25**2, 0.5**2)
    sure, open_minded = (run([observe(1.8)], state) for state in (known, unknown))
    assert (sure.samples, open_minded.samples) == (0, 1)
    assert open_minded.gains.decode > 1.5
    learnt = replace(open_minded, variance_decode=1e-4, variance_prefill=1e-4, covariance=0.0)
    outlier = [learn(learnt, replace(MODEL, measured=measured), observe(9.0), 864_000.0) for measured in (True, False)]
    assert [state.variance_decode for state in outlier] == [0.25**2, 0.5**2]
    assert for_key(unknown, "a") is unknown


@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_the_wait_for_other_prompts_is_no_offset_of_a_first_token(wait):
    load = Load(13_000, 150)
    model = MODEL.with_batched_tokens(8192)
    engine = Engine(model)
    point, seen = at_batch(engine, load, 6.0), at_batch(engine, load, 7.0)
    observed = Observation(
        step_seconds=seen.inter_token,
        batch=6.0,
        request_rate=point.rate,
        load=load,
        tokens=5000.0,
        ttft_seconds=seen.ttft + wait,
    )
    state = Calibration()
    for index in range(60):
        state = learn(state, model, observed, 1000.0 + 15.0 * index)

    assert point.ttft > 1.5 * marginal_prefill_time(model, 13_000, 6.0)
    assert state.ttft_offset == pytest.approx(wait, abs=0.2)
