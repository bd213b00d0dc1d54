"""Stage `allocate`: scarce GPUs given out by priority and fair shares, whole replicas on real nodes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import variant_spec
from states import H100, Variant, pool_state, proposal

from pertoken.domain.identity import ServiceKey
from pertoken.domain.pool import AccessRule
from pertoken.domain.reasons import Reason
from pertoken.planner.allocate.give_out import give_out
from pertoken.planner.allocate.stage import Allocation, allocate, request_of
from pertoken.planner.assessment import Grade
from pertoken.planner.grant import NOTHING_GRANTED, Option, PoolRequest
from pertoken.planner.memory import Roll, VariantMemory
from pertoken.planner.proposal import Capacity, Stance, Status

TEAM_A = AccessRule((("team", "a"),), max_gpus=4)
CHAT = ServiceKey("llm", "chat")


def option(name="v", pool="a100", *, wanted=2, ceiling=9, rate=0.0):
    return Option(name, pool, 1, 0, wanted, ceiling, rate)


def request(name, *options, priority=0, labels=None):
    return PoolRequest(ServiceKey("llm", name), priority, labels or {}, options)


def granted(grants, name):
    return dict(grants[ServiceKey("llm", name)].replicas)


def test_what_one_pool_refuses_spills_over_to_the_next_variant():
    pools = {"a100": pool_state((1,)), "h100": pool_state((8,))}
    cheap, dear = option("cheap", wanted=4, rate=5.0), option("dear", "h100", wanted=0, rate=10.0)
    given = give_out([request("chat", cheap, dear)], pools)

    assert granted(given, "chat") == {"cheap": 1, "dear": 2}
    assert given[ServiceKey("llm", "chat")].shortfall == {"cheap": 3}


def test_spilling_stops_at_the_ceiling():
    pools = {"a100": pool_state((0,)), "h100": pool_state((8,))}
    cheap, dear = option("cheap", wanted=4, rate=5.0), option("dear", "h100", wanted=0, ceiling=1, rate=10.0)

    assert granted(give_out([request("chat", cheap, dear)], pools), "chat") == {"cheap": 0, "dear": 1}


def test_pools_that_are_missing_or_closed_give_nothing():
    closed = pool_state(access=(TEAM_A,))
    given = give_out([request("chat", option("v"), option("w", "gone"))], {"a100": closed})
    refused = given[ServiceKey("llm", "chat")].refused

    assert granted(given, "chat") == {"v": 0, "w": 0}
    assert refused["v"].reason is Reason.ACCESS_DENIED
    assert "no access" in refused["v"].words
    assert "does not exist" in refused["w"].words


def test_equal_priorities_share_by_need():
    given = give_out([request("a", option(wanted=9)), request("b", option(wanted=3))], {"a100": pool_state((8,))})

    assert granted(given, "a")["v"] + granted(given, "b")["v"] == 8
    assert granted(given, "b")["v"] in {2, 3}


@given(
    free=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    wanted=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=5),
)
def test_never_more_than_there_is_never_more_than_is_asked_for_and_priorities_first(free, wanted):
    pool = pool_state(free)
    requests = [request(f"s{i}", option(wanted=count), priority=level) for i, (count, level) in enumerate(wanted)]
    grants = give_out(requests, {"a100": pool})
    given_out = [granted(grants, f"s{i}")["v"] for i in range(len(wanted))]

    assert sum(given_out) == min(sum(free), sum(count for count, _ in wanted))
    assert all(replicas <= count for replicas, (count, _) in zip(given_out, wanted, strict=True))
    for replicas, (count, level) in zip(given_out, wanted, strict=True):
        lower = [other for other, (_, other_level) in zip(given_out, wanted, strict=True) if other_level < level]
        assert replicas == count or sum(lower) == 0


# -- the stage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ceiling"),
    [
        (Status.FREE, 10),
        (Status.LAGGING, 10),
        (Status.WAITING, 3),
        (Status.BLOCKED, 3),
        (Status.HELD, 3),
        (Status.GIVEN_UP, 3),
    ],
)
def test_only_what_may_grow_stands_in_for_another_variant(status, ceiling):
    (asked,) = request_of(proposal(wants=[3], status=status)).options

    assert (asked.wanted, asked.ceiling) == (3, ceiling)


def test_a_request_counts_from_what_serves_steadily():
    rolling = Variant(replicas=3, memory=VariantMemory(roll=Roll(0.0, 2, surge=True)))
    steady = request_of(proposal(rolling, wants=[2])).options[0]
    held = request_of(proposal(rolling, wants=[3], status=Status.HELD)).options[0]

    assert (steady.current, steady.wanted) == (2, 2)
    assert (held.current, held.wanted) == (3, 3)


def test_unknown_gpus_are_none_and_rates_come_from_the_model():
    dear = Variant(variant_spec(name="dear", pool="h100"), pool=H100, workload={"gpus_per_replica": 0})
    asked = proposal(Variant(), dear)
    known = replace(asked.variants[0], capacity=Capacity(None, 7.5))
    first, second = request_of(asked.with_variants([known, asked.variants[1]])).options

    assert (first.gpus, first.rate, first.pool) == (1, 7.5, "a100")
    assert (second.gpus, second.rate, second.pool) == (0, 0.0, "h100")


@pytest.mark.parametrize(
    ("stance", "replicas"),
    [
        (None, 4),
        (Stance(Reason.RECOMMENDING), None),
        (Stance(Reason.PAUSED), None),
        (Stance(conflict=Reason.FOREIGN_AUTOSCALER), None),
    ],
    ids=["acts", "recommends", "paused", "conflict"],
)
def test_only_who_acts_takes_of_the_pools(stance, replicas):
    given_pool = pool_state((8,))
    allocation = Allocation((proposal(wants=[4], stance=stance, grade=Grade.NORMAL),), {"a100": given_pool})
    allocated = allocate(allocation)

    assert (
        allocated.grant_of(CHAT) == NOTHING_GRANTED
        if replicas is None
        else allocated.grant_of(CHAT).replicas["a100"] == 4
    )
    assert sum(allocated.pools["a100"].free.values()) == (8 if replicas is None else 6)
    assert sum(given_pool.free.values()) == 8


def test_what_is_short_is_told_with_its_reason():
    grant = allocate(Allocation((proposal(wants=[6]),), {"a100": pool_state((1,))})).grant_of(CHAT)

    assert (grant.replicas, grant.shortfall) == ({"a100": 3}, {"a100": 3})
    assert grant.refused["a100"].reason is Reason.POOL_EXHAUSTED
    assert "no node with 1 free GPUs" in grant.refused["a100"].words


def test_replicas_beyond_the_need_come_after_all_needs_and_are_not_missed():
    pools = {"a100": pool_state((6,))}
    rich = replace(option(wanted=6), spare=4)
    given = give_out([request("rich", rich, priority=9), request("poor", option(wanted=3))], pools)

    assert granted(given, "rich") == {"v": 3}
    assert granted(given, "poor") == {"v": 3}
    assert given[ServiceKey("llm", "rich")].shortfall == {}
    assert given[ServiceKey("llm", "rich")].refused == {}


def test_a_variant_that_lacks_what_it_needs_gets_none_beyond_it():
    pools = {"a100": pool_state((4,)), "h100": pool_state((4,))}
    short, other = replace(option("a", wanted=7), spare=1), replace(option("b", "h100", wanted=2), spare=2)
    given = give_out([request("chat", short, other)], pools)

    assert granted(given, "chat") == {"a": 4, "b": 2}
