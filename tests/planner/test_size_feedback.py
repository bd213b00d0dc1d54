"""What measurements add to the model: late answers at substantial load, and a queue that grows."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import CYCLE, H100, NOW, Variant, pod, proposal, samples, service_state

from pertoken.domain.reasons import Reason
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import Signal
from pertoken.domain.trace import GrowingQueue, LatencyFeedback
from pertoken.planner.memory import Command, VariantMemory
from pertoken.planner.size.expected import expected
from pertoken.planner.size.feedback import add_for_latency, add_for_queue, more_for_the_queue
from pertoken.planner.size.stage import demand_figures
from pertoken.planner.tuning import TUNING

LATE = {"latency": {"inter_token": 0.06}, "tells": {Signal.STEP_SECONDS: 0.06}}
DEAR = variant_spec(name="dear", pool="h100", min_replicas=0)


def fed_back(*variants, wants=None, **work):
    asked = proposal(*variants, wants=wants, **work)
    known = expected(asked.state, demand_figures(asked.state))
    sized = tuple(replace(variant, capacity=known.capacities[variant.name]) for variant in asked.variants)
    return add_for_latency(asked.with_variants(sized), known)


def late(**changes):
    return Variant(**{"rate": 6.0, **LATE, **changes})


def test_late_answers_at_substantial_load_add_a_replica():
    corrected = fed_back(late())
    first, step = corrected.variants[0], corrected.trace[-1]

    assert (first.replicas, first.reason, first.late) == (3, Reason.LATENCY_AT_RISK, True)
    assert isinstance(step.detail, LatencyFeedback)
    assert step.detail.measure == "time_per_output_token"
    assert step.detail.measured_seconds > step.detail.objective_seconds == 0.04


def test_a_tenth_is_added_to_many():
    assert fed_back(late(replicas=21)).variants[0].replicas == 24


@pytest.mark.parametrize(
    ("variant", "wants"),
    [
        (late(ready=1), 2),
        (late(memory=VariantMemory(fed_back_at=NOW - 60.0)), 2),
        (late(rate=2.0), 2),
        (late(replicas=3, rate=2.0), 1),
    ],
    ids=["one is on its way", "one was added lately", "little load", "little load and fewer would do"],
)
def test_what_keeps_the_replicas_that_are_and_adds_none(variant, wants):
    corrected = fed_back(variant, wants=[wants])

    assert (corrected.variants[0].replicas, corrected.variants[0].reason) == (variant.replicas, Reason.LATENCY_AT_RISK)
    assert (corrected.variants[0].late, corrected.trace) == (False, ())


@pytest.mark.parametrize(
    ("variant", "wants", "spec"),
    [
        (Variant(rate=6.0), 2, {}),
        (late(), 3, {}),
        (late(), 2, {"latency": LatencyObjective()}),
        (late(), 2, {"latency": LatencyObjective(None, 0.005)}),
        (late(latency=None), 2, {}),
    ],
    ids=["in time", "more is asked for anyway", "nothing promised", "what no size keeps", "not measured"],
)
def test_what_changes_nothing(variant, wants, spec):
    corrected = fed_back(variant, wants=[wants], **spec)

    assert (corrected.variants[0].replicas, corrected.variants[0].reason) == (wants, Reason.AT_DESIRED)


def test_only_the_cheapest_variant_grows():
    corrected = fed_back(late(rate=7.0), Variant(DEAR, replicas=1, rate=7.0, pool=H100, **LATE), wants=[2, 1])

    assert [variant.replicas for variant in corrected.variants] == [3, 1]


# -- queues ------------------------------------------------------------------------------------------------------


def queued(waiting=10.0, before=5.0, **variant):
    """A variant on whose replicas as many wait; `before` waited in all, a rate window ago."""
    state = service_state(Variant(tells={Signal.WAITING: waiting}, **variant))
    return state.with_memory(replace(state.memory, demand=samples(*([10.0] * 9), backlog=before)))


@pytest.mark.parametrize(
    ("state", "wanted", "more"),
    [
        (queued(), 2, 1),
        (queued(replicas=21), 21, 3),
        (queued(before=20.0), 2, 0),
        (queued(waiting=2.0, before=0.0), 2, 0),
        (queued(waiting=None), 2, 0),
        (queued(), 3, 0),
        (queued(ready=1), 2, 0),
        (queued(pods=[pod("a100-0"), pod("a100-1", served=30.0)]), 2, 0),
        (queued(memory=VariantMemory(command=Command(NOW - 60.0, 1, 2, "", "1"))), 2, 0),
        (queued(memory=VariantMemory(command=Command(NOW - 60.0, 3, 2, "", "1"))), 2, 1),
        (queued(memory=VariantMemory(command=Command(NOW - 120.0, 1, 2, "", "1"))), 2, 1),
    ],
    ids=[
        "grows",
        "a tenth of many",
        "does not grow",
        "short",
        "not told",
        "more is asked for anyway",
        "one is on its way",
        "one is fresh",
        "one was ordered lately",
        "one was taken lately",
        "one was ordered a while ago",
    ],
)
def test_replicas_for_a_queue(state, wanted, more):
    assert more_for_the_queue(state, wanted) == more


def test_a_growing_queue_is_told():
    asked = proposal()
    asked = asked.with_state(queued())
    corrected = add_for_queue(asked)

    assert (corrected.variants[0].replicas, corrected.variants[0].reason) == (3, Reason.QUEUE_BACKLOG)
    assert [(step.stage, step.detail) for step in corrected.trace] == [("queue", GrowingQueue(20.0))]
    assert add_for_queue(proposal()) == proposal()


def test_a_queue_grows_against_what_waited_a_window_ago():
    lately = samples(*([10.0] * 3), backlog=0.0)
    state = queued()

    assert lately[0].at > NOW - state.window > NOW - 5 * CYCLE
    assert not state.with_memory(replace(state.memory, demand=lately)).queue_grows
    assert TUNING.sizing.waiting_per_replica == 2.0
