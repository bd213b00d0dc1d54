from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.results import Results
from pertoken.performance.steady import (
    Engine,
    Load,
    Sustainable,
    Targets,
    Unreachable,
    at_batch,
    at_rate,
    best_effort_rate,
    eased_rate,
    sustainable_rate,
)
from pertoken.performance.step_time import Gains, engine_model

LOAD = Load(1000, 200)
MODEL = engine_model(SHIPPED.model("meta-llama/Llama-3.1-8B"), SHIPPED.gpu("a100-sxm-80gb"), Parallelism())
ENGINE = Engine(MODEL, cap=256)
TARGETS = Targets(0.04, 2.0)


def test_rate_and_batch_are_inverse():
    point = at_batch(ENGINE, LOAD, 24.0)
    back = at_rate(ENGINE, LOAD, point.rate)

    assert back is not None
    assert back.batch == pytest.approx(24.0, rel=1e-3)


def test_littles_law_holds():
    point = at_batch(ENGINE, LOAD, 24.0)

    assert point.rate * LOAD.steps * point.inter_token == pytest.approx(point.batch)


def test_overload_has_no_operating_point():
    assert at_rate(ENGINE, LOAD, 100.0) is None


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="negative rate"):
        at_rate(ENGINE, LOAD, -1.0)


def test_an_idle_replica_has_the_latency_of_one_request():
    point = at_rate(ENGINE, LOAD, 0.0)

    assert point is not None
    assert point.batch < 1e-3
    assert point.inter_token == pytest.approx(at_batch(ENGINE, LOAD, 1e-6).inter_token)


@pytest.mark.parametrize(
    ("targets", "cap", "binding"),
    [
        (Targets(0.04, 2.0), 256, "inter-token"),
        (Targets(0.04, 0.25), 256, "ttft"),
        (Targets(0.5, 60.0), 32, "cap"),
        (Targets(None, None), 256, "cap"),
    ],
    ids=["inter-token", "ttft", "cap", "nothing promised"],
)
def test_what_binds_is_named(targets, cap, binding):
    sustained = sustainable_rate(replace(ENGINE, cap=cap), LOAD, targets)

    assert isinstance(sustained, Sustainable)
    assert sustained.binding == binding


def test_a_small_cache_binds_and_its_overflow_room_is_kept():
    sustained = sustainable_rate(replace(ENGINE, kv_capacity=20_000.0), LOAD, Targets())

    assert isinstance(sustained, Sustainable)
    assert sustained.binding == "kv"
    assert sustained.point.batch * LOAD.resident < 20_000


@pytest.mark.parametrize(("targets", "what"), [(Targets(0.005, None), "inter-token"), (Targets(None, 0.01), "ttft")])
def test_an_objective_below_a_single_request_is_unreachable(targets, what):
    sustained = sustainable_rate(ENGINE, LOAD, targets)

    assert isinstance(sustained, Unreachable)
    assert sustained.what == what
    assert sustained.seconds > sustained.objective
    assert isinstance(best_effort_rate(ENGINE, LOAD, targets, what), Sustainable)


@settings(deadline=None)
@given(objective=st.floats(0.02, 0.2), more=st.floats(0.001, 0.1))
def test_a_looser_objective_never_lowers_the_rate(objective, more):
    tight = sustainable_rate(ENGINE, LOAD, Targets(objective, 5.0))
    loose = sustainable_rate(ENGINE, LOAD, Targets(objective + more, 5.0))

    assert isinstance(tight, Sustainable)
    assert isinstance(loose, Sustainable)
    assert loose.rate >= tight.rate * (1 - 1e-6)


@settings(deadline=None)
@given(gain=st.floats(1.0, 2.0))
def test_a_slower_engine_never_carries_more(gain):
    slow = replace(ENGINE, gains=Gains(gain, gain))
    normal = sustainable_rate(ENGINE, LOAD, Targets(0.06, 5.0))
    sustained = sustainable_rate(slow, LOAD, Targets(0.06, 5.0))

    assert isinstance(normal, Sustainable)
    assert isinstance(sustained, Sustainable)
    assert sustained.rate <= normal.rate * (1 + 1e-6)


def test_the_tail_keeps_the_objective_at_the_sustainable_rate():
    sustained = sustainable_rate(ENGINE, LOAD, TARGETS)

    assert isinstance(sustained, Sustainable)
    assert sustained.point.inter_token < sustained.point.inter_token_tail <= 0.04
    assert sustained.point.ttft < sustained.point.ttft_tail <= 2.0


def test_cached_prompts_raise_the_rate():
    cached = sustainable_rate(ENGINE, replace(LOAD, cached_share=0.5), TARGETS)
    plain = sustainable_rate(ENGINE, LOAD, TARGETS)

    assert isinstance(cached, Sustainable)
    assert isinstance(plain, Sustainable)
    assert cached.rate > plain.rate


def test_embeddings_are_bound_by_compute():
    sustained = sustainable_rate(ENGINE, Load(500, 1), Targets(None, 5.0))

    assert isinstance(sustained, Sustainable)
    assert sustained.point.prefill_share > 0.5


def test_resident_context_is_measured_or_derived():
    assert Load(1000, 200).resident == pytest.approx(1150)
    assert Load(1000, 200, context=900.0).resident == 900.0


def test_rounding_hides_small_drift():
    assert Load(1000, 200).rounded() == Load(1004, 200.5).rounded()
    assert Load(0, 10).rounded().input_tokens == 0.0
    assert Load(1000, 200).rounded().input_tokens == pytest.approx(1000, rel=0.011)


@pytest.mark.parametrize("targets", [TARGETS, Targets(0.001, 5.0), Targets(0.05, 0.001), Targets(0.001, 0.001)])
def test_rates_that_are_kept_ease_the_same(targets):
    results = Results()
    eased = [eased_rate(ENGINE, LOAD, targets, results) for _ in range(2)]
    assert eased == [eased_rate(ENGINE, LOAD, targets)] * 2
    assert len(results) == 1 + (targets.inter_token == 0.001) + (targets.ttft == 0.001)
