"""Which batch cap a variant should have, and when a restart for it repays."""

from dataclasses import replace

import pytest
from lab import plant, service_spec, variant_spec

from pertoken.catalog.engines import GRAPH_SIZES, graph_floor
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, LatencyObjective, Mode, Parallelism
from pertoken.performance.steady import Engine, Load, Targets, at_batch
from pertoken.performance.step_time import engine_model, kv_sequences
from pertoken.performance.tuning import SUSTAINED
from pertoken.planner.batch_cap.cap import cap_limit, ideal_cap

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
        found = ideal_cap(ENGINE, LOAD, Targets(objective, 5.0), 256, WIDE)
        assert found in GRAPH_SIZES
    assert ideal_cap(ENGINE, LOAD, Targets(0.04, 5.0), 24, Batching(min_sequences=8, max_sequences=24)) == 24


def decided(cap, rate, replicas=2, inter_token=0.04, cache=(None, 0.0), **batching):
    made = plant(rate=rate, replicas=replicas, gpus=replicas, cap=cap, slow=1.1)
    made.kv_capacity = cache[0]
    variants = (variant_spec(batching=Batching(**{"max_sequences": 512, **batching})),)
    latency = LatencyObjective(5.0, inter_token)
    made.services["chat"] = service_spec(variants=variants, latency=latency, mode=Mode.RECOMMEND)
    made.deployments["chat"].spec = variants[0]
    made.run(600)
    made.preemptions = cache[1]  # what preempts teaches no step times, so it begins late
    made.step()
    return made.decision().variants[0]


def test_a_cap_that_suits_is_kept():
    assert decided(64, rate=10).cap_reason is Reason.BATCH_CAP_KEPT


def test_a_small_cap_that_holds_nothing_back_is_not_worth_a_restart():
    found = decided(32, rate=2, replicas=1)

    assert found.cap_reason is Reason.BATCH_CHANGE_NOT_WORTH_IT
    assert found.desired_cap > 32


def test_a_small_cap_that_costs_a_replica_is_raised():
    found = decided(16, rate=9, replicas=3)

    assert found.desired_cap > 16
    assert "saves" in found.cap_message


def test_a_large_cap_that_keeps_latency_is_not_worth_a_restart():
    found = decided(256, rate=5, replicas=1, inter_token=None)

    assert found.cap_reason in {Reason.BATCH_CHANGE_NOT_WORTH_IT, Reason.BATCH_CAP_KEPT}


def test_a_large_cap_that_breaks_latency_is_lowered():
    found = decided(512, rate=10)

    assert found.desired_cap < 100
    assert found.cap_reason is not Reason.BATCH_CAP_KEPT


def test_a_large_cap_stays_where_the_cache_keeps_batches_small_unless_it_preempts():
    full_at_40 = 40 * LOAD.resident

    calm = decided(256, rate=5, cache=(full_at_40, 0.0))
    thrashing = decided(256, rate=5, cache=(full_at_40, 1.0))

    assert calm.cap_reason is Reason.BATCH_CAP_KEPT
    assert "KV cache is full before" in calm.cap_message
    assert thrashing.desired_cap < 64
