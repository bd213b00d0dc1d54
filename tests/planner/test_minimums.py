"""Pods that find no place are given up, but never below what the user said to keep, nor what serves."""

from dataclasses import replace

import pytest
from lab import START, plant, service_spec, variant_spec

from pertoken.domain.reasons import Reason
from pertoken.planner.constrain.standing import Withdrawal, keep_minimum, unschedulable, withdrawable
from pertoken.planner.gather import gather
from pertoken.planner.memory import EMPTY, Roll
from pertoken.planner.proposal import Status, VariantProposal

LONG_AGO = 3600.0


def stuck_plant(*, replicas, serving, variant_least, service_least, rate=5.0):
    """`serving` pods run; the others have been unschedulable for an hour."""
    fleet = plant(rate=rate, replicas=serving)
    variants = (variant_spec(min_replicas=variant_least),)
    fleet.services["chat"] = service_spec(variants=variants, min_replicas=service_least)
    fleet.deployments["chat"].spec = variants[0]
    fleet.deployments["chat"].replicas = replicas
    fleet.free_node = lambda _gpus, _deployment: None
    fleet.reconcile()
    for pod in fleet.pods:
        if pod.bound is None:
            pod.unschedulable = fleet.now - LONG_AGO
    return fleet


@pytest.mark.parametrize(
    ("replicas", "serving", "variant_least", "service_least", "left"),
    [
        (3, 0, 0, 1, 1),
        (3, 0, 2, 1, 2),
        (3, 0, 1, 3, 3),
        (3, 2, 0, 1, 2),
        (5, 1, 0, 2, 2),
    ],
    ids=["service", "variant", "service above variant", "what serves", "service above what serves"],
)
def test_withdrawal_stops_at_the_minimums(replicas, serving, variant_least, service_least, left):
    fleet = stuck_plant(
        replicas=replicas, serving=serving, variant_least=variant_least, service_least=service_least, rate=60.0
    )
    lowest = []
    fleet.run(120, lambda plant, _: lowest.append(plant.replicas()))

    assert min(lowest) == left


def test_nothing_is_added_while_pods_wait_at_the_minimum():
    fleet = stuck_plant(replicas=2, serving=1, variant_least=2, service_least=1, rate=300.0)
    fleet.run(60)

    assert fleet.replicas() == 2
    assert fleet.actions == []


def two_stuck(first, second):
    fleet = stuck_plant(replicas=2, serving=0, variant_least=0, service_least=1)
    variant = gather(fleet.world().services[0], fleet.world(), EMPTY, fleet.now).variants[0]
    stuck = [
        VariantProposal(variant, count, Reason.UNSCHEDULABLE_WITHDRAWN, Status.GIVEN_UP) for count in (first, second)
    ]
    return keep_minimum(3, [Withdrawal(proposed, 2) for proposed in stuck])


@pytest.mark.parametrize(
    ("first", "second", "expected", "withdrawn"),
    [
        (0, 0, [2, 1], [0, 1]),
        (1, 0, [3, 0], [0, 2]),
        (2, 1, [2, 1], [2, 2]),
        (0, 9, [0, 9], [2, 2]),
    ],
)
def test_two_variants_that_withdraw_at_once_keep_the_services_minimum(first, second, expected, withdrawn):
    kept = two_stuck(first, second)

    assert [entry.variant.replicas for entry in kept] == expected
    assert [entry.pods for entry in kept] == withdrawn
    assert all(entry.variant.reason is Reason.AT_MINIMUM for entry in kept if not entry.pods)


@pytest.mark.parametrize(("surge", "count"), [(True, 0), (False, 1)])
def test_the_extra_replica_of_a_roll_is_not_a_replica_too_many(surge, count):
    """With it, two serving pods of a base of two and one stuck pod: giving one up would take one that serves."""
    fleet = stuck_plant(replicas=3, serving=2, variant_least=0, service_least=1)
    state = gather(fleet.world().services[0], fleet.world(), EMPTY, fleet.now)
    variant = state.variants[0]
    variant = replace(variant, memory=replace(variant.memory, roll=Roll(fleet.now, 2, surge=surge)))

    assert withdrawable(variant, unschedulable(state, variant)) == count


def test_pods_that_no_node_takes_keep_nobody_else_from_the_pool():
    fleet = plant("bad", "good", rate=5.0, replicas=1, gpus=16)
    free_node = fleet.free_node
    fleet.free_node = lambda gpus, deployment: (
        None if deployment is fleet.deployments["bad"] and fleet.now > START else free_node(gpus, deployment)
    )
    fleet.rates["bad"] = 60.0
    fleet.run(1500)
    assert fleet.decision("bad").reason in {Reason.POOL_BACKING_OFF, Reason.UNSCHEDULABLE_WITHDRAWN}

    fleet.rates["good"] = 60.0
    fleet.run(120)

    assert fleet.replicas("good") > 1
