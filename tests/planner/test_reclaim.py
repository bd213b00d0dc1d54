"""Strict priorities: a higher one's unmet want takes running replicas of lower ones, above what they are owed."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Deployment, node, plant, pool_spec, serving_since, variant_spec

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import SetReplicas, Verdict
from pertoken.domain.pool import AccessRule
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.planner.allocate.give_out import give_out
from pertoken.planner.allocate.reclaim import settle_priorities
from pertoken.planner.allocate.shares import PoolShare, Scene
from pertoken.planner.grant import Option, PoolRequest
from pertoken.planner.pool_state import PoolState, Seat
from pertoken.planner.tuning import TUNING

CYCLE = 15.0
NOW = 10_000.0


class Table:
    """One pool with replicas on its nodes, and what services ask for; settles one cycle."""

    def __init__(self, *free, **pool) -> None:
        self.pool = PoolState(pool_spec(**pool), 100, 0, {f"n{i}": units for i, units in enumerate(free)})
        self.shares = []
        self.requests = []
        self.least = {}

    def holds(self, name, nodes, *, priority=0, gpus=1, wants=None, leaving=(), rule=-1, service_least=0, **more):
        """A service with one replica on each of `nodes` (None: it waits), others are on their way out."""
        key = ServiceKey("llm", name)
        seats = [Seat(None if n is None else f"n{n}", gpus, bound=n is not None) for n in nodes]
        seats += [Seat(f"n{n}", gpus, leaving=True, bound=True) for n in leaving]
        self.pool.seats[key, "v"] = seats
        self.pool.committed[rule] = self.pool.committed.get(rule, 0) + gpus * len(seats)
        for n in leaving:
            self.pool.leaving[f"n{n}"] = self.pool.leaving.get(f"n{n}", 0) + gpus
        wanted = len(nodes) if wants is None else wants
        self.least[key] = service_least
        self.shares.append((PoolShare(key, "v", "a100", priority, rule, gpus, len(nodes), len(nodes), **more), wanted))
        labels = {} if rule < 0 else dict(self.pool.spec.access[rule].namespace_labels)
        self.requests.append(PoolRequest(key, priority, labels, (Option("v", "a100", gpus, len(nodes), wanted, 99),)))
        return self

    def settle(self, now=NOW):
        pools = {"a100": self.pool}
        grants = give_out([request for request in self.requests if self._acts(request.service)], pools)
        shares = []
        for share, wanted in self.shares:
            grant = grants.get(share.service)
            shares.append(share if grant is None else self._planned(share, wanted, grant))
        scene = Scene(tuple(shares), self.least, {}, now)
        self.grants = settle_priorities(scene, grants, pools, TUNING.reclaim)
        return self

    def _planned(self, share, wanted, grant):
        given = grant.replicas["v"]
        planned = given if given > share.held else min(wanted, share.held)
        return replace(share, replicas=planned, short=grant.shortfall.get("v", 0) // share.gpus)

    def _acts(self, service):
        return next(share.acts for share, _ in self.shares if share.service == service)

    def replicas(self, name):
        return self.grants[ServiceKey("llm", name)].replicas["v"]

    def reclaimed(self, name):
        return self.grants[ServiceKey("llm", name)].reclaimed.get("v", "")

    def freed(self, name):
        return self.grants[ServiceKey("llm", name)].freed.get("v", "")


def duel(*free, low=8, wants=4, **loser):
    """A service with priority 100 that runs nothing yet, and one with priority 0 that holds the pool."""
    loser["wants"] = loser.pop("shrinks_to", None)
    return Table(*(free or (0,))).holds("low", [0] * low, **loser).holds("high", [], priority=100, wants=wants)


def test_a_quarter_goes_at_a_time_and_both_are_told():
    table = duel().settle()

    assert (table.replicas("low"), table.replicas("high")) == (6, 0)
    assert "llm/high (priority 100) is short" in table.reclaimed("low")
    assert "gives up 2 of 8 replicas" in table.reclaimed("low")
    assert table.freed("high") == "GPUs are being reclaimed from llm/low (priority 0)"


@pytest.mark.parametrize(
    ("loser", "wants", "left"),
    [
        ({}, 1, 7),
        ({"low": 2}, 4, 1),
        ({"low": 1}, 4, 0),
        ({"least": 7}, 4, 7),
        ({"service_least": 8}, 4, 8),
        ({"priority": 100}, 4, 8),
        ({"priority": 101}, 4, 8),
        ({"movable": False}, 4, 8),
        ({"yields": False}, 4, 8),
        ({"last_cut_at": NOW - 1.0}, 4, 8),
        ({"last_cut_at": NOW - TUNING.reclaim.seconds}, 4, 6),
        ({"leaving": (0, 0, 0)}, 4, 7),
        ({"leaving": (0, 0, 0, 0)}, 4, 8),
        ({"shrinks_to": 5}, 4, 4),
        ({"shrinks_to": 4}, 4, 8),
    ],
    ids=[
        "no more than is missing", "at least one", "to nothing without a minimum", "variant minimum", "service minimum",
        "equal priority", "higher priority", "not to be moved", "metrics missing", "too soon", "soon enough",
        "three are on their way", "all are on their way", "it shrinks by itself, not enough yet",
        "what it gives up by itself is enough",
    ],
)  # fmt: skip
def test_how_much_a_loser_keeps(loser, wants, left):
    table = duel(wants=wants, **loser).settle()

    assert table.replicas("low") == left


def test_the_lowest_priority_goes_first():
    table = Table(0).holds("mid", [0] * 4, priority=50).holds("low", [0] * 4)
    table.holds("high", [], priority=100, wants=1).settle()

    assert (table.replicas("mid"), table.replicas("low")) == (4, 3)


def test_the_victims_are_those_on_the_node_where_the_winner_fits():
    table = Table(1, 3).holds("a", [0, 0, 0], gpus=1).holds("b", [1], gpus=1)
    table.holds("high", [], priority=100, gpus=4, wants=1).settle()

    assert (table.replicas("a"), table.replicas("b")) == (3, 0)
    # What is free on that node waits for the winner.
    assert table.pool.free == {"n0": 1, "n1": 0}


def test_nothing_is_taken_that_would_not_let_the_winner_run():
    table = Table(0, 0).holds("low", [0, 0, 1, 1]).holds("high", [], priority=100, gpus=4, wants=1).settle()

    assert table.replicas("low") == 4
    assert table.reclaimed("low") == table.freed("high") == ""


def test_a_guarantee_is_kept_against_strangers_and_not_within_the_namespace():
    rules = (AccessRule((("team", "a"),), guaranteed_gpus=3), AccessRule((("team", "b"),)))
    alien = Table(0, access=rules).holds("low", [0] * 4, rule=0, last_cut_at=0.0)
    alien.holds("high", [], priority=100, wants=4, rule=1).settle()
    own = Table(0, access=rules).holds("low", [0] * 3, rule=0).holds("high", [], priority=100, wants=4, rule=0).settle()

    assert alien.replicas("low") == 3
    assert own.replicas("low") == 2


def test_a_ceiling_of_the_pool_yields_to_priority_too():
    table = Table(8, max_gpus=8).holds("low", [0] * 8).holds("high", [], priority=100, wants=2).settle()

    assert table.replicas("low") == 6


def test_a_ceiling_of_the_namespace_yields_only_to_its_own():
    rules = (AccessRule((("team", "a"),), max_gpus=2), AccessRule((("team", "b"),)))
    alien = Table(8, access=rules).holds("other", [0] * 2, rule=1).holds("mate", [0] * 2, rule=0, least=2)
    alien.holds("high", [], priority=100, wants=2, rule=0).settle()
    mate = Table(8, access=rules).holds("other", [0] * 2, rule=1).holds("mate", [0] * 2, rule=0)
    mate.holds("high", [], priority=100, wants=2, rule=0).settle()

    assert (alien.replicas("other"), alien.replicas("mate")) == (2, 2)
    assert (mate.replicas("other"), mate.replicas("mate")) == (2, 1)


def test_pods_of_the_winner_that_find_no_room_count_as_wants():
    table = Table(0).holds("low", [0] * 4).holds("high", [None, 0], priority=100).settle()

    assert table.replicas("low") == 3
    assert "reclaimed from llm/low" in table.freed("high")


def test_who_gave_up_does_not_grow_while_the_winner_is_short():
    table = Table(2, 0).holds("low", [1] * 4, wants=6).holds("high", [], priority=100, gpus=4, wants=1).settle()

    assert table.replicas("low") == 3
    assert "is short of GPUs" in table.reclaimed("low")


def test_only_acting_services_win():
    table = Table(0).holds("low", [0] * 4).holds("high", [None], priority=100, acts=False, movable=False).settle()

    assert table.replicas("low") == 4


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_higher_priority_never_waits_for_what_a_lower_one_is_not_owed(data):
    """Repeated cycles: takes never exceed what is missing, and end with nothing left that could be taken."""
    count = data.draw(st.integers(1, 4), label="losers")
    sizes = [data.draw(st.integers(1, 8), label="replicas") for _ in range(count)]
    least = [data.draw(st.integers(0, 4), label="least") for _ in range(count)]
    priorities = [data.draw(st.integers(0, 3), label="priority") for _ in range(count)]
    wants = data.draw(st.integers(1, 12), label="wants")
    mine = data.draw(st.integers(0, 4), label="priority of the winner")
    held, now = list(sizes), NOW
    for _ in range(60):
        free = sum(sizes) - sum(held)
        table = Table(free)
        for index in range(count):
            table.holds(f"s{index}", [0] * held[index], priority=priorities[index], least=least[index])
        table.holds("w", [], priority=mine, wants=wants).settle(now)
        missing = max(0, wants - free)
        after = [table.replicas(f"s{index}") for index in range(count)]
        assert sum(held) - sum(after) <= missing
        held, now = after, now + TUNING.reclaim.seconds
    granted = min(wants, sum(sizes) - sum(held))
    for index in range(count):
        owed = min(sizes[index], least[index]) if priorities[index] < mine else sizes[index]
        assert held[index] >= owed
        assert granted == wants or held[index] == owed


def rivals(*, low_rate, low_priority=0, high=None, low=None):
    """Both in one pool of eight GPUs, the low one holding seven of them."""
    fleet = plant("high", "low", rate=5.0, replicas=1, gpus=8)
    fleet.rates["low"] = low_rate
    fleet.deployments["low"].replicas = 7
    fleet.reconcile()
    fleet.now += 120
    fleet.reconcile()
    fleet.services["high"] = replace(fleet.services["high"], priority=100, **(high or {}))
    fleet.services["low"] = replace(fleet.services["low"], priority=low_priority, **(low or {}))
    return fleet


def limit(fleet, name):
    return fleet.decision(name).conditions["ScalingLimited"]


def test_a_loaded_service_takes_gpus_of_one_with_less_priority_and_gives_them_back():
    fleet = rivals(low_rate=60.0)
    fleet.run(300)
    assert fleet.replicas("low") >= 6
    fleet.rates["high"] = 60.0
    told = Counter()

    def watch(fleet, _):
        told[limit(fleet, "low").reason] += 1
        assert fleet.replicas("low") >= 1

    fleet.run(600, watch)
    grown = fleet.replicas("high")
    assert grown >= 4
    assert told[Reason.RECLAIMED_FOR_PRIORITY]
    fleet.rates["high"] = 5.0
    fleet.run(3600)
    assert fleet.replicas("high") < grown
    assert fleet.replicas("low") >= 5


@pytest.mark.parametrize(
    ("low", "priority"),
    [({}, 100), ({"mode": Mode.RECOMMEND}, 0), ({"paused": True}, 0), ({"min_replicas": 7}, 0)],
    ids=["equal priority", "recommending loser", "paused loser", "minimum"],
)
def test_what_is_not_taken(low, priority):
    fleet = rivals(low_rate=70.0, low_priority=priority, low=low)
    fleet.rates["high"] = 60.0
    fleet.run(300)

    assert not [a for _, a in fleet.actions if isinstance(a, SetReplicas) and a.reason is Reason.RECLAIMED_FOR_PRIORITY]
    assert fleet.replicas("low") == 7


def short_of_its_minimum(*, starting=False):
    """Four GPUs: three loaded replicas of a low priority, and a high one that has one replica and must have two."""
    fleet = plant("low", "high", rate=5.0, replicas=0, gpus=4)
    fleet.rates["low"] = 30.0
    fleet.services["high"] = replace(
        fleet.services["high"], priority=1, variants=(variant_spec("high", min_replicas=2, max_replicas=2),)
    )
    fleet.services["low"] = replace(fleet.services["low"], variants=(variant_spec("low", min_replicas=0),))
    for name, replicas in (("low", 3), ("high", 1)):
        fleet.deployments[name] = Deployment(fleet.services[name].variants[0], replicas)
    serving_since(fleet, fleet.now - 3600)
    if starting:
        for pod in fleet.living("low"):
            pod.bound, pod.ready = fleet.now - 15.0, None
    return fleet


@pytest.mark.parametrize("gap", ["outage", "series_gone"])
def test_who_serves_without_metrics_gives_nothing_up(gap):
    fleet = short_of_its_minimum()
    setattr(fleet, gap, True)
    fleet.run(600)
    assert fleet.replicas("low") == 3

    setattr(fleet, gap, False)
    fleet.run(30)
    assert fleet.replicas("low") == 3  # a whole rate window is to be seen first
    fleet.run(60)
    assert fleet.replicas("low") == 2
    assert [action.reason for _, action in fleet.actions if action.service.name == "low"] == [
        Reason.RECLAIMED_FOR_PRIORITY
    ]


def test_pods_that_only_start_make_way_without_metrics():
    fleet = short_of_its_minimum(starting=True)
    fleet.start_seconds, fleet.series_gone = 900.0, True
    fleet.run(60)

    assert fleet.replicas("low") == 2


def test_a_recommendation_takes_nothing():
    fleet = rivals(low_rate=70.0, high={"mode": Mode.RECOMMEND})
    fleet.rates["high"] = 60.0
    fleet.run(300)

    assert fleet.replicas("low") == 7


def test_access_lowers_a_priority_and_says_so():
    fleet = rivals(low_rate=70.0, low_priority=10)
    fleet.pools = [pool_spec(access=(AccessRule(max_priority=10),))]
    fleet.rates["high"] = 60.0
    fleet.run(300)

    assert fleet.replicas("low") == 7
    assert "priority 100 counts as 10 in pool a100 (maxPriority)" in limit(fleet, "high").message


def test_a_namespace_without_access_gets_nothing_and_is_told_even_when_it_asks_for_nothing():
    fleet = plant(rate=60, replicas=2)
    fleet.pools = [pool_spec(access=(AccessRule((("team", "a"),)),))]
    fleet.run(300)
    limited = limit(fleet, "chat")

    assert fleet.replicas() == 2
    assert (limited.verdict, limited.reason) == (Verdict.TRUE, Reason.ACCESS_DENIED)
    assert "namespace llm has no access to pool a100" in limited.message
    fleet.rates["chat"] = 10.0
    fleet.run(900)
    assert limit(fleet, "chat").reason is Reason.ACCESS_DENIED


def test_a_minimum_is_a_request_like_any_other():
    fleet = plant(rate=5, replicas=0, gpus=2)
    fleet.services["chat"] = replace(fleet.services["chat"], min_replicas=4)
    fleet.nodes = [node("n0", 2)]
    fleet.run(120)

    assert fleet.replicas() == 2
    assert limit(fleet, "chat").reason is Reason.POOL_EXHAUSTED
