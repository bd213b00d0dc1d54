"""Stage `constrain`: spend, bounds, what the workload's state forbids, and pods to give up."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import service_spec, variant_spec
from states import H100, NOW, Variant, pod, proposal

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit
from pertoken.planner.assessment import Grade
from pertoken.planner.constrain.spend import spend_limit
from pertoken.planner.constrain.stage import constrain
from pertoken.planner.memory import Roll, VariantMemory
from pertoken.planner.proposal import Stance, Status

FOUR = variant_spec(max_replicas=4)
ZERO = variant_spec(min_replicas=0)
DEAR = variant_spec(name="dear", pool="h100", min_replicas=0)
TAKEN = Stance(conflict=Reason.CONFLICTING_MANAGER, conflict_words="argocd took back 3 changes")
OFF = Stance(Reason.SWITCHED_OFF, off=True)


def capped(usd):
    return replace(service_spec().cost, max_spend_per_hour=Decimal(usd))


def constrained(variant, wants, **work):
    bounded = constrain(proposal(variant, wants=[wants], **work))
    only = bounded.variants[0]
    return only.replicas, only.reason, only.status, [step.detail for step in bounded.trace]


def waiting_pods(serving, waiting, seconds=3600.0):
    """Pods that serve, and pods that the scheduler has refused for `seconds`."""
    refused = {"node": None, "bound_at": None, "unschedulable_since": NOW - seconds}
    return [
        *(pod(f"a100-{index}") for index in range(serving)),
        *(pod(f"a100-{serving + index}", served=None, **refused) for index in range(waiting)),
    ]


@pytest.mark.parametrize(
    ("usd", "wants", "left"),
    [(8, [6, 0], [4, 0]), (8, [4, 1], [4, 0]), (40, [4, 2], [4, 1]), (1, [4, 2], [1, 0]), (100, [4, 2], [4, 2])],
    ids=["one variant", "the dear one goes first", "both", "minimums stand", "within"],
)
def test_a_ceiling_on_spend(usd, wants, left):
    variants = Variant(), Variant(DEAR, replicas=0, pool=H100)
    limited = spend_limit(proposal(*variants, wants=wants, cost=capped(usd)))
    cut = sum(wants) - sum(left)

    assert [variant.replicas for variant in limited.variants] == left
    assert [step.detail for step in limited.trace] == (
        [Limit(f"maxSpendPerHour {usd} USD leaves out {cut} replicas")] if cut else []
    )
    assert [variant.reason for variant in limited.variants if variant.replicas not in wants] == [
        Reason.SPEND_CAPPED for count in left if count not in wants
    ]


@pytest.mark.parametrize("spec", [{"cost": None}, {}, {"price_per_gpu_hour": None}], ids=["none", "no cap", "no price"])
def test_without_a_ceiling_or_a_price_nothing_is_capped(spec):
    pool = spec if "price_per_gpu_hour" in spec else {}
    cost = {"cost": capped(1)} if pool else spec
    asked = proposal(Variant(pool=pool), wants=[9], **cost)

    assert spend_limit(asked).variants == asked.variants


@pytest.mark.parametrize(
    ("variant", "wants", "count", "reason"),
    [
        (Variant(FOUR), 4, 4, Reason.AT_DESIRED),
        (Variant(FOUR), 9, 4, Reason.AT_MAXIMUM),
        (Variant(FOUR, replicas=6), 6, 6, Reason.AT_DESIRED),
        (Variant(variant_spec(min_replicas=2), replicas=4), 1, 2, Reason.AT_MINIMUM),
    ],
    ids=["at it", "above the maximum", "a lowered maximum is the pace's to reach", "below the minimum"],
)
def test_bounds_of_a_variant(variant, wants, count, reason):
    assert constrained(variant, wants)[:2] == (count, reason)


def test_a_maximum_that_binds_is_told():
    assert constrained(Variant(FOUR), 9)[3] == [Limit("maxReplicas of a100 is 4, 9 are needed")]


@pytest.mark.parametrize(
    ("wants", "least", "left"),
    [([0, 0], 3, [3, 0]), ([1, 1], 2, [1, 1]), ([0, 0], 6, [4, 2]), ([0, 0], 0, [0, 0])],
    ids=["cheapest first", "there already", "beyond a maximum", "none"],
)
def test_the_services_minimum(wants, least, left):
    variants = Variant(replace(FOUR, min_replicas=0)), Variant(DEAR, pool=H100)
    bounded = constrain(proposal(*variants, wants=wants, min_replicas=least))

    assert [variant.replicas for variant in bounded.variants] == left


@pytest.mark.parametrize(
    ("work", "count"),
    [({}, 2), ({"status": Status.IDLE}, 0), ({"stance": OFF}, 0), ({"grade": Grade.HOLD}, 2)],
    ids=["planned", "idle", "off", "without metrics"],
)
def test_when_the_services_minimum_is_kept(work, count):
    assert constrained(Variant(ZERO, replicas=0), 0, min_replicas=2, **work)[0] == count


@pytest.mark.parametrize(("variant_least", "service_least"), [(0, 2), (2, 0), (2, 2)])
def test_a_minimum_is_reached_even_without_metrics(variant_least, service_least):
    variant = Variant(variant_spec(min_replicas=variant_least), replicas=0)

    assert constrained(variant, 0, min_replicas=service_least, grade=Grade.HOLD)[0] == 2


@pytest.mark.parametrize("most", [1, 4])
def test_without_metrics_nothing_falls(most):
    variant = Variant(variant_spec(max_replicas=most), replicas=3)

    assert constrained(variant, 3, grade=Grade.HOLD, status=Status.HELD, cost=capped(1))[0] == 3


@pytest.mark.parametrize(
    ("workload", "work", "wants", "count", "reason", "status"),
    [
        ({}, {"stance": TAKEN}, 6, 2, Reason.CONFLICTING_MANAGER, Status.HANDS_OFF),
        ({"gpus_per_replica": 0}, {}, 6, 2, Reason.GPU_COUNT_UNKNOWN, Status.BLOCKED),
        ({"gpus_per_replica": 0}, {}, 1, 2, Reason.GPU_COUNT_UNKNOWN, Status.BLOCKED),
        ({"settled": False}, {}, 6, 2, Reason.ROLLOUT_IN_PROGRESS, Status.BLOCKED),
        ({"settled": False}, {}, 1, 2, Reason.ROLLOUT_IN_PROGRESS, Status.BLOCKED),
        ({"settled": False}, {}, 2, 2, Reason.AT_DESIRED, Status.FREE),
    ],
    ids=["another manager", "unknown GPUs", "unknown GPUs, fewer", "rollout", "rollout, fewer", "rollout, as it is"],
)
def test_what_the_workload_forbids(workload, work, wants, count, reason, status):
    assert constrained(Variant(workload=workload), wants, **work)[:3] == (count, reason, status)


@pytest.mark.parametrize(
    ("wants", "status", "count", "reason"),
    [
        (6, Status.FREE, 3, Reason.REPLICA_FAILURE),
        (2, Status.FREE, 3, Reason.REPLICA_FAILURE),
        (1, Status.FREE, 1, Reason.AT_DESIRED),
        (0, Status.IDLE, 0, Reason.AT_DESIRED),
    ],
    ids=["more", "as many as exist", "fewer", "idle"],
)
def test_more_is_not_asked_of_what_kubernetes_refuses(wants, status, count, reason):
    asked = proposal(Variant(ZERO, replicas=3, ready=2), wants=[wants], status=status, min_replicas=0)
    refused = replace(asked.state.variants[0], living=asked.state.variants[0].living[:2], refusal="exceeded quota")
    bounded = constrain(asked.with_state(asked.state.with_variants([refused])))

    assert (bounded.variants[0].replicas, bounded.variants[0].reason) == (count, reason)
    assert [step.detail for step in bounded.trace if isinstance(step.detail, Limit)] == (
        [Limit("a100: exceeded quota")] if reason is Reason.REPLICA_FAILURE else []
    )


@pytest.mark.parametrize(
    ("until", "wants", "count", "reason"),
    [
        (NOW + 1.0, 3, 2, Reason.POOL_BACKING_OFF),
        (NOW + 1.0, 1, 1, Reason.AT_DESIRED),
        (NOW, 3, 3, Reason.AT_DESIRED),
    ],
    ids=["more", "fewer", "over"],
)
def test_a_pool_that_could_not_schedule_is_left_alone_for_a_while(until, wants, count, reason):
    bounded = constrained(Variant(backoff_until=until), wants)

    assert bounded[:2] == (count, reason)
    assert bounded[2] is (Status.BLOCKED if reason is Reason.POOL_BACKING_OFF else Status.FREE)


@pytest.mark.parametrize(
    ("pods", "wants", "work", "count", "status", "withdrawn"),
    [
        (waiting_pods(2, 2), 4, {}, 2, Status.GIVEN_UP, {"a100": 2}),
        (waiting_pods(2, 2), 6, {}, 2, Status.GIVEN_UP, {"a100": 2}),
        (waiting_pods(2, 2, seconds=600.0), 6, {}, 6, Status.FREE, {}),
        (waiting_pods(0, 4), 4, {}, 1, Status.GIVEN_UP, {"a100": 3}),
        (waiting_pods(0, 4), 4, {"min_replicas": 3}, 3, Status.GIVEN_UP, {"a100": 1}),
        (waiting_pods(0, 4), 4, {"min_replicas": 4}, 4, Status.FREE, {}),
        (waiting_pods(2, 2), 4, {"grade": Grade.HOLD}, 4, Status.FREE, {}),
    ],
    ids=[
        "all that wait",
        "whatever is needed",
        "not for long yet",
        "the variant's minimum",
        "the service's minimum",
        "all are the minimum",
        "without metrics",
    ],
)
def test_pods_that_nothing_schedules_are_given_up(pods, wants, work, count, status, withdrawn):
    bounded = constrain(proposal(Variant(replicas=len(pods), pods=pods), wants=[wants], **work))

    assert (bounded.variants[0].replicas, bounded.variants[0].status) == (count, status)
    assert bounded.withdrawn == withdrawn


def test_no_more_is_asked_for_beside_pods_that_wait_at_the_minimum():
    variant = Variant(variant_spec(min_replicas=2), replicas=2, pods=waiting_pods(1, 1))

    assert constrained(variant, 6)[:3] == (2, Reason.WAITING_FOR_PODS, Status.WAITING)


def test_the_extra_replica_of_a_roll_is_the_rolls_to_give_up():
    roll = VariantMemory(roll=Roll(NOW - 60.0, 2, surge=True))
    bounded = constrain(proposal(Variant(replicas=3, pods=waiting_pods(2, 1), memory=roll), wants=[2]))

    assert bounded.variants[0].replicas == 2
    assert bounded.withdrawn == {}


def test_whatever_changes_a_count_is_in_the_trace():
    bounded = constrain(proposal(Variant(variant_spec(min_replicas=3)), wants=[2]))

    assert [(step.stage, step.before, step.after, step.variant) for step in bounded.trace] == [
        ("constrain", "2", "3", "a100")
    ]
