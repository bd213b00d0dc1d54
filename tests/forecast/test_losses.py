"""Replicas that get lost, and the reserve for them."""

from math import exp, factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.forecast.losses import Losses, Pods, counted, loss_rate, reserve
from pertoken.forecast.tuning import LOSSES

CYCLE = 15.0


def watched(looks, start=1000.0):
    """The losses after looks at ``(asked, created, ...)``, one cycle apart."""
    known = Losses()
    for index, (asked, created, *moving) in enumerate(looks):
        known = counted(known, Pods(asked, tuple(created), moving=bool(moving)), start + CYCLE * index)
    return known


@pytest.mark.parametrize(
    ("looks", "replaced"),
    [
        ([(3, (1, 2, 3)), (3, (1, 2, 3))], 0),
        ([(3, (1, 2, 3)), (3, (1, 2)), (3, (1, 2, 1020))], 1),
        ([(3, (1, 2, 3)), (3, (1, 1010, 1011))], 2),
        ([(2, (1, 2)), (3, (1, 2, 1010))], 0),
        ([(2, (1, 2)), (3, (1, 2)), (3, (1, 2, 1020))], 0),
        ([(2, (1, 2)), (2, (1, 2, 1010)), (3, (1, 2, 1010))], 0),
        ([(3, (1, 2, 3)), (2, (1, 2)), (2, (1, 2))], 0),
        ([(3, (1, 2, 3)), (3, (1010, 1011, 1012), "rollout"), (3, (1010, 1011, 1012))], 0),
        ([(3, ()), (3, (1010, 1011, 1012))], 0),
        ([(0, ()), (0, ()), (3, ()), (3, (1040, 1041, 1042))], 0),
        ([(1, (1,)), (0, ()), (0, ()), (1, ()), (1, (1070,))], 0),
        ([(3, (1, 2, 3)), (3, (2, 3), "rollout"), (3, (2, 3, 1020))], 0),
        ([(2, (1, 2)), (9, (1, 2)), (2, (1, 2)), (2, (2, 1040))], 1),
    ],
    ids=[
        "nothing moves",
        "one is lost, and replaced a cycle later",
        "two are lost and replaced within a cycle",
        "one more is asked for",
        "its pod is seen a cycle later",
        "its pod is seen a cycle earlier",
        "fewer are asked for",
        "a rollout replaces all",
        "a fresh service, whose pods are made after the first look",
        "woken from zero",
        "to zero and back",
        "a rollout's last pod is made after it",
        "an order that a quota kept from being carried out is taken back",
    ],
)
def test_pods_made_beyond_those_asked_for_replace_lost_ones(looks, replaced):
    assert watched(looks).replaced == pytest.approx(replaced, abs=0.01)


def test_a_replica_of_several_pods_is_lost_as_one():
    known = counted(Losses(), Pods(1, (1.0, 1.0), per_replica=2), 1000.0)

    assert counted(known, Pods(1, (1010.0, 1010.0), per_replica=2), 1015.0).replaced == pytest.approx(1.0)


def test_what_happened_in_a_long_gap_is_not_told():
    known = watched([(3, (1, 2, 3)), (3, (1, 2)), (3, (1, 2, 1020))])
    after = counted(known, Pods(3, (9000.0, 9001.0, 9002.0)), 9010.0)

    assert after.replaced == known.replaced
    assert after.hours == known.hours


def test_nothing_changes_while_there_is_nothing():
    known = watched([(1, (1,)), (0, ()), (0, ())])

    assert counted(known, Pods(0, ()), known.at + CYCLE) is known


def test_replica_hours_are_those_that_were_watched():
    hour = watched([(2, (1, 2))] * 241)

    assert hour.hours == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize(
    ("known", "prior", "rate"),
    [
        (Losses(), 0.1, 0.1),
        (Losses(hours=8.0), 0.1, 0.02),
        (Losses(replaced=4.0, hours=2.0), 0.1, 1.05),
        (Losses(replaced=-2.0, hours=0.0), 0.1, 0.1),
    ],
    ids=["nothing watched", "none lost", "many lost", "pods still to be made"],
)
def test_losses_per_replica_and_hour(known, prior, rate):
    assert loss_rate(known, prior) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("replicas", "rate", "start", "spare"),
    [
        (6, 0.005, 120.0, 0),
        (6, 0.1, 120.0, 0),
        (6, 2.0, 120.0, 1),
        (12, 2.0, 120.0, 2),
        (6, 2.0, 600.0, 4),
        (1, 2.0, 30.0, 0),
    ],
)
def test_reserve_by_hand(replicas, rate, start, spare):
    mean = replicas * rate * start / 3600.0
    within = [sum(exp(-mean) * mean**n / factorial(n) for n in range(k + 1)) for k in range(replicas + 1)]

    assert reserve(replicas, rate, start) == spare
    assert within[spare] >= 1.0 - LOSSES.short_share
    assert spare == 0 or within[spare - 1] < 1.0 - LOSSES.short_share


@given(
    st.integers(1, 200),
    st.floats(0.0, 50.0),
    st.floats(0.0, 3600.0),
    st.floats(0.0, 2.0),
)
def test_more_losses_slower_starts_or_more_replicas_never_mean_less_reserve(replicas, rate, start, more):
    spare = reserve(replicas, rate, start)

    assert 0 <= spare <= replicas
    assert reserve(replicas, rate * (1.0 + more), start) >= spare
    assert reserve(replicas, rate, start * (1.0 + more)) >= spare
    assert reserve(replicas + 1, rate, start) >= spare
