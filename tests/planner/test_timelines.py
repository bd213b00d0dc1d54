"""The planner in closed loop with a toy cluster whose engines are slower than the catalog says."""

from dataclasses import replace

import pytest
from lab import START, Deployment, generic, plant, service_spec, variant_spec

from pertoken.domain.plan import SetReplicas, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.forecast.tuning import KNEE
from pertoken.planner.memory import EMPTY


def scalings(fleet, after=0.0):
    return [(at, a.current, a.desired) for at, a in fleet.actions if isinstance(a, SetReplicas) and at >= after]


def condition(fleet, kind, name="chat"):
    return fleet.decision(name).conditions[kind]


def test_demand_that_doubles_and_falls_is_followed_and_latency_kept():
    fleet = plant(rate=15, replicas=3, slow=1.18)
    fleet.run(900)
    assert fleet.replicas() == 3

    fleet.rates["chat"] = 30
    fleet.run(900)
    grown = fleet.replicas()
    assert 5 <= grown <= 9  # a jump is remembered as head-room for a while
    assert fleet.queues["chat"] == 0
    assert condition(fleet, "WithinLatencyTarget").verdict is Verdict.TRUE

    fleet.rates["chat"] = 8
    fleet.run(2400)
    assert fleet.replicas() == 2
    assert condition(fleet, "WithinLatencyTarget").verdict is Verdict.TRUE


def test_where_a_replica_loses_its_percentile_is_learnt_and_costs_replicas():
    even, uneven = plant(rate=20, replicas=3, slow=1.1), plant(rate=20, replicas=3, slow=1.1)
    uneven.wide = 0.4
    for fleet in (even, uneven):
        fleet.act = False
        fleet.run(1500)
    knees = [fleet.memory.services["llm/chat"].knee.value for fleet in (even, uneven)]
    carried = [fleet.decision().variants[0].capacity_per_replica for fleet in (even, uneven)]

    assert knees[1] < min(KNEE.prior, knees[0]) - 0.05
    assert carried[1] < carried[0]


def test_a_replica_that_starts_slowly_is_not_given_up_lightly():
    quick, slow = plant(rate=30, replicas=6, slow=1.1), plant(rate=30, replicas=6, slow=1.1, start_seconds=600.0)
    for fleet in (quick, slow):
        fleet.run(1800)
        fleet.rates["chat"] = 8.0
        fleet.run(480)

    assert quick.replicas() < slow.replicas()


def test_over_provisioning_is_removed_so_that_the_index_falls():
    fleet = plant(rate=12, replicas=8, slow=1.18)
    fleet.services["chat"] = service_spec(cost=replace(service_spec().cost, window_seconds=900))
    fleet.run(300)
    before = fleet.decision().cost.index
    fleet.run(3000)
    after = fleet.decision().cost.index

    assert fleet.replicas() <= 3
    assert after < before * 0.5


def test_the_gains_converge_to_the_plant():
    fleet = plant(rate=15, replicas=3, slow=1.18)
    fleet.run(600)
    learnt = fleet.decision().variants[0].calibration

    assert learnt.decode_gain == pytest.approx(1.18, abs=0.04)
    assert learnt.samples > 12


def test_a_steady_load_causes_no_actions_at_all():
    fleet = plant(rate=15, replicas=3, slow=1.1)
    fleet.run(1800)
    fleet.actions.clear()
    fleet.run(1800)

    assert fleet.actions == []


def test_replicas_do_not_move_during_a_prometheus_gap_nor_a_rate_window_after_it():
    fleet = plant(rate=15, replicas=6, slow=1.1)
    fleet.run(120)
    fleet.outage = True
    fleet.run(180)
    assert condition(fleet, "MetricsAvailable").reason is Reason.PROMETHEUS_UNREACHABLE
    assert fleet.decision().reason is Reason.HELD_NO_METRICS
    fleet.outage = False
    fleet.run(60)

    assert scalings(fleet) == []
    assert fleet.replicas() == 6


@pytest.mark.parametrize("kind", ["series gone", "stale"])
def test_pods_without_fresh_series_are_held(kind):
    fleet = plant(rate=15, replicas=6)
    fleet.run(600)
    kept = fleet.replicas()
    fleet.actions.clear()
    if kind == "series gone":
        fleet.series_gone = True
    else:
        fresh = fleet.metrics

        def stale():
            snapshot = fresh()
            return replace(snapshot, pods={key: replace(pod, age_seconds=120.0) for key, pod in snapshot.pods.items()})

        fleet.metrics = stale
    fleet.run(600)

    assert fleet.replicas() == kept
    assert fleet.actions == []
    expected = Reason.METRICS_MISSING if kind == "series gone" else Reason.METRICS_STALE
    assert condition(fleet, "MetricsAvailable").reason is expected


def test_after_a_restart_without_memory_nothing_falls_for_a_stabilization_window():
    fleet = plant(rate=10, replicas=8)
    fleet.run(285)
    assert scalings(fleet) == []
    fleet.memory = EMPTY
    fleet.run(285)
    assert scalings(fleet) == []
    fleet.run(120)

    assert fleet.replicas() < 8


def test_a_restart_with_memory_changes_nothing():
    kept, restarted = plant(rate=10, replicas=4), plant(rate=10, replicas=4)
    for fleet in (kept, restarted):
        fleet.run(450)
    restarted.restart()
    for fleet in (kept, restarted):
        fleet.run(300)

    assert kept.actions == restarted.actions
    assert kept.last == restarted.last


def test_a_full_pool_is_reported_with_its_shortfall():
    fleet = plant(rate=60, replicas=2, gpus=3)
    fleet.run(300)

    assert fleet.replicas() == 3
    limited = condition(fleet, "ScalingLimited")
    assert limited.reason in {Reason.POOL_EXHAUSTED, Reason.SCALE_UP_LIMITED}
    assert fleet.decision().reason is Reason.POOL_EXHAUSTED
    assert "GPUs short for a100" in fleet.decision().message


def test_services_with_similar_names_do_not_mix():
    fleet = plant("chat", "chat-large", rate=5, replicas=2)
    fleet.rates["chat-large"] = 30
    fleet.run(900)

    assert fleet.replicas("chat") <= 2
    assert fleet.replicas("chat-large") >= 4
    assert fleet.decision("chat").demand.requests_per_second == pytest.approx(5, rel=0.05)


def test_recommend_mode_shows_and_does_not_act():
    fleet = plant(rate=30, replicas=2)
    fleet.services["chat"] = replace(fleet.services["chat"], mode=Mode.RECOMMEND)
    fleet.run(300)

    assert fleet.actions == []
    assert fleet.decision().variants[0].desired > 2
    assert not fleet.decision().acts


def test_a_pause_stops_actions_and_is_shown():
    fleet = plant(rate=30, replicas=2)
    fleet.services["chat"] = replace(fleet.services["chat"], paused=True)
    fleet.run(300)

    assert fleet.actions == []
    assert condition(fleet, "Paused").verdict is Verdict.TRUE


def test_off_leaves_replicas_as_they_are():
    fleet = plant(rate=30, replicas=2)
    fleet.services["chat"] = replace(fleet.services["chat"], mode=Mode.OFF)
    fleet.run(300)

    assert fleet.actions == []
    assert fleet.decision().variants[0].desired == 2
    assert fleet.decision().reason is Reason.SWITCHED_OFF


def test_idle_services_go_to_zero_and_wake_by_the_gateway():
    fleet = plant(rate=0.0, replicas=1)
    variants = (variant_spec(min_replicas=0),)
    fleet.services["chat"] = service_spec(variants=variants, min_replicas=0, idle_seconds=300)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(900)
    assert fleet.replicas() == 0

    seen = fleet.metrics
    fleet.metrics = lambda: replace(seen(), gateway_queue={("llm", "chat"): 3.0})
    fleet.run(60)
    assert fleet.replicas() >= 1


def test_an_engine_without_model_follows_gpu_utilization():
    fleet = plant(rate=30, replicas=2)
    fleet.services["chat"] = generic(fleet.services["chat"])
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    fleet.run(600)
    assert fleet.replicas() > 2

    fleet.rates["chat"] = 0.5
    fleet.run(1500)
    assert fleet.replicas() <= 2


def test_an_objective_below_one_request_is_named_and_causes_no_runaway():
    fleet = plant(rate=10, replicas=2, gpus=32)
    latency = replace(fleet.services["chat"].latency, inter_token_seconds=0.005)
    fleet.services["chat"] = replace(fleet.services["chat"], latency=latency)
    fleet.run(900)
    within = condition(fleet, "WithinLatencyTarget")

    assert fleet.replicas() <= 3
    assert within.reason is Reason.LATENCY_TARGET_UNREACHABLE
    assert "no number of replicas reaches it" in within.message


def test_pods_that_nothing_schedules_are_withdrawn_and_the_pool_backs_off():
    fleet = plant(rate=60, replicas=2, gpus=16)
    # A taint that the inventory does not show: the scheduler refuses although GPUs look free.
    fleet.free_node = lambda _gpus, _pool: None
    fleet.run(900)
    reasons = [action.reason for _, action in fleet.actions]

    assert Reason.UNSCHEDULABLE_WITHDRAWN in reasons
    fleet.run(30)
    assert fleet.decision().reason in {Reason.POOL_BACKING_OFF, Reason.UNSCHEDULABLE_WITHDRAWN, Reason.POOL_EXHAUSTED}


def test_another_manager_that_takes_changes_back_wins():
    fleet = plant(rate=30, replicas=2)

    def revert(fleet, planned):
        for action in planned.actions:
            if isinstance(action, SetReplicas):
                deployment = fleet.deployments["chat"]
                deployment.replicas, deployment.manager = 2, "argocd"
                deployment.version += 1

    fleet.run(600, revert)
    tries = len(scalings(fleet))

    assert tries == 3
    conflicted = condition(fleet, "Conflicted")
    assert conflicted.reason is Reason.CONFLICTING_MANAGER
    assert "argocd" in conflicted.message


def test_one_scaling_by_hand_is_no_conflict():
    fleet = plant(rate=20, replicas=3)
    fleet.run(600)
    fleet.deployments["chat"].replicas, fleet.deployments["chat"].manager = 5, "kubectl"
    fleet.run(900)

    assert condition(fleet, "Conflicted").verdict is Verdict.FALSE
    assert fleet.replicas() == 3


def test_a_foreign_autoscaler_means_hands_off():
    fleet = plant(rate=30, replicas=2)
    fleet.deployments["chat"].autoscaler = "HorizontalPodAutoscaler chat"
    fleet.run(300)

    assert fleet.actions == []
    assert condition(fleet, "Conflicted").reason is Reason.FOREIGN_AUTOSCALER


def test_an_autoscaler_that_carries_out_what_is_recommended_ends_where_pertoken_would():
    owned, lent = plant(rate=20, replicas=3), plant(rate=20, replicas=3)
    lent.services["chat"] = replace(lent.services["chat"], mode=Mode.RECOMMEND)
    lent.deployments["chat"].autoscaler = "ScaledObject llm/chat"

    def carry_out(fleet, planned):
        deployment, desired = fleet.deployments["chat"], planned.decisions[0].variants[0].desired
        if desired != deployment.replicas:
            deployment.replicas, deployment.manager = desired, "horizontal-pod-autoscaler"
            deployment.version += 1

    for rate in (20, 40, 10):
        for fleet, watch in ((owned, None), (lent, carry_out)):
            fleet.rates["chat"] = rate
            fleet.run(1800, watch)
        assert lent.replicas() == owned.replicas(), rate
    assert lent.actions == []
    conflicted = condition(lent, "Conflicted")
    assert (conflicted.verdict, conflicted.reason) == (Verdict.FALSE, Reason.NOT_CONFLICTED)
    assert conflicted.message == "ScaledObject llm/chat scales Deployment llm/chat-a100; pertoken only recommends"
    assert lent.decision().message.startswith("ScaledObject llm/chat scales Deployment llm/chat-a100; ")


def test_what_is_not_known_is_said_and_no_count_stands_for_it():
    fleet = plant(rate=20, replicas=3)
    fleet.run(300)
    known = fleet.decision().variants[0]
    fleet.outage = True
    fleet.step()
    dark = fleet.decision().variants[0]
    fleet.outage = False
    fleet.deployments["chat"].gpus = 0
    fleet.step()

    assert known.unknown == ""
    assert (dark.unknown, dark.desired) == ("connection refused", dark.current)
    assert fleet.decision().variants[0].unknown == "Deployment llm/chat-a100 requests no GPUs of its pool's resource"


def test_a_rollout_is_left_alone():
    fleet = plant(rate=40, replicas=2)
    fleet.deployments["chat"].settled = False
    fleet.run(300)
    assert fleet.actions == []
    assert fleet.decision().variants[0].reason is Reason.ROLLOUT_IN_PROGRESS

    fleet.deployments["chat"].settled = True
    fleet.run(60)
    assert fleet.replicas() > 2


def test_the_first_cycle_needs_no_history():
    fleet = plant(rate=15, replicas=3)
    fleet.step()

    assert fleet.decision().variants[0].desired >= 3
    assert fleet.now > START
    assert isinstance(fleet.deployments["chat"], Deployment)
