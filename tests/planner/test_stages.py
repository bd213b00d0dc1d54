"""Single stages of the planner, by tables."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import START, Deployment, node, plant, pool_spec, ref, service_spec, serving_since, spread, variant_spec

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.cost import CostFigures
from pertoken.domain.identity import PodKey, ServiceKey
from pertoken.domain.plan import Verdict
from pertoken.domain.pool import AccessRule
from pertoken.domain.reasons import Reason
from pertoken.domain.service import (
    Batching,
    Behavior,
    CostObjective,
    LatencyObjective,
    Optimize,
    PolicyType,
    PriceList,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
    WhenInfeasible,
)
from pertoken.domain.signal import LatencyKind
from pertoken.domain.world import PoolView, ServiceView, VariantView, World
from pertoken.planner.allocate.give_out import give_out
from pertoken.planner.conditions.cost import cost_condition
from pertoken.planner.explain import why
from pertoken.planner.grant import Option, PoolRequest
from pertoken.planner.hpa_rules import History, hold_back, limit_rate
from pertoken.planner.memory import EMPTY, Change, Recommendation, from_json, to_json
from pertoken.planner.pool_state import PoolState, pool_states
from pertoken.planner.stabilize import resolved
from pertoken.planner.tuning import TUNING
from pertoken.raw.codec import CodecError, decode, encode


def rules(window=0, *policies, select=SelectPolicy.MAX):
    return ScalingRules(window, policies, select)


PODS2 = ScalingPolicy(PolicyType.PODS, 2, 60)
DOWN_300 = Behavior(scale_down=ScalingRules(300, (ScalingPolicy(PolicyType.PERCENT, 100, 15),)))
HALF = ScalingPolicy(PolicyType.PERCENT, 50, 60)


@pytest.mark.parametrize(
    ("wanted", "current", "policies", "select", "changes", "expected"),
    [
        (9, 4, (PODS2, HALF), SelectPolicy.MAX, (), 6),
        (9, 10, (PODS2,), SelectPolicy.MAX, (), 9),
        (9, 4, (PODS2,), SelectPolicy.MAX, ((-10, 2),), 4),
        (9, 4, (PODS2,), SelectPolicy.MAX, ((-61, 2),), 6),
        (9, 8, (ScalingPolicy(PolicyType.PERCENT, 100, 60), PODS2), SelectPolicy.MIN, (), 9),
        (20, 8, (ScalingPolicy(PolicyType.PERCENT, 100, 60), PODS2), SelectPolicy.MIN, (), 10),
        (9, 4, (PODS2,), SelectPolicy.DISABLED, (), 4),
        (3, 0, (HALF,), SelectPolicy.MAX, (), 1),
        (9, 4, (), SelectPolicy.MAX, (), 4),
    ],
    ids=[
        "wider of two", "down is another rule", "used up", "period over", "min", "min binds", "disabled", "from zero",
        "no policy",
    ],
)  # fmt: skip
def test_scale_up_policies(wanted, current, policies, select, changes, expected):
    behavior = Behavior(rules(0, *policies, select=select), rules(0, ScalingPolicy(PolicyType.PERCENT, 100, 15)))
    history = History(0.0, (), tuple(Change(1000.0 + at, delta) for at, delta in changes))

    assert limit_rate(wanted, current, behavior, history, 1000.0).replicas == expected


@pytest.mark.parametrize(
    ("wanted", "policies", "select", "changes", "expected"),
    [
        (1, (PODS2, HALF), SelectPolicy.MAX, (), 4),
        (1, (PODS2, HALF), SelectPolicy.MIN, (), 6),
        (1, (PODS2,), SelectPolicy.MAX, ((-10, -1),), 7),
        (1, (PODS2,), SelectPolicy.DISABLED, (), 8),
        (7, (PODS2,), SelectPolicy.MAX, (), 7),
    ],
    ids=["wider of two", "narrower of two", "partly used", "disabled", "within"],
)
def test_scale_down_policies(wanted, policies, select, changes, expected):
    behavior = Behavior(rules(0, PODS2), rules(0, *policies, select=select))
    history = History(0.0, (), tuple(Change(1000.0 + at, delta) for at, delta in changes))
    found = limit_rate(wanted, 8, behavior, history, 1000.0)

    assert found.replicas == expected
    assert (found.reason is None) == (expected == wanted)


@pytest.mark.parametrize(
    ("wanted", "since", "past", "expected"),
    [
        (2, 0.0, ((-100, 4),), 4),
        (2, 0.0, ((-301, 4), (-10, 3)), 3),
        (2, 0.0, (), 2),
        (2, 800.0, (), 5),
        (2, 0.0, ((-10, 9),), 5),
        (7, 900.0, ((-10, 3),), 7),
    ],
    ids=[
        "highest of the window", "old ones are forgotten", "no history", "window not watched yet", "never up",
        "up at once",
    ],
)  # fmt: skip
def test_stabilization(wanted, since, past, expected):
    history = History(since, tuple(Recommendation(1000.0 + at, count) for at, count in past))

    assert hold_back(wanted, 5, DOWN_300, history, 1000.0).replicas == expected


@pytest.mark.parametrize(
    ("given", "lead", "proven", "window", "policy"),
    [
        (Behavior(), 170.2, True, 171, (50, 171)),
        (Behavior(), 170.2, False, 300, (50, 171)),
        (Behavior(), 600.0, False, 600, (50, 600)),
        (DOWN_300, 60.0, True, 300, (100, 15)),
    ],
    ids=["as long as a start-up", "five minutes until forecasts are proven", "slow starters", "what is said stands"],
)
def test_scaling_down_takes_its_time_from_the_start_up_unless_it_is_said(given, lead, proven, window, policy):
    found = resolved(given, lead, TUNING.stabilization, proven=proven).scale_down

    assert found.window == window
    assert [(one.value, one.period_seconds) for one in found.policies] == [policy]


def test_an_up_window_takes_the_lowest():
    behavior = replace(Behavior(), scale_up=rules(60, PODS2))
    history = History(0.0, (Recommendation(970.0, 6), Recommendation(985.0, 9)))

    assert hold_back(9, 5, behavior, history, 1000.0).replicas == 6


# -- pools -------------------------------------------------------------------------------------------------------


def state(free=(8,), spec=None, committed=None):
    return PoolState(spec or pool_spec(), sum(free), 0, {f"n{i}": n for i, n in enumerate(free)}, committed or {})


TEAM_A = AccessRule((("team", "a"),), max_gpus=4)
TEAM_B = AccessRule((("team", "b"),), guaranteed_gpus=6)


@pytest.mark.parametrize(
    ("pool", "gpus", "labels", "words"),
    [
        (state((8,)), 8, {}, ""),
        (state((4, 3)), 4, {}, ""),
        (state((3, 3)), 4, {}, "no node with 4 free GPUs (6 of 6 free)"),
        (state(spec=pool_spec(max_gpus=2), committed={-1: 2}), 1, {}, "maxGPUs 2"),
        (state(spec=pool_spec(access=(TEAM_A,)), committed={0: 3}), 2, {"team": "a"}, "may use 4 GPUs"),
        (state(spec=pool_spec(access=(TEAM_A, TEAM_B))), 4, {"team": "a"}, "guaranteed to other namespaces"),
        (state(spec=pool_spec(access=(TEAM_A, TEAM_B))), 2, {"team": "a"}, ""),
        (state(spec=pool_spec(access=(TEAM_A, TEAM_B))), 6, {"team": "b"}, ""),
    ],
    ids=[
        "all",
        "one node",
        "split",
        "ceiling",
        "namespace ceiling",
        "guarantee",
        "beside a guarantee",
        "own guarantee",
    ],
)
def test_refusals(pool, gpus, labels, words):
    rule = pool.rule_of(labels)
    found = pool.refusal(gpus, rule)

    assert words in found
    assert bool(found) == bool(words)


def test_a_namespace_without_rule_has_no_access():
    assert state(spec=pool_spec(access=(TEAM_A,))).rule_of({"team": "c"}) is None
    assert state().rule_of({}) == -1


def option(name="v", pool="a100", *, wanted=2, ceiling=9, rate=0.0):
    return Option(name, pool, 1, 0, wanted, ceiling, rate)


def request(name, *options, priority=0, labels=None):
    return PoolRequest(ServiceKey("llm", name), priority, labels or {}, options)


def granted(found, name):
    return dict(found[ServiceKey("llm", name)].replicas)


def test_what_one_pool_refuses_spills_over_to_the_next_variant():
    pools = {"a100": state((1,)), "h100": state((8,))}
    cheap, dear = option("cheap", wanted=4, rate=5.0), option("dear", "h100", wanted=0, rate=10.0)
    found = give_out([request("chat", cheap, dear)], pools)

    assert granted(found, "chat") == {"cheap": 1, "dear": 2}
    assert found[ServiceKey("llm", "chat")].shortfall == {"cheap": 3}


def test_spilling_stops_at_the_ceiling():
    pools = {"a100": state((0,)), "h100": state((8,))}
    cheap, dear = option("cheap", wanted=4, rate=5.0), option("dear", "h100", wanted=0, ceiling=1, rate=10.0)

    assert granted(give_out([request("chat", cheap, dear)], pools), "chat") == {"cheap": 0, "dear": 1}


def test_pools_that_are_missing_or_closed_give_nothing():
    closed = state(spec=pool_spec(access=(TEAM_A,)))
    found = give_out([request("chat", option("v"), option("w", "gone"))], {"a100": closed})
    refused = found[ServiceKey("llm", "chat")].refused

    assert granted(found, "chat") == {"v": 0, "w": 0}
    assert refused["v"].reason is Reason.ACCESS_DENIED
    assert "no access" in refused["v"].words
    assert "does not exist" in refused["w"].words


def test_equal_priorities_share_by_need():
    found = give_out([request("a", option(wanted=9)), request("b", option(wanted=3))], {"a100": state((8,))})

    assert granted(found, "a")["v"] + granted(found, "b")["v"] == 8
    assert granted(found, "b")["v"] in {2, 3}


def foreign(name, on=None, gpus=1, **changes):
    made = PodFact(
        PodKey("other", name), f"uid-{name}", {"nvidia.com/gpu": gpus}, node=on, bound_at=None if on is None else 1.0
    )
    return replace(made, **changes)


def world_of(nodes, pods=(), services=(), **pool):
    spec = pool_spec(**pool)
    view = PoolView(spec, tuple(found for found in nodes if spec.selects(found.labels)))
    return World(tuple(services), (view,), tuple(pods), {}, SHIPPED)


@pytest.mark.parametrize(
    ("nodes", "pods", "pool", "free"),
    [
        ([node("n", 8)], [foreign("x", "n", 3)], {}, 5),
        ([node("n", 8), node("m", 8, schedulable=False)], [], {}, 8),
        ([node("n", 8)], [foreign("x", "n", 3, deleted_at=5.0), foreign("y", "n", 2, finished=True)], {}, 8),
        ([node("n", 8)], [foreign("x", "n", 3, terminating=True)], {}, 5),
        ([node("n", 8)], [foreign("x", None, 3)], {}, 5),
        ([node("n", 8)], [foreign("x", None, 3, unschedulable_since=1.0)], {}, 8),
        ([node("n", 8)], [foreign("x", None, 9)], {}, 8),
        ([node("n", 8), node("m", 8)], [], {"capacity_gpus": 10}, 10),
        ([], [], {"capacity_gpus": 10, "node_selector": ()}, 10),
        ([NodeFact("n", {"pool": "a100"}, {"amd.com/gpu": 8})], [], {}, 0),
    ],
    ids=[
        "others' pods count", "cordoned nodes do not", "gone pods do not", "terminating pods do", "waiting pods will",
        "hopeless pods do not", "too large pods do not", "fixed capacity below the nodes'", "no nodes",
        "other resource",
    ],
)  # fmt: skip
def test_free_gpus(nodes, pods, pool, free):
    found = pool_states(world_of(nodes, pods, **pool))["a100"]

    assert sum(found.free.values()) == free


def owned(replicas, pods, gpus=1):
    workload = WorkloadFact(ref("chat-a100"), "u", replicas, gpus)
    return ServiceView(service_spec(), (VariantView(variant_spec(), workload, tuple(pods)),))


def test_promised_and_pending_replicas_keep_their_room():
    pending = foreign("p", None, 2)
    found = pool_states(world_of([node("n", 8)], [], [owned(3, [pending, foreign("q", "n", 2)], gpus=2)]))["a100"]

    assert sum(found.free.values()) == 2
    assert (found.pending, found.held, found.used) == (2, 2, 2)
    figures = found.figures()
    assert (figures.total, figures.free, figures.placeable) == (8, 6, 2)
    assert figures.spend_per_hour_usd == 4.0


def test_a_pool_without_nodes_counts_its_own_pods():
    found = pool_states(world_of([], [], [owned(1, [foreign("q", "n", 2)])], capacity_gpus=8, node_selector=()))["a100"]

    assert (found.used, sum(found.free.values())) == (2, 6)


# -- money and latency -------------------------------------------------------------------------------------------

OBJECTIVE = CostObjective(PriceList(Decimal(1), Decimal(1), Decimal(1)))
REACHABLE = {"reachable": 0.5, "reachable_index": 0.5}
OUT_OF_REACH = {"reachable": 1.2, "reachable_index": 1.2}
INF = float("inf")
FORTY = LatencyObjective(None, 0.04)


@pytest.mark.parametrize(
    ("objective", "figures", "priced", "verdict", "reason"),
    [
        (None, {}, True, Verdict.UNKNOWN, Reason.NO_COST_TARGET),
        (OBJECTIVE, {}, False, Verdict.UNKNOWN, Reason.NO_PRICE),
        (OBJECTIVE, {"finished_requests": 3.0}, True, Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC),
        (OBJECTIVE, {"index": 0.9}, True, Verdict.TRUE, Reason.WITHIN_COST_TARGET),
        (OBJECTIVE, {"index": 1.0}, True, Verdict.TRUE, Reason.WITHIN_COST_TARGET),
        (OBJECTIVE, {"index": 1.4}, True, Verdict.FALSE, Reason.COST_ABOVE_TARGET),
        (OBJECTIVE, {"index": 1.4, **REACHABLE}, True, Verdict.FALSE, Reason.COST_ABOVE_TARGET),
        (OBJECTIVE, {"index": 1.4, **OUT_OF_REACH}, True, Verdict.FALSE, Reason.COST_TARGET_UNREACHABLE),
    ],
)
def test_cost_judgements(objective, figures, priced, verdict, reason):
    found = cost_condition(objective, CostFigures(**{"finished_requests": 100.0, **figures}), priced, 20)

    assert (found.verdict, found.reason) == (verdict, reason)


def test_an_unreachable_cost_names_what_is_reachable():
    figures = CostFigures(index=1.4, finished_requests=100.0, reachable=1.2, reachable_index=1.25)

    assert "1.200 USD per 1M tokens (index 1.25)" in cost_condition(OBJECTIVE, figures, priced=True, enough=20).message


def latency_of(edges, mean, latency):
    made = plant(rate=10, replicas=3)
    made.services["chat"] = replace(made.services["chat"], latency=latency)
    made.run(120)
    histograms = {LatencyKind.TIME_PER_OUTPUT_TOKEN: spread(mean, 5.0, edges=edges)} if edges else {}
    made.histograms = lambda _pod: histograms
    made.run(30)
    return made.decision().judgements["WithinLatencyTarget"]


@pytest.mark.parametrize(
    ("edges", "mean", "latency", "verdict", "reason"),
    [
        ((0.01, 0.04, 0.1, INF), 0.02, FORTY, Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET),
        ((0.01, 0.04, 0.1, INF), 0.06, FORTY, Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET),
        ((0.01, 0.025, 0.05, INF), 0.035, FORTY, Verdict.UNKNOWN, Reason.LATENCY_UNDECIDED),
        ((0.01, 0.025, 1.0, INF), 0.3, FORTY, Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET),
        ((), 0.0, FORTY, Verdict.UNKNOWN, Reason.NO_TRAFFIC),
        ((0.01, 0.04, 0.1, INF), 0.0, FORTY, Verdict.UNKNOWN, Reason.NO_TRAFFIC),
        ((0.01, 0.04, INF), 0.02, LatencyObjective(), Verdict.UNKNOWN, Reason.NO_LATENCY_TARGET),
    ],
    ids=["within", "above", "inside a bucket", "inside a bucket but far", "no histogram", "no events", "no objective"],
)  # fmt: skip
def test_latency_judgements(edges, mean, latency, verdict, reason):
    found = latency_of(edges, mean, latency)

    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_pool_without_price_still_scales():
    made = plant(rate=30, replicas=2)
    made.pools = [pool_spec(price_per_gpu_hour=None)]
    made.run(600)

    assert made.replicas() > 2
    assert made.decision().judgements["WithinCostTarget"].reason is Reason.NO_PRICE
    assert made.decision().cost.bill_usd is None
    assert made.last.pools[0].spend_per_hour_usd is None


def test_a_spend_ceiling_limits_and_is_named():
    made = plant(rate=60, replicas=2)
    made.services["chat"] = service_spec(cost=replace(service_spec().cost, max_spend_per_hour=Decimal(8)))
    made.run(300)

    assert made.replicas() == 4
    assert made.decision().limited_by in {Reason.SPEND_CAPPED, Reason.SCALE_UP_LIMITED}
    assert "maxSpendPerHour 8" in made.decision().message


@pytest.mark.parametrize(("optimize", "more"), [(Optimize.COST, False), (Optimize.LATENCY, True)])
def test_optimizing_latency_spends_up_to_the_index(optimize, more):
    made = plant(rate=20, replicas=4)
    made.services["chat"] = service_spec(cost=replace(service_spec().cost, optimize=optimize))
    made.run(900)

    assert (made.replicas() > 4) == more


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
    assert latency.decision().judgements["WithinCostTarget"].reason is Reason.COST_TARGET_UNREACHABLE


# -- other facts -------------------------------------------------------------------------------------------------


def test_a_missing_target_is_shown_and_the_others_go_on():
    made = plant("chat", "code", rate=30, replicas=2)
    view = made.view

    def half_gone(name):
        found = view(name)
        if name == "code":
            gone = WorkloadMissing(ref("code-a100"), "Deployment llm/code-a100 was not found")
            return replace(found, variants=(replace(found.variants[0], workload=gone, pods=()),))
        return found

    made.view = half_gone
    made.run(300)
    found = made.decision("code")

    assert found.reason is Reason.TARGET_NOT_FOUND
    assert found.judgements["TargetFound"].verdict is Verdict.FALSE
    assert found.judgements["AbleToScale"].reason is Reason.TARGET_NOT_FOUND
    assert "was not found" in found.judgements["TargetFound"].message
    assert made.replicas("chat") > 2


def test_unknown_gpu_counts_are_never_scaled():
    made = plant(rate=60, replicas=2)
    made.deployments["chat"].gpus = 0
    made.run(120)

    assert made.actions == []
    assert made.decision().judgements["TargetFound"].reason is Reason.GPU_COUNT_UNKNOWN


def test_a_metrics_profile_that_does_not_exist_holds():
    made = plant(rate=60, replicas=2)
    made.services["chat"] = service_spec(metrics_profile="none")
    made.run(60)

    assert made.actions == []
    assert "no metrics profile 'none'" in made.decision().judgements["MetricsAvailable"].message


@pytest.mark.parametrize("least", [0, 2])
def test_a_minimum_is_reached_even_without_metrics(least):
    made = plant(rate=5, replicas=0)
    variants = (variant_spec(min_replicas=least),)
    made.services["chat"] = service_spec(variants=variants, min_replicas=2)
    made.deployments["chat"].spec = variants[0]
    made.outage = True
    made.run(60)

    assert made.replicas() == 2


def test_replicas_above_the_maximum_come_down():
    made = plant(rate=60, replicas=8)
    variants = (variant_spec(max_replicas=4),)
    made.services["chat"] = service_spec(variants=variants)
    made.deployments["chat"].spec = variants[0]
    made.run(120)

    assert made.replicas() == 4
    assert made.decision().reason is Reason.AT_MAXIMUM


def test_some_silent_pods_allow_only_ups():
    made = plant(rate=10, replicas=8)
    made.run(60)
    whole = made.metrics

    def partly():
        found = whole()
        gone = min(found.pods)
        return replace(found, pods={key: pod for key, pod in found.pods.items() if key != gone})

    made.metrics = partly
    made.run(900)

    assert made.replicas() == 8
    assert made.decision().judgements["MetricsAvailable"].reason is Reason.METRICS_STALE


def two_variants(rate, gpus=16):
    """One service on two pools; the plant's traffic goes to the cheaper one."""
    made = plant(rate=rate, replicas=3, gpus=gpus)
    dear = variant_spec(name="dear", pool="h100", workload=ref("chat-dear"), min_replicas=0)
    spec = service_spec(variants=(dear, variant_spec(min_replicas=0)))
    made.services["chat"] = spec
    made.pools = [pool_spec(), pool_spec("h100", accelerator="h100-sxm", price_per_gpu_hour=Decimal(30))]
    made.nodes = [*made.nodes, node("h0", 8, "h100")]
    made.deployments = {
        "chat": Deployment(spec.variants[1], 3, manager="kubectl"),
        "dear": Deployment(dear, 0, manager="kubectl"),
    }
    made.rates = {"chat": rate, "dear": 0.0}
    made.pods.clear()
    serving_since(made, START - 3600)
    view = made.view

    def both(name):
        made.services["dear"] = spec
        cheap, dearer = view("chat"), view("dear")
        del made.services["dear"]
        assert name == "chat"
        return ServiceView(spec, (*dearer.variants, *cheap.variants))

    made.view = both
    return made


def test_the_cheaper_variant_is_filled_first():
    made = two_variants(rate=30)
    made.run(600)

    assert made.replicas("chat") >= 4
    assert made.replicas("dear") == 0


def test_a_full_pool_sends_demand_to_the_dearer_variant():
    made = two_variants(rate=60, gpus=4)
    made.run(300)

    assert made.replicas("chat") == 4
    assert made.replicas("dear") >= 1


def test_words():
    made = plant(rate=20, replicas=3)
    made.run(600)
    decision = made.decision()

    assert decision.message.startswith("a100: 3 replicas")
    assert "output tokens/s per replica" in decision.message
    assert next(step.stage for step in decision.trace) == "assess"
    assert any("per_replica" in step.figures() for step in decision.trace)
    assert why(Reason.POOLS_OVERLAP) == "PoolsOverlap"


# -- memory ------------------------------------------------------------------------------------------------------


def test_the_empty_memory_round_trips():
    assert from_json(to_json(EMPTY)) == EMPTY


@pytest.mark.parametrize("data", [None, {}, [], [{}, {"p": 3}, None], [{"s": [1]}, {}, None], [[], {}, None]])
def test_what_is_no_memory_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        from_json(data)


def test_values_of_other_types_are_not_encoded():
    with pytest.raises(CodecError):
        encode(object())


def test_decimals_keep_their_digits():
    assert decode(Decimal, encode(Decimal("1.2300000000000000000000000001"))) == Decimal(
        "1.2300000000000000000000000001"
    )
    with pytest.raises(CodecError):
        decode(Decimal, "abc")


def test_a_recreated_service_starts_without_memory():
    made = plant(rate=10, replicas=4)
    made.run(300)
    made.services["chat"] = replace(made.services["chat"], uid="another")
    made.step()

    assert made.memory.service(ServiceKey("llm", "chat")).uid == "another"
    assert made.ledger.services["llm/chat"].opened_at == made.now - 15.0


def test_ledger_counts_a_vanished_pods_last_tokens():
    made = plant(rate=10, replicas=3)
    made.run(120)
    before = made.decision().cost.finished_requests
    victim = made.ready("chat")[0]
    victim.finished += 500.0
    victim.deleted = made.now
    made.step()

    assert made.decision().cost.finished_requests - before > 500


def test_a_counter_that_restarts_is_counted_from_zero():
    made = plant(rate=10, replicas=3)
    made.run(120)
    before = made.decision().cost.finished_requests
    for pod in made.ready("chat"):
        pod.finished = pod.inputs = pod.outputs = 0.0
    made.step()
    gained = made.decision().cost.finished_requests - before

    assert gained == pytest.approx(10 * 15, rel=0.05)


def test_an_empty_ledger_has_no_idle_share():
    made = plant(rate=0.3, replicas=3)
    made.step()
    assert made.decision().cost.idle_share is None
    made.run(300)
    assert 0.0 < made.decision().cost.idle_share < 1.0


def test_batching_bounds_are_respected():
    made = plant(rate=15, replicas=3, gpus=3, cap=256, slow=1.18)
    variants = (variant_spec(batching=Batching(min_sequences=96, max_sequences=128)),)
    made.services["chat"] = service_spec(variants=variants)
    made.deployments["chat"].spec = variants[0]
    made.run(900)

    assert made.deployments["chat"].cap.value in range(96, 129)
