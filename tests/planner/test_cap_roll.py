"""Rolling changes of the batch cap on the toy cluster."""

from dataclasses import replace

from lab import plant, service_spec, variant_spec

from pertoken.domain.plan import CompleteBatchCap, EvictPod, SetBatchCap, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode, Behavior, PolicyType, ScalingPolicy, ScalingRules
from pertoken.planner.memory import EMPTY


def watched(fleet, seconds):
    """Ready and pending pods at every cycle."""
    seen = []
    fleet.run(seconds, lambda fleet, _: seen.append((len(fleet.ready("chat")), len(fleet.living("chat")))))
    return seen


def kinds(fleet):
    return [type(action).__name__ for _, action in fleet.actions]


def of(fleet, kind):
    return [(at, action) for at, action in fleet.actions if isinstance(action, kind)]


def beyond(fleet, most=128):
    """The user allows less than the cap in use: it has to come down."""
    service, deployment = fleet.services["chat"], fleet.deployments["chat"]
    variant = replace(service.variants[0], batching=replace(service.variants[0].batching, max_sequences=most))
    fleet.services["chat"], deployment.spec = replace(service, variants=(variant,)), variant
    return fleet


def full(cap=256, rate=15, **changes):
    fleet = plant(rate=rate, replicas=3, gpus=3, cap=cap, slow=1.18, **changes)
    return beyond(fleet) if cap == 256 else fleet


def test_a_full_pool_is_rolled_pod_by_pod():
    fleet = full()
    seen = watched(fleet, 1200)

    assert min(ready for ready, _ in seen) == 2
    assert seen[-1] == (3, 3)
    assert kinds(fleet) == ["SetBatchCap", "EvictPod", "EvictPod", "EvictPod", "CompleteBatchCap"]
    cap = fleet.deployments["chat"].cap
    assert cap.completed
    assert cap.value < 256
    assert {pod.cap for pod in fleet.living("chat")} == {cap.value}
    assert fleet.replicas() == 3


def test_the_first_pod_is_a_canary():
    fleet = full()
    fleet.run(1200)
    evictions = [at for at, _ in of(fleet, EvictPod)]

    assert evictions[1] - evictions[0] >= fleet.start_seconds + fleet.settings.canary_seconds


def test_with_room_an_extra_replica_comes_first_and_goes_last():
    fleet = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    seen = watched(fleet, 1500)

    assert min(ready for ready, _ in seen) == 3
    assert max(living for _, living in seen) == 4
    assert [(a.current, a.desired) for _, a in of(fleet, SetReplicas)] == [(3, 4), (4, 3)]
    assert fleet.deployments["chat"].cap.completed


def test_the_only_replica_without_room_is_not_interrupted():
    fleet = beyond(plant(rate=3, replicas=1, gpus=1, cap=256, slow=1.18))
    fleet.run(1200)

    assert fleet.actions == []
    variant = fleet.decision().variants[0]
    assert variant.cap_reason is Reason.BATCH_CHANGE_WOULD_INTERRUPT
    assert variant.desired_cap < variant.cap == 256


def test_the_only_replica_with_room_is_rolled_without_a_gap():
    fleet = beyond(plant(rate=3, replicas=1, gpus=2, cap=256, slow=1.18))
    seen = watched(fleet, 1500)

    assert min(ready for ready, _ in seen) == 1
    assert fleet.replicas() == 1
    assert fleet.deployments["chat"].cap.completed


def test_a_cap_that_holds_requests_back_is_raised():
    fleet = full(cap=16, rate=14)
    fleet.run(1800)

    assert of(fleet, SetBatchCap)[0][1].reason is Reason.BATCH_CAP_RAISED
    assert fleet.deployments["chat"].cap.value > 16
    assert fleet.deployments["chat"].cap.completed
    assert fleet.queues["chat"] == 0


def test_a_cap_that_crashes_engines_is_taken_back_and_not_tried_again():
    probe = full()
    probe.run(900)
    bad = of(probe, SetBatchCap)[0][1].value

    fleet = full(bad_cap=bad)
    seen = watched(fleet, 3600)

    assert kinds(fleet) == ["SetBatchCap", "EvictPod", "SetBatchCap", "EvictPod", "CompleteBatchCap"]
    back = of(fleet, SetBatchCap)[1][1]
    assert back.rolled_back
    assert (back.previous, back.value) == (bad, 256)
    assert "CrashLoopBackOff" in back.message
    assert min(ready for ready, _ in seen) == 2
    assert {pod.cap for pod in fleet.living("chat")} == {256}
    assert fleet.decision().variants[0].cap_reason is Reason.BATCH_CHANGE_ROLLED_BACK


def test_a_canary_with_worse_latency_is_taken_back():
    fleet = full(rate=13)
    fleet.run(300)
    engine = fleet.engine

    def treacherous(name, cap):
        usual = engine(name, cap)
        slower = replace(usual.gains, decode=3.0, prefill=3.0)
        return replace(usual, gains=slower) if cap != 256 else usual

    fleet.engine = treacherous
    fleet.run(600)
    backs = [action for _, action in of(fleet, SetBatchCap) if action.rolled_back]

    assert len(backs) == 1
    assert "ms between tokens" in backs[0].message


def test_changes_are_half_an_hour_apart():
    fleet = full()
    fleet.run(900)
    latency = replace(fleet.services["chat"].latency, inter_token_seconds=0.025)
    fleet.services["chat"] = replace(fleet.services["chat"], latency=latency)
    fleet.run(4000)
    times = [at for at, _ in of(fleet, SetBatchCap)]

    assert len(times) >= 2
    assert times[1] - times[0] >= 1800


def test_scaling_up_goes_on_during_a_roll():
    fleet = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    while not of(fleet, SetBatchCap):
        fleet.step()
    fleet.rates["chat"] = 32
    fleet.run(900)

    assert fleet.replicas() >= 5
    assert fleet.deployments["chat"].cap.completed


def test_scaling_down_waits_for_the_roll():
    fleet = full()
    slow = Behavior(scale_down=ScalingRules(300, (ScalingPolicy(PolicyType.PERCENT, 100, 15),)))
    fleet.services["chat"] = replace(fleet.services["chat"], behavior=slow)
    while not of(fleet, SetBatchCap):
        fleet.step()
    fleet.rates["chat"] = 1.0
    while not fleet.deployments["chat"].cap.completed:
        fleet.step()
        assert fleet.replicas() == 3


def test_missing_metrics_stop_a_roll_and_start_none():
    fleet = full()
    fleet.run(60)
    fleet.outage = True
    fleet.run(300)
    assert fleet.actions == []

    fleet.outage = False
    while not of(fleet, EvictPod):
        fleet.step()
    evicted = len(of(fleet, EvictPod))
    fleet.outage = True
    fleet.run(600)
    assert len(of(fleet, EvictPod)) == evicted


def test_a_fixed_cap_is_set_and_then_kept():
    fleet = full(cap=256)
    variants = (variant_spec(batching=Batching(BatchingMode.FIXED, max_sequences=96)),)
    fleet.services["chat"] = service_spec(variants=variants)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(1200)

    assert [action.value for _, action in of(fleet, SetBatchCap)] == [96]
    assert fleet.decision().variants[0].cap_reason is Reason.BATCH_FIXED


def test_a_lost_memory_in_mid_roll_does_not_lose_the_roll():
    fleet = full()
    while not of(fleet, EvictPod):
        fleet.step()
    fleet.memory = EMPTY
    fleet.run(1200)

    assert len(of(fleet, CompleteBatchCap)) == 1
    assert fleet.deployments["chat"].cap.completed


def test_the_cap_of_an_empty_workload_changes_at_once():
    fleet = plant(rate=0.0, replicas=0, cap=256)
    variants = (variant_spec(min_replicas=0, batching=Batching(BatchingMode.FIXED, max_sequences=64)),)
    fleet.services["chat"] = service_spec(variants=variants, min_replicas=0)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(60)

    assert kinds(fleet) == ["SetBatchCap", "CompleteBatchCap"]


def test_an_extra_replica_that_finds_no_place_is_given_up():
    fleet = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    while not of(fleet, SetReplicas):
        fleet.step()
    fleet.free_node_now = fleet.free_node
    blocked = fleet.now + 200
    fleet.free_node = lambda gpus, pool: None if fleet.now < blocked else fleet.free_node_now(gpus, pool)
    fleet.run(1500)

    assert fleet.deployments["chat"].cap.completed
    assert fleet.replicas() == 3
