"""Stage `estimate`: what a cycle teaches, and what it does not."""

from dataclasses import replace

import pytest
from lab import service_spec, variant_spec
from states import LOAD, NOW, WINDOW, Variant, pod, proposal, samples, service_state, signals

from pertoken.domain.service import EngineKind, ModelSpec
from pertoken.domain.signal import Signal
from pertoken.forecast.demand import DemandSample
from pertoken.planner.assess import assess
from pertoken.planner.assessment import Grade
from pertoken.planner.estimate.idleness import idle_since
from pertoken.planner.estimate.request_shape import first_shape
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.memory import Shape, Utilization, VariantMemory
from pertoken.planner.proposal import begun
from pertoken.planner.tuning import TUNING

SILENT = dict.fromkeys((Signal.RUNNING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND), 0.0)
GENERIC = variant_spec(engine=EngineKind.GENERIC)
NO_MODEL = ModelSpec("", "chat")


def learnt(*variants, **state):
    """The service's state after `assess` and `estimate`."""
    return estimate(assess(begun(service_state(*variants, **state)))).state


def learnt_of_variant(variant, **state):
    return learnt(variant, **state).variants[0].memory


def test_demand_is_what_pods_took_up_and_what_waits():
    memory = learnt(Variant(rate=5.0, tells={Signal.WAITING: 3.0}), demand=(10.0,) * 41).memory
    newest = memory.demand[-1]

    assert newest.at == NOW
    assert newest.backlog == 6.0
    assert newest.in_flight == pytest.approx(6.0 + 2 * signals(5.0)[Signal.RUNNING], rel=1e-3)
    # The queue grew by six requests in a rate window.
    assert newest.requests == pytest.approx(10.0 + 6.0 / WINDOW, rel=0.02)


def test_pods_on_their_way_out_count():
    leaving = [pod("a100-0"), pod("a100-1", terminating=True)]

    assert learnt(Variant(pods=leaving), demand=(10.0,) * 41).memory.demand[-1].requests == pytest.approx(
        10.0, rel=0.01
    )


def test_what_is_refused_was_asked_for():
    gateway = {"gateway_rejections_per_second": {("llm", "chat"): 2.0}}
    memory = learnt(Variant(tells={Signal.REJECTIONS_PER_SECOND: 0.5}), metrics=gateway).memory

    assert memory.demand[-1].requests == pytest.approx(13.0, rel=0.01)


@pytest.mark.parametrize(
    "hidden", [Signal.RUNNING, Signal.WAITING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND]
)
def test_what_is_seen_in_part_is_no_sample_but_demand_at_least(hidden):
    before = service_state(Variant(rate=8.0, tells={hidden: None}), demand=(5.0,) * 41)
    after = estimate(assess(begun(before))).state

    assert after.memory.demand == before.memory.demand
    assert after.at_least.at == NOW
    assert after.samples[-1] == after.at_least
    assert after.at_least.output_tokens == (0.0 if hidden is Signal.GENERATION_TOKENS_PER_SECOND else 3200.0)


def test_without_metrics_nothing_is_learnt():
    before = service_state(Variant(silent=2), memory={"idle_since": NOW - 60.0})
    after = estimate(assess(begun(before))).state

    assert replace(after.memory, fresh_since=before.memory.fresh_since, variants={}) == replace(
        before.memory, variants={}
    )
    assert after.variants[0].memory.calibration == before.variants[0].memory.calibration
    assert after.memory.fresh_since is None


def test_planned_again_in_the_same_instant_nothing_more_is_learnt():
    once = estimate(proposal(Variant(rate=7.0)))

    assert estimate(once).state.memory == once.state.memory


def test_samples_from_before_the_history_are_forgotten():
    old = DemandSample(NOW - TUNING.forecasting.history_seconds - 1.0, 1.0, 1.0, 1.0, 0.0)
    state = service_state()
    state = state.with_memory(replace(state.memory, demand=(old, *samples(10.0, 10.0))))
    memory = estimate(assess(begun(state))).state.memory

    assert [sample.at for sample in memory.demand] == [NOW - 30.0, NOW - 15.0, NOW]


@pytest.mark.parametrize(
    ("variant", "state", "since"),
    [
        (Variant(tells=SILENT), {}, NOW),
        (Variant(tells=SILENT), {"memory": {"idle_since": NOW - 99.0}}, NOW - 99.0),
        (Variant(), {"memory": {"idle_since": NOW - 99.0}}, None),
        (Variant(tells={**SILENT, Signal.RUNNING: 1.0}), {}, None),
        (Variant(tells={**SILENT, Signal.WAITING: 1.0}), {}, None),
        (Variant(tells=SILENT), {"metrics": {"gateway_queue": {("llm", "chat"): 1.0}}}, None),
        (Variant(tells=SILENT), {"metrics": {"gateway_rejections_per_second": {("llm", "chat"): 0.1}}}, None),
        (Variant(tells={**SILENT, Signal.RUNNING: None}), {}, None),
        (Variant(replicas=0), {}, NOW),
        (Variant(GENERIC, tells={**SILENT, Signal.GPU_UTILIZATION: 0.0}), {"model": NO_MODEL}, NOW),
        (Variant(GENERIC, tells={**SILENT, Signal.GPU_UTILIZATION: 0.5}), {"model": NO_MODEL}, None),
        (Variant(GENERIC, tells={**SILENT, Signal.GPU_UTILIZATION: None}), {"model": NO_MODEL}, None),
        (Variant(GENERIC, silent=2), {"model": NO_MODEL}, None),
    ],
    ids=[
        "begins",
        "goes on",
        "ends",
        "one runs",
        "one waits",
        "one waits at the gateway",
        "one is refused",
        "not told",
        "no replicas",
        "generic",
        "generic at work",
        "generic and not told",
        "generic and silent",
    ],
)
def test_since_when_nothing_is_asked_for(variant, state, since):
    assert idle_since(service_state(variant, **state)) == since


@pytest.mark.parametrize(
    ("tells", "output_tokens"),
    [
        ({}, 200.0),
        ({Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: 5.0 * 300.0}, 300.0),
        ({Signal.GENERATION_TOKENS_PER_SECOND: 5.0 * 300.0}, 300.0),
        ({Signal.FINISHED_PER_SECOND: 0.02}, None),
        ({Signal.FINISHED_PER_SECOND: None}, None),
    ],
    ids=["finished", "longer ones finished", "longer ones are under way", "too few", "not told"],
)
def test_the_first_requests_that_finish_give_the_first_shape(tells, output_tokens):
    shape = first_shape(service_state(Variant(tells=tells), memory={"shape": None}, demand=()))

    assert (None if shape is None else shape.output_tokens) == (
        None if output_tokens is None else pytest.approx(output_tokens, rel=1e-3)
    )


def test_the_shape_follows_the_traffic_and_stays_without_any():
    longer = Variant(tells={Signal.GENERATION_TOKENS_PER_SECOND: 5.0 * 400.0})
    cached = Variant(tells={Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 2500.0})

    assert learnt(longer).memory.shape.output_tokens > 200.0
    assert 0.0 < learnt(cached).memory.shape.cached_share < 0.5
    assert learnt(Variant(tells=SILENT, latency=None), demand=(0.0,) * 41).memory.shape == Shape(1000.0, 200.0)


@pytest.mark.parametrize(("usage", "factor"), [(0.0001, 0.5), (1.0, 3.0)])
def test_a_resident_context_that_is_not_believable_is_bounded(usage, factor):
    memory = learnt(Variant(tells={Signal.KV_USAGE: usage}), memory={"shape": Shape(1000.0, 200.0)}).memory

    assert memory.shape.context == pytest.approx(factor * LOAD.resident, rel=0.01)


def test_a_variant_is_calibrated_by_its_pods_and_not_by_fresh_ones():
    known = service_state().variants[0].memory.calibration.samples
    fresh = [pod("a100-0"), pod("a100-1", served=30.0)]

    assert learnt_of_variant(Variant()).calibration.samples == known + 2
    assert learnt_of_variant(Variant(pods=fresh)).calibration.samples == known + 1
    assert learnt_of_variant(Variant(workload={"settled": False})).calibration.samples == known
    assert learnt_of_variant(Variant(), settings={"calibrate": False}).calibration.samples == known
    assert learnt_of_variant(Variant(tells={Signal.STEP_SECONDS: None})).calibration.samples == known


def test_slow_engines_are_learnt():
    slow = Variant(tells={Signal.STEP_SECONDS: 1.3 * signals(5.0)[Signal.STEP_SECONDS]})

    assert learnt_of_variant(slow).calibration.decode > learnt_of_variant(Variant()).calibration.decode


@pytest.mark.parametrize(
    ("pods", "known", "seconds"),
    [
        ([pod()], None, 60.0),
        ([pod(bound_at=NOW - 3900.0), pod("a100-1")], None, 300.0),
        ([pod(restarts=1)], None, None),
        ([pod(served=None)], 45.0, 45.0),
        ([pod(bound_at=NOW - 3600.0)], 45.0, 45.0),
        ([pod(bound_at=NOW - 9000.0)], 45.0, 45.0),
    ],
    ids=["first", "the slowest", "restarted", "starting", "a clock that jumped", "one that hung"],
)
def test_start_up_is_learnt(pods, known, seconds):
    memory = VariantMemory(start_seconds=known)

    assert learnt_of_variant(Variant(pods=pods, replicas=len(pods), memory=memory)).start_seconds == seconds


def test_a_known_start_up_moves_slowly():
    start_seconds = learnt_of_variant(Variant(memory=VariantMemory(start_seconds=100.0))).start_seconds

    assert 60.0 < start_seconds < 100.0


@pytest.mark.parametrize(
    ("waiting", "before", "since"),
    [(1.0, None, NOW), (1.0, NOW - 75.0, NOW - 75.0), (0.5, NOW - 75.0, None), (None, NOW - 75.0, None)],
    ids=["begins", "goes on", "ends", "not told"],
)
def test_since_when_requests_wait_on_every_replica(waiting, before, since):
    variant = Variant(tells={Signal.WAITING: waiting}, memory=VariantMemory(queued_since=before))

    assert learnt_of_variant(variant).queued_since == since


def test_a_long_queue_is_remembered():
    assert learnt(Variant(tells={Signal.WAITING: 60.0})).memory.panic_until == NOW + TUNING.panic.seconds
    assert learnt().memory.panic_until == 0.0


def test_the_knee_is_learnt_only_from_what_is_sure():
    met = tuple(Utilization(NOW - 15.0 * index, 0.9) for index in range(40, 0, -1))
    lately, late = {"utilizations": met}, Variant(rate=7.0, latency={"inter_token": 0.06})
    knee = service_state().memory.knee

    assert learnt(late, memory=lately).memory.knee != knee
    assert learnt(late).memory.knee == knee  # nothing is known of the load that they met
    assert learnt(Variant(rate=7.0, latency=None), memory=lately).memory.knee == knee
    assert learnt(replace(late, samples=3), memory=lately).memory.knee == knee
    assert learnt(late, memory={**lately, "fresh_since": NOW - 30.0}).memory.knee == knee


def test_what_is_known_of_a_variant_whose_target_is_gone_stays():
    state = service_state(Variant(), Variant(variant_spec(name="b"), memory=VariantMemory(start_seconds=77.0)))
    gone = replace(state, variants=state.variants[:1], missing=(("b", None),))
    estimated = estimate(replace(begun(gone), assessment=proposal(grade=Grade.NORMAL).assessment)).state

    assert estimated.memory.variants["b"].start_seconds == 77.0
    assert set(estimated.memory.variants) == {"a100", "b"}
    assert estimated.spec.key == service_spec().key
