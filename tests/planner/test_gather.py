"""Building a service's state: pods sorted by what they are, metrics by how old, memory by whose it is."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import pool_spec, ref, variant_spec
from states import NOW, Variant, memory_of, pod, service_state, world_of

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import WorkloadMissing
from pertoken.domain.identity import PodKey
from pertoken.domain.service import EngineKind, ModelSpec, Parallelism
from pertoken.domain.signal import Signal
from pertoken.domain.world import PoolView
from pertoken.performance.calibrate import Calibration
from pertoken.planner.gather import gather
from pertoken.planner.memory import EMPTY, ServiceMemory, VariantMemory
from pertoken.planner.service_state import UNKNOWN_WINDOW_SECONDS


def gathered(*variants, memory=None, **world):
    seen = world_of(*variants, **world)
    return gather(seen.services[0], seen, memory_of(*variants) if memory is None else memory, NOW)


@pytest.mark.parametrize(
    ("changes", "ready", "starting", "living", "flowing"),
    [
        ({}, 1, 1, 1, 1),
        ({"ready_at": None}, 0, 2, 1, 0),
        ({"terminating": True}, 0, 2, 0, 1),
        ({"deleted_at": NOW}, 0, 2, 0, 0),
        ({"finished": True}, 0, 2, 0, 0),
    ],
    ids=["serves", "starts", "on its way out", "gone", "ended"],
)
def test_a_pod_counts_as_what_it_is(changes, ready, starting, living, flowing):
    variant = gathered(Variant(replicas=2, pods=[replace(pod(), **changes)])).variants[0]

    assert (variant.ready, variant.starting, variant.living_replicas, len(variant.flowing)) == (
        ready,
        starting,
        living,
        flowing,
    )


@pytest.mark.parametrize(
    ("served", "silent", "measured", "unreported", "warmed_up"),
    [(3600.0, 0, 1, 0, 1), (100.0, 0, 1, 0, 0), (3600.0, 1, 0, 1, 0), (61.0, 1, 0, 1, 0), (60.0, 1, 0, 0, 0)],
    ids=["tells", "tells since lately", "silent", "silent for a window", "no window to be seen yet"],
)
def test_metrics_of_a_pod(served, silent, measured, unreported, warmed_up):
    variant = gathered(Variant(replicas=1, pods=[pod(served=served)], silent=silent)).variants[0]

    assert (len(variant.measured), variant.unreported, len(variant.warmed_up)) == (measured, unreported, warmed_up)


def test_old_metrics_are_left_out():
    state = gathered(metrics={"fresh_seconds": 4.0})

    assert state.total(Signal.RUNNING) is None
    assert state.variants[0].unreported == 2


def test_what_is_not_told_is_unknown_and_never_zero():
    state = gathered(Variant(tells={Signal.WAITING: None}))

    assert state.waiting is None
    assert state.backlog == 0.0
    assert gathered(metrics={"gateway_queue": {("llm", "chat"): 3.0}}).waiting == 3.0
    assert gathered(metrics={"gateway_queue": {("other", "chat"): 3.0}}).gateway_queue is None


def test_without_a_profile_there_is_no_snapshot():
    state = gathered(metrics_profile="none")

    assert (state.snapshot, state.window, state.flowing) == (None, UNKNOWN_WINDOW_SECONDS, ())


def test_a_service_is_seen_through_the_profile_that_it_names():
    seen = world_of(metrics_profile="team-b")
    shown = seen.metrics["default"]
    seen = replace(seen, metrics={"default": replace(shown, pods={}), "team-b": replace(shown, window_seconds=120.0)})
    state = gather(seen.services[0], seen, memory_of(), NOW)

    assert (state.window, state.total(Signal.WAITING)) == (120.0, 0.0)
    assert state.profiles == ("default", "team-b")


def test_a_recreated_service_starts_without_memory():
    state = gathered(memory=memory_of(uid="another"))

    assert state.memory == ServiceMemory("uid-chat", NOW)
    assert gathered(memory=EMPTY).memory == ServiceMemory("uid-chat", NOW)


def test_a_missing_target_is_set_aside_and_the_others_stay():
    gone = WorkloadMissing(ref("chat-a100"), "Deployment llm/chat-a100 was not found")
    state = gathered(Variant(workload=gone), Variant(variant_spec(name="b")))

    assert state.missing == (("a100", gone),)
    assert [variant.name for variant in state.variants] == ["b"]


def test_a_pool_that_refused_is_remembered_by_variant():
    state = gathered(Variant(backoff_until=NOW + 60.0), Variant(variant_spec(name="b")))

    assert [variant.backoff_until for variant in state.variants] == [NOW + 60.0, 0.0]


@pytest.mark.parametrize(
    ("pool", "gpus", "usd"),
    [
        ({}, 1, 2.0),
        ({}, 4, 8.0),
        ({"gpu_fraction": Decimal("0.5")}, 2, 2.0),
        ({"price_per_gpu_hour": None}, 1, None),
    ],
)
def test_what_a_replica_costs(pool, gpus, usd):
    seen = world_of(Variant(workload={"gpus_per_replica": gpus}))
    seen = replace(seen, pools=(PoolView(pool_spec(**pool), seen.pools[0].nodes),))
    gathered = gather(seen.services[0], seen, EMPTY, NOW).variants[0]

    assert gathered.usd_per_hour == usd


def test_without_its_pool_a_variant_has_neither_price_nor_model():
    seen = replace(world_of(), pools=())
    gathered = gather(seen.services[0], seen, EMPTY, NOW).variants[0]

    assert (gathered.pool, gathered.usd_per_hour, gathered.base_model, gathered.engine) == (None, None, None, None)


@pytest.mark.parametrize(
    ("variant", "model", "known"),
    [
        ({}, None, True),
        ({"engine": EngineKind.GENERIC}, None, False),
        ({}, ModelSpec("nobody/knows-7b", "chat"), False),
        ({}, ModelSpec("", "chat"), False),
    ],
    ids=["known", "generic", "unknown", "none"],
)
def test_a_model_is_looked_up_where_there_is_one(variant, model, known):
    spec = {} if model is None else {"model": model}
    state_of = gathered(Variant(variant_spec(**variant)), **spec).variants[0]

    assert (state_of.engine is not None) == known
    assert (state_of.base_model is not None) == known


@pytest.mark.parametrize(("told", "capacity"), [(100_000.4, 100_000.0), (0.0, None), (None, None)])
def test_the_cache_that_engines_tell_counts_where_there_is_one(told, capacity):
    variant = gathered(Variant(tells={Signal.KV_CAPACITY_TOKENS: told})).variants[0]

    assert variant.engine.kv_capacity == capacity


def test_a_calibration_belongs_to_the_pod_template():
    key = gathered().variants[0].memory.calibration.key
    kept = VariantMemory(calibration=Calibration(key, samples=7))
    other = [pod(labels={"pod-template-hash": "def"})]

    assert gathered(Variant(memory=kept)).variants[0].memory.calibration.samples == 7
    assert gathered(Variant(memory=kept, pods=other)).variants[0].memory.calibration.samples == 0
    assert gathered(Variant(memory=kept, replicas=0)).variants[0].memory.calibration.samples == 7


@pytest.mark.parametrize(("accelerator", "prior"), [("h100-sxm", 0.25**2), ("l4", 0.5**2), ("mi300x", 0.5**2)])
def test_what_is_learnt_starts_wide_on_a_gpu_that_nothing_was_measured_on(accelerator, prior):
    assert gathered(Variant(pool={"accelerator": accelerator})).variants[0].memory.calibration.variance_decode == prior


def test_latencies_are_those_of_all_variants_and_of_warmed_up_pods_apart():
    fresh = Variant(variant_spec(name="b"), replicas=1, pods=[pod("b-0", served=90.0)])
    state = gathered(Variant(replicas=1), fresh)

    assert state.inter_token.all_pods.cumulative[-1] == pytest.approx(10.0)
    assert state.inter_token.warmed_up.cumulative[-1] == pytest.approx(5.0)
    assert (state.inter_token.objective, state.ttft.objective) == (0.04, 2.0)


def test_a_replica_of_several_pods_is_counted_once():
    workload = {"gpus_per_replica": 2}
    pods = [pod(f"a100-{index}") for index in range(4)]
    variant = gathered(Variant(replicas=2, pods=pods, workload=workload)).variants[0]

    assert (variant.pods_per_replica, variant.ready, variant.starting, variant.living_replicas) == (2, 2, 0, 2)


def group_pods(*, unready=()):
    """Two groups of a leader without GPUs and two workers with one each."""
    return [
        pod(f"a100-{group}-{index}", requests={"nvidia.com/gpu": 1} if index else {}, group=str(group))
        if (group, index) not in unready
        else pod(f"a100-{group}-{index}", served=None, group=str(group))
        for group in range(2)
        for index in range(3)
    ]


@pytest.mark.parametrize(
    ("unready", "ready"), [((), 2), (((0, 2),), 1), (((0, 2), (1, 1)), 0), (((1, 0), (1, 1), (1, 2)), 1)]
)
def test_a_group_with_a_leader_without_gpus_is_ready_when_all_its_pods_are(unready, ready):
    workload = {"gpus_per_replica": 2, "pod_gpus": (0, 1, 1)}
    variant = gathered(Variant(replicas=2, pods=group_pods(unready=unready), workload=workload)).variants[0]

    assert (variant.pods_per_replica, variant.ready, variant.starting) == (3, ready, 2 - ready)
    assert variant.living_replicas == 2


def test_the_builder_of_states_makes_what_a_plan_begins_with():
    state = service_state()

    assert state.serving == 2
    assert state.variants[0].memory.calibration.samples == 100
    assert state.catalog is SHIPPED
    assert PodKey("llm", "a100-0") in state.snapshot.pods


def test_expert_parallelism_spreads_the_experts_of_a_mixture():
    """Data-parallel ranks that share their experts read and keep a part of them each."""
    mixture = ModelSpec("Qwen/Qwen3-30B-A3B", "chat")
    alone, shared = (
        service_state(Variant(variant_spec(parallelism=Parallelism(data=4, expert=expert))), model=mixture).variants[0]
        for expert in (1, 4)
    )

    assert shared.base_model.expert_bytes == pytest.approx(alone.base_model.expert_bytes / 4)
    assert shared.base_model.kv_capacity > alone.base_model.kv_capacity
