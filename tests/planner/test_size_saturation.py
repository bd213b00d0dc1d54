"""Sizing by the use of resources, where no model knows the engine."""

import pytest
from lab import variant_spec
from states import Variant, service_state

from pertoken.domain.cluster import BatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import EngineKind, ModelSpec
from pertoken.domain.signal import Signal
from pertoken.planner.size.saturation import replicas_by_saturation

GENERIC = variant_spec(engine=EngineKind.GENERIC)
UNKNOWN = {"model": ModelSpec("nobody/knows-7b", "chat")}


def sized(variant, gateway=None):
    metrics = None if gateway is None else {"gateway_queue": {("llm", "chat"): gateway}}
    state = service_state(variant, metrics=metrics, **UNKNOWN)
    return replicas_by_saturation(state, state.variants[0])


def busy(share, waiting=0.0, **variant):
    tells = {Signal.GPU_UTILIZATION: share, Signal.WAITING: waiting, Signal.KV_USAGE: None}
    return Variant(GENERIC, tells=tells, **variant)


@pytest.mark.parametrize(
    ("variant", "count", "reason"),
    [
        (busy(0.75, replicas=4), 4, Reason.WITHIN_TOLERANCE),
        (busy(0.78, replicas=4), 4, Reason.WITHIN_TOLERANCE),
        (busy(0.90, replicas=4), 5, Reason.GPU_UTILIZATION_HIGH),
        (busy(0.60, replicas=5), 4, Reason.GPU_UTILIZATION_LOW),
        (busy(0.01, replicas=5), 1, Reason.GPU_UTILIZATION_LOW),
        (busy(0.95, replicas=5, ready=4), 6, Reason.GPU_UTILIZATION_HIGH),
        (busy(0.90, replicas=5, ready=4), 5, Reason.WITHIN_TOLERANCE),
        (busy(None, replicas=4), 4, Reason.WITHIN_TOLERANCE),
    ],
    ids=["at target", "near it", "above", "below", "at least one", "two more", "the one on its way counts", "not told"],
)
def test_a_generic_engine_follows_its_gpus(variant, count, reason):
    assert sized(variant) == (count, reason)


@pytest.mark.parametrize(
    ("share", "waiting", "count", "reason"),
    [
        (0.75, 2.0, 4, Reason.WITHIN_TOLERANCE),
        (0.75, 3.0, 6, Reason.QUEUE_BACKLOG),
        (0.75, 500.0, 8, Reason.QUEUE_BACKLOG),
        (0.10, 0.4, 1, Reason.GPU_UTILIZATION_LOW),
        (0.10, 0.5, 4, Reason.WITHIN_TOLERANCE),
    ],
    ids=["short", "long", "no more than doubles", "hardly any", "low use beside a queue takes none away"],
)
def test_a_queue_adds_replicas(share, waiting, count, reason):
    assert sized(busy(share, waiting, replicas=4)) == (count, reason)


@pytest.mark.parametrize(
    ("replicas", "waiting", "count", "reason"),
    [(0, None, 0, Reason.AT_DESIRED), (0, 1.0, 1, Reason.QUEUE_BACKLOG), (2, 1.0, 2, Reason.QUEUE_BACKLOG)],
)
def test_a_queue_at_the_gateway_wakes_what_sleeps(replicas, waiting, count, reason):
    assert sized(Variant(GENERIC, replicas=replicas, ready=0), waiting) == (count, reason)


def test_a_queue_at_the_gateway_counts_like_the_engines():
    assert sized(busy(0.75, replicas=4), gateway=12.0) == sized(busy(0.75, 3.0, replicas=4))


@pytest.mark.parametrize(
    ("tells", "cap", "count", "reason"),
    [
        ({Signal.KV_USAGE: 0.95}, None, 3, Reason.KV_CACHE_FULL),
        ({Signal.KV_USAGE: 0.75, Signal.DECODING_SEQUENCES: 60.0}, 50, 3, Reason.DEMAND_ROSE),
        ({Signal.KV_USAGE: 0.75, Signal.DECODING_SEQUENCES: 40.0}, 50, 2, Reason.WITHIN_TOLERANCE),
        ({Signal.KV_USAGE: 0.75, Signal.GPU_UTILIZATION: 1.0}, None, 2, Reason.WITHIN_TOLERANCE),
        ({Signal.KV_USAGE: None, Signal.GPU_UTILIZATION: 1.0}, None, 3, Reason.GPU_UTILIZATION_HIGH),
    ],
    ids=["cache full", "batch full", "batch at target", "a GPU looks used from one request on", "nothing else is told"],
)
def test_an_llm_engine_follows_its_cache_and_its_batch(tells, cap, count, reason):
    workload = {} if cap is None else {"cap": BatchCap(cap)}

    assert sized(Variant(tells=tells, workload=workload)) == (count, reason)
