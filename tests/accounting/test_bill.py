from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.accounting.bill import Bill, bill, pod_phases, total_bill
from pertoken.accounting.pool_bill import holdings, next_gpu_price, pool_bill
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey
from pertoken.domain.pool import Billing, PoolSpec

POOL = PoolSpec("p", "a100-sxm-80gb", price_per_gpu_hour=Decimal("2.95"))


def pod(bound, deleted=None, gpus=1, **more):
    return PodFact(PodKey("n", "p"), "u", {"nvidia.com/gpu": gpus}, bound_at=bound, deleted_at=deleted, **more)


@pytest.mark.parametrize(
    ("held", "start", "end", "seconds"),
    [
        (pod(None), 0, 100, 0),
        (pod(50), 0, 100, 50),
        (pod(-10, 30), 0, 100, 30),
        (pod(10, 40, gpus=4), 0, 100, 120),
        (pod(200), 0, 100, 0),
        (pod(0, 10), 50, 100, 0),
        (pod(10, finished=True, finished_at=30), 0, 100, 20),
        (pod(10, 90, finished=True, finished_at=30), 0, 100, 20),
        (pod(10, 20, finished=True, finished_at=30), 0, 100, 10),
        (pod(10, finished=True, finished_at=5), 0, 100, 0),
        (pod(10, finished=True, finished_at=300), 0, 100, 90),
        (pod(None, finished=True, finished_at=30), 0, 100, 0),
        (pod(10, finished=True), 0, 100, 0),
    ],
    ids=[
        "never bound",
        "bound within",
        "gone within",
        "four GPUs",
        "bound later",
        "gone before",
        "ended within",
        "ended, gone later",
        "gone, ended later",
        "ended before it was bound",
        "ends later",
        "ended without a node",
        "ended, nothing tells when",
    ],
)
def test_gpu_time_runs_from_bound_to_gone(held, start, end, seconds):
    assert bill([held], POOL, start, end).gpu_seconds == seconds


def test_an_hour_costs_the_price():
    assert bill([pod(0, gpus=2)], POOL, 0, 3600).usd == Decimal("5.90")


def test_a_share_of_a_gpu_costs_its_share():
    half = replace(POOL, gpu_fraction=Decimal("0.5"))

    assert bill([pod(0)], half, 0, 3600).usd == Decimal("1.475")


def test_without_price_the_time_is_known_and_the_money_is_not():
    billed = bill([pod(0)], replace(POOL, price_per_gpu_hour=None), 0, 10)

    assert billed.gpu_seconds == 10
    assert not billed.priced
    assert bill([pod(None)], replace(POOL, price_per_gpu_hour=None), 0, 10).priced


instants = st.floats(0, 1e9, allow_nan=False)
pods = st.lists(
    st.builds(
        lambda bound, length, gpus, end: pod(
            bound, None if length is None else bound + length, gpus, finished=end is not None, finished_at=end
        ),
        instants,
        st.none() | st.floats(0, 1e6),
        st.integers(1, 16),
        st.none() | instants,
    ),
    max_size=6,
)


@given(pods=pods, cuts=st.lists(instants, min_size=2, max_size=6), price=st.decimals("0.0001", "99.9999", places=4))
def test_bills_of_adjoining_windows_add_up_exactly(pods, cuts, price):
    pool = replace(POOL, price_per_gpu_hour=price)
    edges = sorted(cuts)
    parts = Bill()
    for start, end in pairwise(edges):
        parts += bill(pods, pool, start, end)

    whole = bill(pods, pool, edges[0], edges[-1])

    assert parts.usd_microhours == whole.usd_microhours
    assert parts.gpu_microseconds == whole.gpu_microseconds


weights = st.lists(st.decimals("0", "1e9", places=6), min_size=1, max_size=5)


@given(time=st.integers(0, 10**15), money=st.decimals("0", "1e12", places=9), weights=weights)
def test_parts_of_a_split_add_up_exactly_and_follow_the_weights(time, money, weights):
    whole = Bill(time, money)

    parts = whole.split(weights)

    together = total_bill(parts)
    assert (together.gpu_microseconds, together.usd_microhours) == (time, money)
    assert all(part.gpu_microseconds >= 0 and part.usd_microhours >= 0 for part in parts)
    if sum(weights):
        for part, weight in zip(parts, weights, strict=True):
            assert part.usd_microhours == pytest.approx(money * weight / sum(weights), abs=Decimal("1e-12"))


@pytest.mark.parametrize("bad", [[], [Decimal(-1)], [Decimal("NaN")]])
def test_a_split_needs_weights(bad):
    with pytest.raises(ValueError, match="weights"):
        Bill(1, Decimal(1)).split(bad)


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({"bound_at": 10, "ready_at": 40}, 30),
        ({"bound_at": 10, "ready_at": 140}, 90),
        ({"bound_at": 10}, 90),
        ({"bound_at": 10, "ready_at": -5}, 0),
        ({"bound_at": 10, "terminating": True}, 0),
        ({"bound_at": None}, 0),
        ({"bound_at": 10, "finished": True, "finished_at": 60}, 0),
    ],
    ids=["ready within", "ready later", "not ready", "ready before", "terminating", "not bound", "ended"],
)
def test_warming_lasts_from_bound_to_ready(facts, seconds):
    held = PodFact(PodKey("n", "p"), "u", {"nvidia.com/gpu": 1}, **facts)

    warming, serving = pod_phases(held, POOL, 0, 100)

    assert warming.gpu_seconds == seconds
    assert warming + serving == bill([held], POOL, 0, 100)


def on(node, bound, deleted=None, gpus=1):
    return replace(pod(bound, deleted, gpus), node=node)


def ended_on(node, bound, end):
    return replace(pod(bound, finished=True, finished_at=end), node=node)


NODES = {"a": 8, "b": 8}


@pytest.mark.parametrize(
    ("pool", "pods", "held", "unallocated"),
    [
        (POOL, [("x", on("a", 0))], {"x": 100}, 0),
        (replace(POOL, billing=Billing.PER_NODE), [("x", on("a", 0))], {"x": 100}, 700),
        (replace(POOL, billing=Billing.PER_NODE), [("x", on("a", 0)), ("y", on("a", 50, gpus=3))], None, 350 + 200),
        (replace(POOL, billing=Billing.PER_NODE), [("x", on("c", 0, gpus=2))], {"x": 200}, 0),
        (replace(POOL, committed_gpus=4), [("x", on("a", 0)), ("y", on("b", 50))], {"x": 100, "y": 50}, 150 + 100),
        (replace(POOL, committed_gpus=4), [("x", on("a", 0, gpus=6))], {"x": 600}, 0),
        (replace(POOL, committed_gpus=4), [], {}, 400),
        (replace(POOL, billing=Billing.PER_NODE), [("x", ended_on("a", 0, 40))], {"x": 40}, 280),
        (replace(POOL, committed_gpus=12, billing=Billing.PER_NODE), [("x", on("a", 0))], {"x": 100}, 1100),
    ],
    ids=[
        "per GPU",
        "a node whole",
        "a node shared",
        "an unknown node",
        "commitment partly used",
        "beyond the commitment",
        "commitment unused",
        "a node whole until the pod ends",
        "commitment beyond the node",
    ],
)
def test_what_nobody_held_is_charged_too(pool, pods, held, unallocated):
    billed = pool_bill(pool, holdings(pods, pool, 0, 100), NODES, 0, 100)

    assert billed.unallocated.gpu_seconds == unallocated
    if held is not None:
        assert {name: part.gpu_seconds for name, part in billed.held.items()} == held
    parts = total_bill((*billed.held.values(), billed.unallocated))
    assert parts == billed.charged


held_pods = st.lists(
    st.tuples(
        st.sampled_from("xyz"),
        st.builds(
            lambda node, bound, length, gpus: on(node, bound, None if length is None else bound + length, gpus),
            st.sampled_from("abc"),
            st.floats(0, 1000),
            st.none() | st.floats(0, 1000),
            st.integers(1, 8),
        ),
    ),
    max_size=6,
)


@given(
    pods=held_pods,
    billing=st.sampled_from(Billing),
    committed=st.integers(0, 20),
    cuts=st.lists(st.floats(0, 2000), min_size=2, max_size=5),
)
def test_pool_bills_add_up_over_time_and_over_holders(pods, billing, committed, cuts):
    pool = replace(POOL, billing=billing, committed_gpus=committed)
    edges = sorted(cuts)

    def between(start, end):
        return pool_bill(pool, holdings(pods, pool, start, end), NODES, start, end)

    whole = between(edges[0], edges[-1])

    assert total_bill(between(start, end).charged for start, end in pairwise(edges)) == whole.charged
    shares = whole.shares_of_unallocated()
    if any(b.gpu_microseconds for b in whole.held.values()):
        assert shares.keys() == whole.held.keys()
        assert total_bill(shares.values()) == whole.unallocated
    else:
        assert shares == {}
    for name, own in whole.held.items():
        assert own == bill([p for holder, p in pods if holder == name], pool, edges[0], edges[-1])


@pytest.mark.parametrize(
    ("committed", "held", "shadow", "price"),
    [(0, 0, "0", "2.95"), (4, 3, "0", "0"), (4, 4, "0", "2.95"), (4, 1, "1.2", "1.2"), (4, 1, "9", "2.95")],
    ids=["no commitment", "unused commitment", "used up", "others want it", "never above the list"],
)
def test_decisions_price_commitment_at_its_opportunity(committed, held, shadow, price):
    assert next_gpu_price(replace(POOL, committed_gpus=committed), held, Decimal(shadow)) == Decimal(price)


def test_without_a_price_there_is_none_to_decide_by():
    assert next_gpu_price(replace(POOL, price_per_gpu_hour=None), 0) is None
