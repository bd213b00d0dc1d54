"""Closed loops about money, several variants, and facts that come and go: from the plant to its bill."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import START, Deployment, node, plant, pool_spec, ref, service_spec, serving_since, variant_spec

from pertoken.domain.cluster import WorkloadMissing
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import CostObjective, Optimize, PriceList, WhenInfeasible
from pertoken.domain.world import ServiceView


def test_a_pool_without_price_still_scales():
    fleet = plant(rate=30, replicas=2)
    fleet.pools = [pool_spec(price_per_gpu_hour=None)]
    fleet.run(600)

    assert fleet.replicas() > 2
    assert fleet.decision().conditions["WithinCostTarget"].reason is Reason.NO_PRICE
    assert fleet.decision().cost.bill_usd is None
    assert fleet.last.pools[0].spend_per_hour_usd is None


def test_a_spend_ceiling_limits_and_is_named():
    fleet = plant(rate=60, replicas=2)
    fleet.services["chat"] = service_spec(cost=replace(service_spec().cost, max_spend_per_hour=Decimal(8)))
    fleet.run(300)

    assert fleet.replicas() == 4
    assert fleet.decision().limited_by in {Reason.SPEND_CAPPED, Reason.SCALE_UP_LIMITED}
    assert "maxSpendPerHour 8" in fleet.decision().message


@pytest.mark.parametrize(("optimize", "more"), [(Optimize.COST, False), (Optimize.LATENCY, True)])
def test_optimizing_latency_spends_up_to_the_index(optimize, more):
    fleet = plant(rate=20, replicas=4)
    fleet.services["chat"] = service_spec(cost=replace(service_spec().cost, optimize=optimize))
    fleet.run(900)

    assert (fleet.replicas() > 4) == more


def test_keeping_the_cost_gives_up_headroom_and_then_latency():
    cost = CostObjective(
        PriceList(Decimal("0.06"), Decimal("0.06"), Decimal("0.06")), 3600, when_infeasible=WhenInfeasible.KEEP_COST
    )
    latency, kept = plant(rate=20, replicas=4, slow=1.2), plant(rate=20, replicas=4, slow=1.2)
    kept.services["chat"] = service_spec(cost=cost)
    latency.services["chat"] = service_spec(cost=replace(cost, when_infeasible=WhenInfeasible.KEEP_LATENCY))
    kept.run(2400)
    latency.run(2400)

    assert kept.replicas() < latency.replicas()
    assert kept.queues["chat"] == 0
    assert latency.decision().conditions["WithinCostTarget"].reason is Reason.COST_TARGET_UNREACHABLE


def test_a_missing_target_is_shown_and_the_others_go_on():
    fleet = plant("chat", "code", rate=30, replicas=2)
    view = fleet.view

    def half_gone(name):
        seen_view = view(name)
        if name == "code":
            gone = WorkloadMissing(ref("code-a100"), "Deployment llm/code-a100 was not found")
            return replace(seen_view, variants=(replace(seen_view.variants[0], workload=gone, pods=()),))
        return seen_view

    fleet.view = half_gone
    fleet.run(300)
    seen_view = fleet.decision("code")

    assert seen_view.reason is Reason.TARGET_NOT_FOUND
    assert seen_view.conditions["TargetFound"].verdict is Verdict.FALSE
    assert seen_view.conditions["AbleToScale"].reason is Reason.TARGET_NOT_FOUND
    assert "was not found" in seen_view.conditions["TargetFound"].message
    assert fleet.replicas("chat") > 2


def test_unknown_gpu_counts_are_never_scaled():
    fleet = plant(rate=60, replicas=2)
    fleet.deployments["chat"].gpus = 0
    fleet.run(120)

    assert fleet.actions == []
    assert fleet.decision().conditions["TargetFound"].reason is Reason.GPU_COUNT_UNKNOWN


def test_replicas_above_the_maximum_come_down():
    fleet = plant(rate=60, replicas=8)
    variants = (variant_spec(max_replicas=4),)
    fleet.services["chat"] = service_spec(variants=variants)
    fleet.deployments["chat"].spec = variants[0]
    fleet.run(120)

    assert fleet.replicas() == 4
    assert fleet.decision().reason is Reason.AT_MAXIMUM


def test_some_silent_pods_allow_only_ups():
    fleet = plant(rate=10, replicas=8)
    fleet.run(60)
    whole = fleet.metrics

    def partly():
        snapshot = whole()
        gone = min(snapshot.pods)
        return replace(snapshot, pods={key: pod for key, pod in snapshot.pods.items() if key != gone})

    fleet.metrics = partly
    fleet.run(900)

    assert fleet.replicas() == 8
    assert fleet.decision().conditions["MetricsAvailable"].reason is Reason.METRICS_STALE


def two_variants(rate, gpus=16):
    """One service on two pools; the plant's traffic goes to the cheaper one."""
    fleet = plant(rate=rate, replicas=3, gpus=gpus)
    dear = variant_spec(name="dear", pool="h100", workload=ref("chat-dear"), min_replicas=0)
    spec = service_spec(variants=(dear, variant_spec(min_replicas=0)))
    fleet.services["chat"] = spec
    fleet.pools = [pool_spec(), pool_spec("h100", accelerator="h100-sxm", price_per_gpu_hour=Decimal(30))]
    fleet.nodes = [*fleet.nodes, node("h0", 8, "h100")]
    fleet.deployments = {
        "chat": Deployment(spec.variants[1], 3, manager="kubectl"),
        "dear": Deployment(dear, 0, manager="kubectl"),
    }
    fleet.rates = {"chat": rate, "dear": 0.0}
    fleet.pods.clear()
    serving_since(fleet, START - 3600)
    view = fleet.view

    def both(name):
        fleet.services["dear"] = spec
        cheap, dearer = view("chat"), view("dear")
        del fleet.services["dear"]
        assert name == "chat"
        return ServiceView(spec, (*dearer.variants, *cheap.variants))

    fleet.view = both
    return fleet


def test_the_cheaper_variant_is_filled_first():
    fleet = two_variants(rate=30)
    fleet.run(600)

    assert fleet.replicas("chat") >= 4
    assert fleet.replicas("dear") == 0


def test_a_full_pool_sends_demand_to_the_dearer_variant():
    fleet = two_variants(rate=60, gpus=4)
    fleet.run(300)

    assert fleet.replicas("chat") == 4
    assert fleet.replicas("dear") >= 1


def test_words():
    fleet = plant(rate=20, replicas=3)
    fleet.run(600)
    decision = fleet.decision()

    assert decision.message.startswith("a100: 3 replicas")
    assert "output tokens/s per replica" in decision.message
    assert next(step.stage for step in decision.trace) == "assess"
    assert any("per_replica" in step.figures() for step in decision.trace)


def test_a_recreated_service_starts_without_memory():
    fleet = plant(rate=10, replicas=4)
    fleet.run(300)
    fleet.services["chat"] = replace(fleet.services["chat"], uid="another")
    fleet.step()

    assert fleet.memory.service(ServiceKey("llm", "chat")).uid == "another"
    assert fleet.ledger.services["llm/chat"].opened_at == fleet.now - 15.0


def test_ledger_counts_a_vanished_pods_last_tokens():
    fleet = plant(rate=10, replicas=3)
    fleet.run(120)
    before = fleet.decision().cost.finished_requests
    victim = fleet.ready("chat")[0]
    victim.finished += 500.0
    victim.deleted = fleet.now
    fleet.step()

    assert fleet.decision().cost.finished_requests - before > 500


def test_a_counter_that_restarts_is_counted_from_zero():
    fleet = plant(rate=10, replicas=3)
    fleet.run(120)
    before = fleet.decision().cost.finished_requests
    for pod in fleet.ready("chat"):
        pod.finished = pod.inputs = pod.outputs = 0.0
    fleet.step()
    gained = fleet.decision().cost.finished_requests - before

    assert gained == pytest.approx(10 * 15, rel=0.05)


def test_little_load_leaves_most_of_what_is_paid_for_idle():
    busy, idle = plant(rate=20.0, replicas=3), plant(rate=0.3, replicas=3)
    busy.run(300)
    idle.run(300)

    assert busy.decision().cost.idle_share < 0.5 < idle.decision().cost.idle_share < 1.0


@pytest.mark.parametrize(
    ("target", "rate", "objective"),
    [("0.20", 20, {"optimize": Optimize.LATENCY}), ("0.06", 40, {"when_infeasible": WhenInfeasible.KEEP_COST})],
    ids=["spent on head-room", "kept by giving up latency"],
)
def test_the_index_of_the_window_ends_at_one(target, rate, objective):
    """Whole replicas leave a part unspent: of five, one more for ten minutes of the hour is 3 %."""
    price = Decimal(target)
    cost = CostObjective(PriceList(price, price, price), 3600, **objective)
    fleet = plant(rate=rate, replicas=6)
    fleet.services["chat"] = service_spec(cost=cost)
    fleet.run(4800)

    assert 0.96 <= fleet.decision().cost.index <= 1.0
    assert fleet.queues["chat"] == 0


def test_two_targets_give_two_fleets_on_the_same_traffic():
    fleets = {}
    for target in ("0.2", "2"):
        cost = CostObjective(PriceList(*[Decimal(target)] * 3), 3600, optimize=Optimize.LATENCY)
        fleets[target] = plant(rate=20, replicas=4)
        fleets[target].services["chat"] = service_spec(cost=cost)
        fleets[target].run(600)

    assert fleets["0.2"].replicas() == 8
    assert fleets["2"].replicas() == 10  # its maximum


def test_what_the_money_decides_is_told():
    fleet = plant(rate=20, replicas=4, slow=1.2)
    price = Decimal("0.06")
    objective = CostObjective(PriceList(price, price, price), 3600, when_infeasible=WhenInfeasible.KEEP_COST)
    fleet.services["chat"] = service_spec(cost=objective)
    fleet.run(900)
    money = [step for step in fleet.decision().trace if step.stage == "money"]

    assert [step.reason for step in money] == [Reason.COST_KEPT, Reason.COST_KEPT]
    assert money[0].detail.planned_usd_per_hour < money[0].detail.asked_usd_per_hour
    assert fleet.decision().conditions["ScalingLimited"].reason is Reason.COST_KEPT
    assert "the cost target leaves" in fleet.decision().conditions["ScalingLimited"].message


def test_replicas_that_nobody_needs_say_what_they_are():
    cost = CostObjective(PriceList(*[Decimal("0.2")] * 3), 3600, optimize=Optimize.LATENCY)
    fleet = plant(rate=20, replicas=4)
    fleet.services["chat"] = service_spec(cost=cost)
    while fleet.replicas() == 4:
        fleet.step()
    decision = fleet.decision()
    money = [step for step in decision.trace if step.stage == "money"]

    assert decision.variants[0].desired > decision.variants[0].current
    assert decision.variants[0].reason is Reason.SPARE_BUDGET
    assert [step.reason for step in money] == [Reason.SPARE_BUDGET]
    assert "spends what the cost target leaves" in decision.message
