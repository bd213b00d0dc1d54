"""Stage `conditions`: what the service's status says of the decision."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import pool_spec, ref, spread, variant_spec
from states import H100, NOW, Variant, pod, pool_state, proposal, service_state, settlement

from pertoken.domain.cluster import WorkloadMissing
from pertoken.domain.cost import NO_FIGURES, CostFigures, no_account
from pertoken.domain.needs import Lack
from pertoken.domain.placement import PlacementRules
from pertoken.domain.plan import Verdict
from pertoken.domain.pool import AccessRule
from pertoken.domain.reasons import Reason
from pertoken.domain.service import CostObjective, EngineKind, LatencyObjective, ModelSpec, PriceList
from pertoken.domain.signal import LatencyKind
from pertoken.domain.trace import Fault, Limit, Told
from pertoken.planner.assessment import Grade
from pertoken.planner.conditions.cost import cost_condition, cost_figures
from pertoken.planner.conditions.latency import latency_condition, latency_figures
from pertoken.planner.conditions.scaling import limits_of
from pertoken.planner.conditions.shortfall import shortfalls
from pertoken.planner.conditions.stage import conditions
from pertoken.planner.needs import Purpose
from pertoken.planner.proposal import Stance, Status, step
from pertoken.planner.size.stage import size

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


def measured(edges, mean, latency, rate=5.0):
    """A state whose pods tell this distribution of the time per token."""
    state = service_state(Variant(rate=rate), latency=latency)
    told = {LatencyKind.TIME_PER_OUTPUT_TOKEN: spread(mean, rate, edges=edges)} if edges else {}
    histogram = told.get(LatencyKind.TIME_PER_OUTPUT_TOKEN)
    evidence = replace(state.inter_token, all_pods=histogram, warmed_up=histogram)
    return replace(state, inter_token=evidence)


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
)
def test_latency_judgements(edges, mean, latency, verdict, reason):
    found = latency_condition(measured(edges, mean, latency), ())

    assert (found.verdict, found.reason) == (verdict, reason)


def test_an_objective_that_no_number_of_replicas_keeps_is_named():
    asked = size(proposal(Variant(latency={"inter_token": 0.02}), latency=LatencyObjective(None, 0.005)))
    found = latency_condition(asked.state, asked.variants)

    assert found.reason is Reason.LATENCY_TARGET_UNREACHABLE
    assert "the objective is 5 ms: no number of replicas reaches it" in found.message


def test_of_two_objectives_the_worse_one_is_told():
    state = service_state(Variant(latency={"ttft": 5.0}))
    figures = latency_figures(state)

    assert latency_condition(state, ()).message.startswith("p95 time to first token")
    assert figures.ttft_low <= figures.ttft <= figures.ttft_high
    assert figures.percentile == 95


# -- the stage ---------------------------------------------------------------------------------------------------


def judged(*variants, grant=None, pools=None, **work):
    asked = proposal(*variants, **work)
    return conditions(settlement(asked, pools=pools) if grant is None else settlement(asked, grant, pools))


def told(found, kind):
    judgement = found.judgements[kind]
    return judgement.verdict, judgement.reason


QUIET = {
    "TargetFound": (Verdict.TRUE, Reason.TARGET_FOUND),
    "MetricsAvailable": (Verdict.TRUE, Reason.METRICS_FRESH),
    "AbleToScale": (Verdict.TRUE, Reason.AT_DESIRED),
    "ScalingLimited": (Verdict.FALSE, Reason.UNLIMITED),
    "WithinLatencyTarget": (Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET),
    "Paused": (Verdict.FALSE, Reason.NOT_PAUSED),
    "Conflicted": (Verdict.FALSE, Reason.NOT_CONFLICTED),
}


def test_a_quiet_day():
    found = judged(account=replace(no_account(""), figures=NO_FIGURES, priced=True))

    assert {kind: told(found, kind) for kind in QUIET} == QUIET
    assert told(found, "WithinCostTarget") == (Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC)
    assert "Accepted" not in found.judgements
    assert found.trace == settlement().trace


@pytest.mark.parametrize(
    ("work", "kind", "verdict", "reason", "words"),
    [
        ({"paused": True}, "Paused", Verdict.TRUE, Reason.PAUSED, "paused by annotation"),
        (
            {"stance": Stance(conflict=Reason.FOREIGN_AUTOSCALER, conflict_words="an HPA scales it")},
            "Conflicted",
            Verdict.TRUE,
            Reason.FOREIGN_AUTOSCALER,
            "an HPA scales it; pertoken keeps its hands off",
        ),
        (
            {"view": {"left_behind": ("Deployment llm/chat-old",)}},
            "TargetFound",
            Verdict.TRUE,
            Reason.WORKLOAD_LEFT_BEHIND,
            "to be deleted: Deployment llm/chat-old",
        ),
        ({"wants": [4]}, "AbleToScale", Verdict.TRUE, Reason.READY_FOR_SCALE, "2 -> 4 replicas"),
        (
            {"status": Status.BLOCKED},
            "AbleToScale",
            Verdict.FALSE,
            Reason.AT_DESIRED,
            "variant a100 stays at 2 replicas",
        ),
        (
            {"model": ModelSpec("nobody/knows-7b", "chat")},
            "Accepted",
            Verdict.TRUE,
            Reason.UNKNOWN_MODEL,
            "config.json",
        ),
    ],
    ids=["paused", "conflict", "left behind", "moves", "cannot move", "unknown model"],
)
def test_what_is_told_of_a_service(work, kind, verdict, reason, words):
    found = judged(**work)

    assert told(found, kind) == (verdict, reason)
    assert words in found.judgements[kind].message


def test_what_is_held_by_the_window_is_no_fault():
    held = settlement()
    held = held.with_variants([replace(held.variants[0], reason=Reason.STABILIZED)])

    assert told(conditions(held), "AbleToScale") == (Verdict.TRUE, Reason.STABILIZED)


def test_unknown_gpus_and_missing_targets():
    unknown = judged(Variant(workload={"gpus_per_replica": 0}))
    gone = WorkloadMissing(ref("chat-a100"), "Deployment llm/chat-a100 was not found")
    missing = judged(Variant(workload=gone))
    beside = judged(Variant(workload=gone), Variant(variant_spec(name="b")))

    assert told(unknown, "TargetFound") == (Verdict.FALSE, Reason.GPU_COUNT_UNKNOWN)
    assert told(missing, "TargetFound") == told(missing, "AbleToScale") == (Verdict.FALSE, Reason.TARGET_NOT_FOUND)
    assert "was not found" in missing.judgements["TargetFound"].message
    assert told(beside, "AbleToScale") == (Verdict.TRUE, Reason.AT_DESIRED)


def test_a_generic_engine_needs_no_model_and_a_gpu_may_be_unknown():
    model = ModelSpec("nobody/knows-7b", "chat")
    unknown = judged(Variant(pool={"accelerator": "abacus"}))

    assert "Accepted" not in judged(Variant(variant_spec(engine=EngineKind.GENERIC)), model=model).judgements
    assert told(unknown, "Accepted") == (Verdict.TRUE, Reason.UNKNOWN_ACCELERATOR)
    assert isinstance(unknown.trace[-2].detail, Told) or isinstance(unknown.trace[-1].detail, Told)


@pytest.mark.parametrize(
    ("pods", "memory", "reason", "overdue"),
    [
        ([pod()], {}, Reason.WAITING_FOR_PODS, False),
        ([pod(), pod("a100-1", served=None)], {}, Reason.WAITING_FOR_PODS, False),
        ([pod(), pod("a100-1", served=None, crashed=True)], {}, Reason.PODS_CRASHING, True),
        ([pod(), pod("a100-1", served=None, bound_at=None)], {}, Reason.WAITING_FOR_PODS, False),
        ([pod(), pod("a100-1", served=None, bound_at=None, created_at=NOW - 301.0)], {}, Reason.PODS_PENDING, True),
        ([pod(), pod("a100-1", served=None, bound_at=NOW - 600.0)], {}, Reason.WAITING_FOR_PODS, False),
        ([pod(), pod("a100-1", served=None, bound_at=NOW - 601.0)], {}, Reason.PODS_NOT_READY, True),
        (
            [pod(), pod("a100-1", served=None, bound_at=NOW - 181.0)],
            {"start_seconds": 60.0},
            Reason.PODS_NOT_READY,
            True,
        ),
        (
            [pod(), pod("a100-1", served=None, bound_at=NOW - 119.0)],
            {"start_seconds": 5.0},
            Reason.WAITING_FOR_PODS,
            False,
        ),
    ],
    ids=[
        "no pod yet",
        "starting",
        "crashes",
        "no node yet",
        "no node for long",
        "loads",
        "loads for too long",
        "longer than usual",
        "two minutes at least",
    ],
)
def test_replicas_that_do_not_run(pods, memory, reason, overdue):
    variant = Variant(pods=pods, memory=replace(Variant().memory, **memory))
    (found,) = shortfalls(service_state(variant))

    assert (found.asked, found.running, found.reason, found.overdue) == (2, 1, reason, overdue)
    steps = [one for one in judged(variant).trace if one.stage == "running"]
    assert len(steps) == overdue


def test_the_worst_of_several_variants_comes_first():
    late = Variant(replicas=1, pods=[pod(served=None, bound_at=NOW - 999.0)])
    crashed = Variant(variant_spec(name="b"), replicas=1, pods=[pod("b-0", served=None, crashed=True)])

    assert [short.reason for short in shortfalls(service_state(late, crashed))] == [
        Reason.PODS_CRASHING,
        Reason.PODS_NOT_READY,
    ]


def test_nothing_that_serves_is_not_known_to_work():
    assert told(judged(Variant(ready=0)), "AbleToScale") == (Verdict.UNKNOWN, Reason.WAITING_FOR_PODS)
    assert told(judged(Variant(ready=1)), "AbleToScale") == (Verdict.TRUE, Reason.WAITING_FOR_PODS)


def test_what_the_pools_keep_back_binds_the_most():
    trace = (
        step("stabilize", (2, 3), Reason.SCALE_UP_LIMITED, Limit("the policy")),
        step("size", (2, 4), Reason.DEMAND_ROSE),
        step("allocate", (4, 3), Reason.POOL_EXHAUSTED, Limit("no room")),
    )

    assert limits_of(trace) == [(Reason.POOL_EXHAUSTED, "no room"), (Reason.SCALE_UP_LIMITED, "the policy")]
    found = conditions(settlement().noting(*trace))
    assert told(found, "ScalingLimited") == (Verdict.TRUE, Reason.POOL_EXHAUSTED)
    assert found.judgements["ScalingLimited"].message == "no room; the policy"


def test_remarks_and_doubts_about_places():
    doubtful = Variant(workload={"placement": PlacementRules(unknown=("affinity to other pods",))})
    access = {"a100": pool_state(access=(AccessRule((), max_priority=1),))}
    found = judged(doubtful)
    lowered = judged(priority=5, pools=access)

    assert "where pods of a100 fit is not known" in found.judgements["ScalingLimited"].message
    assert [one.reason for one in found.trace if one.stage == "place"] == [Reason.PLACEMENT_UNKNOWN]
    assert "priority 5 counts as 1 in pool a100" in lowered.judgements["ScalingLimited"].message


@pytest.mark.parametrize(
    ("account", "lacks", "reason"),
    [
        (no_account("ZeroDivisionError"), {}, Reason.ACCOUNTING_FAILED),
        (
            replace(no_account(""), priced=True),
            {Purpose.COST: (Lack("finished requests", ("a",)),)},
            Reason.METRICS_FRESH,
        ),
        (no_account(""), {Purpose.COST: (Lack("finished requests", ("a",)),)}, Reason.NO_PRICE),
        (replace(no_account(""), priced=True), {}, Reason.INSUFFICIENT_TRAFFIC),
    ],
    ids=["the account failed", "tokens are not told", "no price", "little traffic"],
)
def test_no_index_is_made_of_what_is_not_known(account, lacks, reason):
    asked = proposal(account=account, grade=Grade.NORMAL)
    found = conditions(settlement(replace(asked, assessment=replace(asked.assessment, lacks=lacks))))

    assert told(found, "WithinCostTarget") == (Verdict.UNKNOWN, reason)
    faults = [one.detail for one in found.trace if isinstance(one.detail, Fault)]
    assert faults == ([Fault("ZeroDivisionError")] if account.fault else [])


def test_figures_of_money_come_from_the_cheapest():
    dear = Variant(variant_spec(name="dear", pool="h100"), pool=H100)
    asked = size(proposal(Variant(), dear))
    both, alone = cost_figures(asked.state, asked.variants), cost_figures(service_state(dear), ())

    assert both.reachable < alone.reachable
    assert both.marginal > 0.0
    assert alone.marginal is None
    free = proposal(Variant(pool={"price_per_gpu_hour": None}))
    assert cost_figures(free.state, free.variants).reachable is None
    assert pool_spec().price_per_gpu_hour == Decimal("2.00")
