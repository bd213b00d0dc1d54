"""Rolling changes of the batch cap on the toy cluster."""

from dataclasses import replace

from lab import plant, service_spec, variant_spec

from pertoken.domain.plan import CompleteBatchCap, EvictPod, SetBatchCap, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode, Behavior, PolicyType, ScalingPolicy, ScalingRules
from pertoken.planner.memory import EMPTY


def watched(made, seconds):
    """Ready and pending pods at every cycle."""
    seen = []
    made.run(seconds, lambda one, _: seen.append((len(one.ready("chat")), len(one.living("chat")))))
    return seen


def kinds(made):
    return [type(action).__name__ for _, action in made.actions]


def of(made, kind):
    return [(at, action) for at, action in made.actions if isinstance(action, kind)]


def beyond(made, most=128):
    """The user allows less than the cap in use: it has to come down."""
    service, deployment = made.services["chat"], made.deployments["chat"]
    variant = replace(service.variants[0], batching=replace(service.variants[0].batching, max_sequences=most))
    made.services["chat"], deployment.spec = replace(service, variants=(variant,)), variant
    return made


def full(cap=256, rate=15, **changes):
    made = plant(rate=rate, replicas=3, gpus=3, cap=cap, slow=1.18, **changes)
    return beyond(made) if cap == 256 else made


def test_a_full_pool_is_rolled_pod_by_pod():
    made = full()
    seen = watched(made, 1200)

    assert min(ready for ready, _ in seen) == 2
    assert seen[-1] == (3, 3)
    assert kinds(made) == ["SetBatchCap", "EvictPod", "EvictPod", "EvictPod", "CompleteBatchCap"]
    cap = made.deployments["chat"].cap
    assert cap.completed
    assert cap.value < 256
    assert {pod.cap for pod in made.living("chat")} == {cap.value}
    assert made.replicas() == 3


def test_the_first_pod_is_a_canary():
    made = full()
    made.run(1200)
    evictions = [at for at, _ in of(made, EvictPod)]

    assert evictions[1] - evictions[0] >= made.start_seconds + made.settings.canary_seconds


def test_with_room_an_extra_replica_comes_first_and_goes_last():
    made = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    seen = watched(made, 1500)

    assert min(ready for ready, _ in seen) == 3
    assert max(living for _, living in seen) == 4
    assert [(a.current, a.desired) for _, a in of(made, SetReplicas)] == [(3, 4), (4, 3)]
    assert made.deployments["chat"].cap.completed


def test_the_only_replica_without_room_is_not_interrupted():
    made = beyond(plant(rate=3, replicas=1, gpus=1, cap=256, slow=1.18))
    made.run(1200)

    assert made.actions == []
    found = made.decision().variants[0]
    assert found.cap_reason is Reason.BATCH_CHANGE_WOULD_INTERRUPT
    assert found.desired_cap < found.cap == 256


def test_the_only_replica_with_room_is_rolled_without_a_gap():
    made = beyond(plant(rate=3, replicas=1, gpus=2, cap=256, slow=1.18))
    seen = watched(made, 1500)

    assert min(ready for ready, _ in seen) == 1
    assert made.replicas() == 1
    assert made.deployments["chat"].cap.completed


def test_a_cap_that_holds_requests_back_is_raised():
    made = full(cap=16, rate=14)
    made.run(1800)

    assert of(made, SetBatchCap)[0][1].reason is Reason.BATCH_CAP_RAISED
    assert made.deployments["chat"].cap.value > 16
    assert made.deployments["chat"].cap.completed
    assert made.queues["chat"] == 0


def test_a_cap_that_crashes_engines_is_taken_back_and_not_tried_again():
    probe = full()
    probe.run(900)
    bad = of(probe, SetBatchCap)[0][1].value

    made = full(bad_cap=bad)
    seen = watched(made, 3600)

    assert kinds(made) == ["SetBatchCap", "EvictPod", "SetBatchCap", "EvictPod", "CompleteBatchCap"]
    back = of(made, SetBatchCap)[1][1]
    assert back.rolled_back
    assert (back.previous, back.value) == (bad, 256)
    assert "CrashLoopBackOff" in back.message
    assert min(ready for ready, _ in seen) == 2
    assert {pod.cap for pod in made.living("chat")} == {256}
    assert made.decision().variants[0].cap_reason is Reason.BATCH_CHANGE_ROLLED_BACK


def test_a_canary_with_worse_latency_is_taken_back():
    made = full(rate=13)
    made.run(300)
    engine = made.engine

    def treacherous(name, cap):
        found = engine(name, cap)
        slower = replace(found.gains, decode=3.0, prefill=3.0)
        return replace(found, gains=slower) if cap != 256 else found

    made.engine = treacherous
    made.run(600)
    backs = [action for _, action in of(made, SetBatchCap) if action.rolled_back]

    assert len(backs) == 1
    assert "ms between tokens" in backs[0].message


def test_changes_are_half_an_hour_apart():
    made = full()
    made.run(900)
    latency = replace(made.services["chat"].latency, inter_token_seconds=0.025)
    made.services["chat"] = replace(made.services["chat"], latency=latency)
    made.run(4000)
    times = [at for at, _ in of(made, SetBatchCap)]

    assert len(times) >= 2
    assert times[1] - times[0] >= 1800


def test_scaling_up_goes_on_during_a_roll():
    made = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    while not of(made, SetBatchCap):
        made.step()
    made.rates["chat"] = 32
    made.run(900)

    assert made.replicas() >= 5
    assert made.deployments["chat"].cap.completed


def test_scaling_down_waits_for_the_roll():
    made = full()
    slow = Behavior(scale_down=ScalingRules(300, (ScalingPolicy(PolicyType.PERCENT, 100, 15),)))
    made.services["chat"] = replace(made.services["chat"], behavior=slow)
    while not of(made, SetBatchCap):
        made.step()
    made.rates["chat"] = 1.0
    while not made.deployments["chat"].cap.completed:
        made.step()
        assert made.replicas() == 3


def test_missing_metrics_stop_a_roll_and_start_none():
    made = full()
    made.run(60)
    made.outage = True
    made.run(300)
    assert made.actions == []

    made.outage = False
    while not of(made, EvictPod):
        made.step()
    evicted = len(of(made, EvictPod))
    made.outage = True
    made.run(600)
    assert len(of(made, EvictPod)) == evicted


def test_a_fixed_cap_is_set_and_then_kept():
    made = full(cap=256)
    variants = (variant_spec(batching=Batching(BatchingMode.FIXED, max_sequences=96)),)
    made.services["chat"] = service_spec(variants=variants)
    made.deployments["chat"].spec = variants[0]
    made.run(1200)

    assert [action.value for _, action in of(made, SetBatchCap)] == [96]
    assert made.decision().variants[0].cap_reason is Reason.BATCH_FIXED


def test_a_lost_memory_in_mid_roll_does_not_lose_the_roll():
    made = full()
    while not of(made, EvictPod):
        made.step()
    made.memory = EMPTY
    made.run(1200)

    assert len(of(made, CompleteBatchCap)) == 1
    assert made.deployments["chat"].cap.completed


def test_the_cap_of_an_empty_workload_changes_at_once():
    made = plant(rate=0.0, replicas=0, cap=256)
    variants = (variant_spec(min_replicas=0, batching=Batching(BatchingMode.FIXED, max_sequences=64)),)
    made.services["chat"] = service_spec(variants=variants, min_replicas=0)
    made.deployments["chat"].spec = variants[0]
    made.run(60)

    assert kinds(made) == ["SetBatchCap", "CompleteBatchCap"]


def test_an_extra_replica_that_finds_no_place_is_given_up():
    made = beyond(plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18))
    while not of(made, SetReplicas):
        made.step()
    made.free_node_now = made.free_node
    blocked = made.now + 200
    made.free_node = lambda gpus, pool: None if made.now < blocked else made.free_node_now(gpus, pool)
    made.run(1500)

    assert made.deployments["chat"].cap.completed
    assert made.replicas() == 3
