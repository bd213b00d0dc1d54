"""Stage `size`: replicas for the demand expected; its parts are in the files `test_size_*.py`."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import variant_spec
from states import H100, NOW, Variant, assessment, pod, proposal, service_state

from pertoken.domain.reasons import Reason
from pertoken.domain.service import EngineKind, LatencyObjective, ModelSpec
from pertoken.domain.signal import Signal
from pertoken.domain.trace import ModelSizing, SaturationSizing
from pertoken.forecast.error_budget import ErrorBudget
from pertoken.planner.assessment import Grade
from pertoken.planner.memory import Delivered
from pertoken.planner.proposal import Stance, Status
from pertoken.planner.size.expected import expected
from pertoken.planner.size.stage import demand_figures, size

UNKNOWN = ModelSpec("nobody/knows-7b", "chat")
DEAR = variant_spec(name="dear", pool="h100", min_replicas=0)
OFF = Stance(Reason.SWITCHED_OFF, off=True)


def sized(*variants, **work):
    return size(proposal(*variants, **work))


def counts(sized):
    return {variant.name: variant.replicas for variant in sized.variants}


@pytest.mark.parametrize(
    ("replicas", "rate", "count", "reason"),
    [
        (2, 5.0, 2, Reason.AT_DESIRED),
        (2, 8.0, 3, Reason.DEMAND_ROSE),
        (1, 10.0, 2, Reason.DEMAND_ROSE),
        (6, 2.0, 2, Reason.DEMAND_FELL),
        (0, 5.0, 0, Reason.AT_DESIRED),
    ],
    ids=["enough", "more", "twice as many", "fewer", "none and nothing asked for"],
)
def test_replicas_that_carry_the_demand(replicas, rate, count, reason):
    after = sized(Variant(variant_spec(min_replicas=0), replicas=replicas, rate=rate))

    assert [(variant.replicas, variant.reason, variant.status) for variant in after.variants] == [
        (count, reason, Status.FREE)
    ]
    assert after.variants[0].sized == count
    assert isinstance(after.trace[-1].detail, ModelSizing)


@pytest.mark.parametrize(("start", "within"), [(120.0, 2), (420.0, 3)], ids=["replicas come soon", "they come late"])
def test_a_fall_within_the_tolerance_moves_nothing_where_replicas_come_late(start, within):
    late = {"start_seconds": start}
    near = sized(Variant(replicas=3, rate=4.6), demand=(13.8,) * 41, settings=late)
    beyond = sized(Variant(replicas=3, rate=3.6), demand=(10.8,) * 41, settings=late)

    assert counts(near) == {"a100": within}
    assert (counts(beyond), beyond.variants[0].reason) == ({"a100": 2}, Reason.DEMAND_FELL)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(rate=st.floats(0.5, 9.0), more=st.floats(1.0, 3.0), replicas=st.integers(1, 6))
def test_more_demand_never_asks_for_fewer(rate, more, replicas):
    variant = Variant(replicas=replicas, rate=rate)
    less, more_of_it = (sized(variant, demand=(rate * replicas * factor,) * 41) for factor in (1.0, more))

    assert counts(more_of_it)["a100"] >= counts(less)["a100"]


@pytest.mark.parametrize(
    ("work", "reason", "status"),
    [
        ({"grade": Grade.HOLD}, Reason.HELD_NO_METRICS, Status.HELD),
        ({"stance": OFF}, Reason.SWITCHED_OFF, Status.OFF),
        ({"grade": Grade.HOLD, "stance": OFF}, Reason.SWITCHED_OFF, Status.OFF),
    ],
    ids=["no metrics", "off", "both"],
)
def test_what_is_not_planned_stays(work, reason, status):
    after = sized(Variant(replicas=4, rate=1.0), **work)

    assert [(variant.replicas, variant.sized, variant.reason, variant.status) for variant in after.variants] == [
        (4, 4, reason, status)
    ]
    assert after.sizing.rate is None


@pytest.mark.parametrize(
    ("least", "idle_for", "count", "status"),
    [(0, 600.0, 0, Status.IDLE), (0, 599.0, 1, Status.FREE), (1, 600.0, 1, Status.FREE)],
)
@pytest.mark.parametrize("spec", [{}, {"model": UNKNOWN}], ids=["modelled", "by saturation"])
def test_an_idle_service_goes_to_zero_where_it_may(least, idle_for, count, status, spec):
    quiet = Variant(variant_spec(min_replicas=0), replicas=1, rate=1e-6)
    after = sized(quiet, demand=(1e-6,) * 41, min_replicas=least, memory={"idle_since": NOW - idle_for}, **spec)

    assert [(variant.replicas, variant.status) for variant in after.variants] == [(count, status)]
    assert after.idle == (status is Status.IDLE)


@pytest.mark.parametrize(
    ("variants", "work"),
    [
        ((Variant(),), {"model": UNKNOWN}),
        ((Variant(variant_spec(engine=EngineKind.GENERIC)),), {}),
        ((Variant(),), {"memory": {"shape": None}}),
        ((Variant(),), {"demand": ()}),
        ((Variant(), Variant(variant_spec(name="b", engine=EngineKind.GENERIC))), {}),
    ],
    ids=["unknown model", "generic engine", "unknown requests", "no demand seen", "one of two variants generic"],
)
def test_where_the_model_does_not_know_the_use_of_resources_decides(variants, work):
    after = sized(*variants, **work)

    assert all(isinstance(step.detail, SaturationSizing) for step in after.trace)
    assert after.trace
    assert after.sizing.rate is None


@pytest.mark.parametrize(
    ("inter_token", "order"), [(0.04, ["a100", "dear"]), (0.009, ["dear", "a100"])], ids=["both can", "one cannot"]
)
def test_the_cheapest_per_request_comes_first_and_what_misses_an_objective_last(inter_token, order):
    dear = Variant(DEAR, replicas=0, pool=H100)
    state = service_state(Variant(), dear, latency=LatencyObjective(None, inter_token))

    assert [variant.name for variant in expected(state, demand_figures(state)).order] == order


def test_a_queue_is_worked_off_and_named():
    after = sized(Variant(rate=7.0, tells={Signal.WAITING: 100.0}), grade=Grade.PANIC)

    assert counts(after)["a100"] > 2
    assert after.variants[0].reason is Reason.QUEUE_BACKLOG


def test_what_full_replicas_deliver_lowers_what_is_believed():
    key = service_state().variants[0].memory.calibration.key
    believed = replace(Variant().memory, delivered=Delivered(key, 0.5, NOW - 15.0))
    step = sized(Variant(rate=3.0, memory=believed)).trace[0].detail

    assert step.believed == pytest.approx(0.5, rel=0.01)
    assert step.per_replica == pytest.approx(sized(Variant(rate=3.0)).trace[0].detail.per_replica / 2, rel=0.02)


def test_figures_of_demand():
    state = service_state(Variant(tells={Signal.WAITING: 3.0}), demand=(8.0, 9.0))
    figures = demand_figures(state)

    assert (figures.requests_per_second, figures.input_tokens_per_second, figures.waiting) == (9.0, 9000.0, 6.0)
    assert demand_figures(service_state(demand=())).requests_per_second is None


@pytest.mark.parametrize(
    ("start", "lead"), [(None, 120.0 + 15.0 + 30.0), (60.0, 60.0 + 15.0 + 30.0)], ids=["not learnt", "learnt"]
)
def test_the_lead_is_start_up_and_cycle_and_half_a_window(start, lead):
    variant = Variant(memory=replace(Variant().memory, start_seconds=start))

    assert service_state(variant).lead_seconds == lead


def test_a_variant_without_target_is_no_part_of_it():
    after = size(replace(proposal(), variants=(), state=replace(service_state(), variants=())))

    assert (after.variants, after.trace) == ((), ())


def test_the_extra_replica_of_a_roll_is_held_without_metrics_only():
    rolling = Variant(replicas=3, pods=[pod(f"a100-{index}") for index in range(3)])
    after = size(replace(proposal(rolling), assessment=assessment(Grade.HOLD)))

    assert counts(after) == {"a100": 3}


@pytest.mark.parametrize(
    ("budget", "lately"), [(ErrorBudget(), None), (ErrorBudget(200.0, 10.0, NOW), 0.95)], ids=["untold", "told"]
)
def test_the_trace_says_what_was_kept_lately_and_nothing_where_no_latency_was_told(budget, lately):
    after = sized(Variant(replicas=2), memory={"budget": budget})

    assert next(step for step in after.trace if step.stage == "size").detail.lately == lately
