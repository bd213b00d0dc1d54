"""Stage `batch_cap`: which cap a variant should have, and when a restart for it repays."""

from dataclasses import replace

import pytest
from lab import plant, service_spec, variant_spec
from states import NOW, Variant, pool_state, proposal, settlement

from pertoken.catalog.engines import GRAPH_SIZES, graph_floor
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import BatchCap
from pertoken.domain.plan import SetBatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, LatencyObjective, Mode, Parallelism
from pertoken.domain.signal import Signal
from pertoken.performance.steady import Engine, Load, Targets, at_batch
from pertoken.performance.step_time import engine_model, kv_sequences
from pertoken.performance.tuning import SUSTAINED
from pertoken.planner.assessment import Grade
from pertoken.planner.batch_cap.cap import cap_limit, ideal_cap
from pertoken.planner.batch_cap.stage import batch_cap
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.memory import Roll, VariantMemory
from pertoken.planner.proposal import Stance, Status

ENGINE = Engine(engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("a100"), Parallelism()))
LOAD = Load(1000, 200)
WIDE = Batching(min_sequences=8, max_sequences=512)


@pytest.mark.parametrize("objective", [0.02, 0.03, 0.04, 0.06, 0.1])
def test_the_limit_is_the_last_size_that_keeps_the_objective(objective):
    targets = Targets(objective, 5.0)
    limit = cap_limit(ENGINE, LOAD, targets, WIDE)
    after = GRAPH_SIZES[GRAPH_SIZES.index(limit) + 1]

    assert at_batch(ENGINE, LOAD, limit, targets).inter_token <= objective
    assert at_batch(ENGINE, LOAD, after, targets).inter_token > objective


def test_without_objective_the_cache_is_the_limit():
    small = replace(ENGINE, kv_capacity=40_000.0)

    room = kv_sequences(40_000.0, LOAD.resident, SUSTAINED.context_spread, SUSTAINED.kv_overflow_z)

    assert cap_limit(small, LOAD, Targets(), WIDE) == graph_floor(room) < 40_000 / LOAD.resident
    assert cap_limit(ENGINE, LOAD, Targets(), WIDE) > 4 * graph_floor(room)


def test_an_unreachable_objective_has_no_ideal_cap():
    assert ideal_cap(ENGINE, LOAD, Targets(0.005, None), 256, WIDE) is None


def test_the_ideal_is_a_captured_size_within_bounds():
    for objective in (0.02, 0.04, 0.08):
        cap = ideal_cap(ENGINE, LOAD, Targets(objective, 5.0), 256, WIDE)
        assert cap in GRAPH_SIZES
    assert ideal_cap(ENGINE, LOAD, Targets(0.04, 5.0), 24, Batching(min_sequences=8, max_sequences=24)) == 24


def decided(cap, rate, replicas=2, inter_token=0.04, cache=(None, 0.0), **batching):
    fleet = plant(rate=rate, replicas=replicas, gpus=replicas, cap=cap, slow=1.1)
    fleet.kv_capacity = cache[0]
    variants = (variant_spec(batching=Batching(**{"max_sequences": 512, **batching})),)
    latency = LatencyObjective(5.0, inter_token)
    fleet.services["chat"] = service_spec(variants=variants, latency=latency, mode=Mode.RECOMMEND)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(600)
    fleet.preemptions = cache[1]  # what preempts teaches no step times, so it begins late
    fleet.step()
    return fleet.decision().variants[0]


def test_a_cap_that_suits_is_kept():
    assert decided(64, rate=10).cap_reason is Reason.BATCH_CAP_KEPT


def test_a_small_cap_that_holds_nothing_back_is_not_worth_a_restart():
    variant = decided(32, rate=2, replicas=1)

    assert variant.cap_reason is Reason.BATCH_CHANGE_NOT_WORTH_IT
    assert variant.desired_cap > 32


def test_a_small_cap_that_costs_a_replica_is_raised():
    variant = decided(16, rate=9, replicas=3)

    assert variant.desired_cap > 16
    assert "saves" in variant.cap_message


def test_a_large_cap_that_keeps_latency_is_not_worth_a_restart():
    variant = decided(256, rate=5, replicas=1, inter_token=None)

    assert variant.cap_reason in {Reason.BATCH_CHANGE_NOT_WORTH_IT, Reason.BATCH_CAP_KEPT}


def test_a_large_cap_that_breaks_latency_is_lowered():
    variant = decided(512, rate=10)

    assert variant.desired_cap < 100
    assert variant.cap_reason is not Reason.BATCH_CAP_KEPT


def test_a_large_cap_stays_where_the_cache_keeps_batches_small_unless_it_preempts():
    full_at_40 = 40 * LOAD.resident

    calm = decided(256, rate=5, cache=(full_at_40, 0.0))
    thrashing = decided(256, rate=5, cache=(full_at_40, 1.0))

    assert calm.cap_reason is Reason.BATCH_CAP_KEPT
    assert "KV cache is full before" in calm.cap_message
    assert thrashing.desired_cap < 64


# -- the stage ---------------------------------------------------------------------------------------------------

SMALL = BatchCap(24)


def capped(variant=None, *, wants=2, room=8, pools=None, **work):
    """The variant after the stage; by default two replicas whose cap of 24 holds requests back."""
    waits = Variant(rate=4.0, tells={Signal.WAITING: 4.0, Signal.DECODING_SEQUENCES: 24.0}, workload={"cap": SMALL})
    asked = estimate(proposal(variant or waits, wants=[wants], **work))
    given = {"a100": pool_state((room,))} if pools is None else pools
    return batch_cap(settlement(asked, pools=given))


def test_a_cap_that_holds_requests_back_is_raised():
    settled = capped()
    only = settled.variants[0]

    assert only.cap.desired > SMALL.value
    assert only.roll.reason is Reason.BATCH_CHANGE_STARTED
    assert isinstance(only.roll.action, SetBatchCap)
    assert (only.roll.action.previous, only.roll.action.value) == (SMALL.value, only.cap.desired)
    assert only.roll.floor == 2
    assert [(step.stage, step.before, step.after) for step in settled.trace] == [
        ("batch_cap", "24", str(only.cap.desired))
    ]


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ({"stance": Stance(Reason.RECOMMENDING)}, Reason.BATCH_CAP_RAISED),
        ({"wants": 3}, Reason.BATCH_CAP_RAISED),
        ({"status": Status.LAGGING}, Reason.BATCH_CAP_RAISED),
        ({"grade": Grade.UP_ONLY}, Reason.BATCH_CAP_KEPT),
        ({"grade": Grade.HOLD, "status": Status.HELD}, Reason.BATCH_CAP_KEPT),
        ({"demand": (8.0,) * 9}, Reason.BATCH_CAP_KEPT),
    ],
    ids=["recommend", "replicas move", "a window holds them", "metrics do not allow it", "held", "demand hardly seen"],
)
def test_when_no_change_begins(work, reason):
    only = capped(**work).variants[0]

    assert (only.roll.action, only.roll.reason) == (None, reason)


@pytest.mark.parametrize(("interval", "begins"), [(1800.0, False), (160.0, False), (150.0, True), (0.0, True)])
def test_demand_is_watched_for_as_long_as_one_change_follows_another_and_ten_minutes_at_most(interval, begins):
    variant = capped(demand=(8.0,) * 9, settings={"cap_interval_seconds": interval}).variants[0]

    assert (variant.roll.action is not None) == begins


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"samples": 11}, Reason.BATCH_CAP_KEPT),
        ({"workload": {"cap": replace(SMALL, changed_at=NOW - 1799.0)}}, Reason.BATCH_CHANGE_TOO_SOON),
        ({"workload": {"cap": replace(SMALL, foreign="a Secret")}}, Reason.BATCH_NOT_ACTUATED),
        ({"workload": {}}, Reason.BATCH_NOT_ACTUATED),
        ({"workload": {"cap": SMALL, "settled": False}}, Reason.ROLLOUT_IN_PROGRESS),
        ({"ready": 1}, Reason.WAITING_FOR_PODS),
    ],
    ids=["not calibrated", "too soon", "another's", "none", "rollout", "one is starting"],
)
def test_what_keeps_a_cap(changes, reason):
    variant = Variant(
        **{
            "rate": 4.0,
            "tells": {Signal.WAITING: 4.0, Signal.DECODING_SEQUENCES: 24.0},
            "workload": {"cap": SMALL},
            **changes,
        }
    )
    only = capped(variant).variants[0]

    assert (only.roll.action, only.roll.reason) == (None, reason)


def test_the_only_replica_is_not_interrupted():
    alone = Variant(
        replicas=1,
        rate=4.0,
        tells={Signal.WAITING: 4.0, Signal.DECODING_SEQUENCES: 24.0},
        workload={"cap": SMALL},
    )

    assert capped(alone, wants=1, room=0).variants[0].roll.reason is Reason.BATCH_CHANGE_WOULD_INTERRUPT
    assert capped(alone, wants=1, room=1).variants[0].roll.reason is Reason.BATCH_CHANGE_STARTED


def test_a_value_that_failed_is_not_tried_again_before_its_time():
    wanted = capped().variants[0].cap.desired
    tells = {Signal.WAITING: 4.0, Signal.DECODING_SEQUENCES: 24.0}
    memory = VariantMemory(blocked_cap=wanted, blocked_until=NOW + 60.0)
    only = capped(Variant(rate=4.0, tells=tells, workload={"cap": SMALL}, memory=memory)).variants[0]

    assert (only.cap.desired, only.roll.reason) == (SMALL.value, Reason.BATCH_CHANGE_ROLLED_BACK)


def test_one_variant_at_a_time_rolls():
    tells = {Signal.WAITING: 4.0, Signal.DECODING_SEQUENCES: 24.0}
    first = Variant(rate=4.0, tells=tells, workload={"cap": SMALL})
    second = replace(first, spec=variant_spec(name="b", pool="b"))
    capped = batch_cap(settlement(estimate(proposal(first, second)), pools={"a100": pool_state(), "b": pool_state()}))

    assert [variant.roll.reason for variant in capped.variants] == [
        Reason.BATCH_CHANGE_STARTED,
        Reason.BATCH_CAP_RAISED,
    ]
    assert "another change is under way" in capped.variants[1].roll.message


def test_an_extra_replica_takes_its_room_in_the_pool():
    rolling = Variant(
        rate=7.0,
        workload={"cap": BatchCap(64, 24, NOW - 300.0, completed=False)},
        memory=VariantMemory(roll=Roll(NOW - 300.0, 2, surge=False)),
    )
    pools = {"a100": pool_state((1,))}
    only = capped(rolling, pools=pools).variants[0]

    assert only.roll.roll.surge
    assert only.roll.floor == 3
    assert sum(pools["a100"].free.values()) == 0


def test_demand_that_rises_takes_the_extra_replica():
    rolling = Variant(
        replicas=3,
        ready=2,
        workload={"cap": BatchCap(64, 24, NOW - 300.0, completed=False)},
        memory=VariantMemory(roll=Roll(NOW - 300.0, 2, surge=True)),
    )
    only = capped(rolling, wants=3).variants[0]

    assert (only.roll.roll.base, only.roll.roll.surge, only.roll.floor) == (3, False, 3)


def test_batching_bounds_are_respected():
    fleet = plant(rate=15, replicas=3, gpus=3, cap=256, slow=1.18)
    variants = (variant_spec(batching=Batching(min_sequences=96, max_sequences=128)),)
    fleet.services["chat"] = service_spec(variants=variants)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(900)

    assert fleet.deployments["chat"].cap.value in range(96, 129)
