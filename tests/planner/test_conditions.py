"""Stage `conditions`: what the service's status says of the decision."""

from dataclasses import replace

import pytest
from lab import ref, variant_spec
from states import NOW, Variant, pod, pool_state, proposal, service_state, settlement

from pertoken.domain.cluster import WorkloadMissing
from pertoken.domain.cost import NO_FIGURES, no_account
from pertoken.domain.needs import Lack
from pertoken.domain.placement import PlacementRules
from pertoken.domain.plan import Verdict
from pertoken.domain.pool import AccessRule
from pertoken.domain.reasons import Reason
from pertoken.domain.service import EngineKind, ModelSpec
from pertoken.domain.trace import Fault, Limit
from pertoken.planner.assessment import Grade
from pertoken.planner.conditions.scaling import limits_of
from pertoken.planner.conditions.shortfall import shortfalls
from pertoken.planner.conditions.stage import conditions
from pertoken.planner.needs import Purpose
from pertoken.planner.proposal import Stance, Status, step


def judged(*variants, grant=None, pools=None, **work):
    asked = proposal(*variants, **work)
    return conditions(settlement(asked, pools=pools) if grant is None else settlement(asked, grant, pools))


def told(settled, kind):
    condition = settled.conditions[kind]
    return condition.verdict, condition.reason


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
    settled = judged(account=replace(no_account(""), figures=NO_FIGURES, priced=True))

    assert {kind: told(settled, kind) for kind in QUIET} == QUIET
    assert told(settled, "WithinCostTarget") == (Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC)
    assert "Accepted" not in settled.conditions
    assert settled.trace == settlement().trace


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
    settled = judged(**work)

    assert told(settled, kind) == (verdict, reason)
    assert words in settled.conditions[kind].message


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
    assert "was not found" in missing.conditions["TargetFound"].message
    assert told(beside, "AbleToScale") == (Verdict.TRUE, Reason.AT_DESIRED)


def test_a_generic_engine_needs_no_model_and_a_gpu_may_be_unknown():
    model = ModelSpec("nobody/knows-7b", "chat")
    unknown = judged(Variant(pool={"accelerator": "abacus"}))

    assert "Accepted" not in judged(Variant(variant_spec(engine=EngineKind.GENERIC)), model=model).conditions
    assert told(unknown, "Accepted") == (Verdict.TRUE, Reason.UNKNOWN_ACCELERATOR)
    assert [step.after for step in unknown.trace if step.stage == "catalog"] == ["unknown"]


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
    (shortfall,) = shortfalls(service_state(variant))

    assert (shortfall.asked, shortfall.running, shortfall.reason, shortfall.overdue) == (2, 1, reason, overdue)
    steps = [step for step in judged(variant).trace if step.stage == "running"]
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
    shown = conditions(settlement().noting(*trace))
    assert told(shown, "ScalingLimited") == (Verdict.TRUE, Reason.POOL_EXHAUSTED)
    assert shown.conditions["ScalingLimited"].message == "no room; the policy"


def test_remarks_and_doubts_about_places():
    doubtful = Variant(workload={"placement": PlacementRules(unknown=("affinity to other pods",))})
    access = {"a100": pool_state(access=(AccessRule((), max_priority=1),))}
    settled = judged(doubtful)
    lowered = judged(priority=5, pools=access)

    assert "where pods of a100 fit is not known" in settled.conditions["ScalingLimited"].message
    assert [step.reason for step in settled.trace if step.stage == "place"] == [Reason.PLACEMENT_UNKNOWN]
    assert "priority 5 counts as 1 in pool a100" in lowered.conditions["ScalingLimited"].message


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
    shown = conditions(settlement(replace(asked, assessment=replace(asked.assessment, lacks=lacks))))

    assert told(shown, "WithinCostTarget") == (Verdict.UNKNOWN, reason)
    faults = [step.detail for step in shown.trace if isinstance(step.detail, Fault)]
    assert faults == ([Fault("ZeroDivisionError")] if account.fault else [])
