"""What one replica carries, as far as measurements do not refute it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from states import ENGINE, LOAD, NOW, Variant, pod, samples, service_state

from pertoken.domain.signal import Signal
from pertoken.performance.steady import Targets
from pertoken.planner.memory import Delivered, VariantMemory
from pertoken.planner.size.capacity import capacity_of, delivered_of, share_of, work_of
from pertoken.planner.tuning import TUNING

TARGETS = Targets(0.04, 2.0)
CAPACITY = capacity_of(ENGINE, LOAD, TARGETS)
WORK = work_of(CAPACITY, LOAD)


def shown(rate=4.0, *, known=None, full=True, grows=True, **variant):
    """What is known after a cycle in which full replicas served `rate` requests per second each."""
    queue = VariantMemory(queued_since=NOW - 60.0 if full else NOW - 59.0)
    state = service_state(Variant(rate=rate, tells={Signal.WAITING: 10.0}, memory=queue, **variant))
    state = state.with_memory(replace(state.memory, demand=samples(*([8.0] * 9), backlog=0.0 if grows else 20.0)))
    key = state.variants[0].memory.calibration.key
    if known is not None:
        memory = replace(state.variants[0].memory, delivered=replace(known, key=known.key or key))
        state = state.with_variants([replace(state.variants[0], memory=memory)])
    return delivered_of(state, state.variants[0], CAPACITY, WORK)


def test_the_capacity_is_the_models_within_the_objectives():
    assert CAPACITY.rate == pytest.approx(8.7, rel=0.01)
    assert CAPACITY.unreachable is None
    assert capacity_of(ENGINE, LOAD, TARGETS, ranks=4).rate == pytest.approx(4 * CAPACITY.rate)


def test_an_objective_that_no_size_keeps_is_named_and_left_out():
    capacity = capacity_of(ENGINE, LOAD, Targets(0.005, 2.0))

    assert capacity.unreachable.objective == 0.005
    assert capacity.unreachable.seconds > 0.005
    assert capacity.rate > 0


@given(
    objective=st.floats(0.015, 0.2),
    stricter=st.floats(0.5, 1.0),
    cap=st.sampled_from([16, 64, 256]),
    ranks=st.integers(1, 8),
)
def test_a_stricter_objective_never_carries_more(objective, stricter, cap, ranks):
    engine = replace(ENGINE, cap=cap)
    loose = capacity_of(engine, LOAD, Targets(objective, None), ranks)
    strict = capacity_of(engine, LOAD, Targets(objective * stricter, None), ranks)

    assert strict.unreachable is not None or strict.rate <= loose.rate * (1 + 1e-6)


def test_work_is_measured_in_generated_tokens():
    assert WORK.per_request == pytest.approx(WORK.input_weight * 1000.0 + 200.0)
    assert 0.0 < WORK.input_weight < 1.0


def test_full_replicas_with_a_growing_queue_show_what_they_deliver():
    assert shown().share == pytest.approx(4.0 / CAPACITY.rate, rel=0.01)
    assert shown().at == NOW


@pytest.mark.parametrize(
    "changes",
    [{"full": False}, {"grows": False}, {"ready": 1, "replicas": 1, "pods": [pod(served=90.0)]}],
    ids=["not for a whole window", "the queue does not grow", "no pod has warmed up"],
)
def test_what_proves_nothing(changes):
    assert shown(**changes) is None


def test_what_proves_nothing_changes_nothing():
    known = Delivered("", 0.6, NOW - 15.0)

    assert shown(known=known, grows=False).share == 0.6
    assert shown(known=replace(known, key="another template"), grows=False) is None
    assert shown(known=replace(known, at=NOW)).share == 0.6  # learnt in this very instant


def test_down_at_once_and_up_slowly():
    worse, better = shown(known=Delivered("", 0.9, NOW - 15.0)), shown(known=Delivered("", 0.2, NOW - 15.0))

    assert worse.share == pytest.approx(0.46, abs=0.01)
    assert 0.2 < better.share < 0.46


def test_a_replica_that_delivers_more_than_believed_is_believed_at_once():
    assert shown(known=Delivered("", 0.2, NOW - 15.0), grows=False).share == pytest.approx(0.46, abs=0.01)


def test_an_engine_that_hangs_keeps_a_least_share():
    assert shown(rate=0.001).share == TUNING.delivered.least_share


@given(share=st.floats(0.05, 1.0), age=st.floats(0.0, 1e6), later=st.floats(0.0, 1e6))
def test_doubt_only_fades(share, age, later):
    known = Delivered("k", share, NOW)

    assert share <= share_of(known, NOW + age, TUNING.delivered) + 1e-9
    assert share_of(known, NOW + age, TUNING.delivered) <= share_of(known, NOW + age + later, TUNING.delivered) <= 1.0
