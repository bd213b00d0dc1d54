"""From rates to GPUs: the cheapest whole mix, start-ups, whole nodes."""

from dataclasses import replace
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.capacity.gpus.mix import staircase
from pertoken.capacity.gpus.needs import Needs, Nodes, busiest
from pertoken.capacity.gpus.replicas import NotSized, Replica, replica_of
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.domain.service import LatencyObjective, ModelSpec, Parallelism, ServiceSpec, VariantSpec
from pertoken.performance.replica import Models
from pertoken.performance.results import Results
from pertoken.performance.steady import Load

POOL = PoolSpec(name="h100", accelerator="h100-sxm", price_per_gpu_hour=Decimal(2), capacity_gpus=8)
MODELS = Models(SHIPPED, Results())
KEPT = LatencyObjective(2.0, 0.05)


def variant(name="v", pool="h100", tensor=1, least=0):
    workload = WorkloadRef("apps/v1", "Deployment", "default", name)
    return VariantSpec(name, pool, workload, owned=False, parallelism=Parallelism(tensor), min_replicas=least)


def replica(rate, usd, gpus=1, pool=POOL, least=0):
    return Replica(variant(f"{rate}-{usd}", pool.name, gpus, least), pool, rate, gpus, usd, "compute")


def service(*variants, least=0, model="meta-llama/Llama-3.1-8B-Instruct", latency=KEPT):
    return ServiceSpec(
        ServiceKey("default", "chat"), "u", 1, ModelSpec(model, "chat"), variants, latency=latency, min_replicas=least
    )


@given(
    st.lists(st.tuples(st.floats(0.5, 5.0), st.floats(0.5, 5.0)), min_size=1, max_size=3),
    st.floats(0.0, 20.0),
)
def test_no_mix_carries_the_rate_for_less(figures, rate):
    replicas = [replica(*figure) for figure in figures]
    stairs = staircase(replicas, 20.0, [0] * len(replicas))
    step = int(stairs.steps(np.array([rate]))[0])

    most = 8 if len(replicas) > 1 else 41
    every = [
        sum(n * r.usd_per_hour for n, r in zip(counts, replicas, strict=True))
        for counts in product(*(range(most + 1) for _ in replicas))
        if sum(n * r.rate for n, r in zip(counts, replicas, strict=True)) >= rate
    ]
    assert stairs.rates[step] >= rate * (1 - 1e-6)
    assert stairs.costs[step] <= min(every, default=np.inf) + 1e-6
    assert stairs.costs[step] == pytest.approx(
        sum(n * r.usd_per_hour for n, r in zip(stairs.counts[step], replicas, strict=True))
    )


def test_minimums_hold_at_no_demand():
    replicas = [replica(2.0, 1.0, least=1), replica(1.0, 5.0)]
    stairs = staircase(replicas, 10.0, [1, 0], total=3)

    assert stairs.counts[0].tolist() == [3, 0]
    assert (stairs.counts.sum(axis=1) >= 3).all()


def test_a_rising_hour_is_prepared_for_in_the_hour_before_and_a_falling_one_is_not():
    rates = np.array([[10.0, 20.0, 8.0]])

    np.testing.assert_allclose(busiest(rates, np.ones((1, 3)), 0.0), [[15.0, 20.0, 8.0]])
    np.testing.assert_allclose(busiest(rates, np.ones((1, 3)), 900.0), [[17.5, 20.0, 8.0]])
    np.testing.assert_allclose(busiest(rates, np.full((1, 3), 1.5), 7200.0), [[30.0, 30.0, 12.0]])


@pytest.mark.parametrize(
    ("billing", "size", "gpus", "wanted"),
    [
        (Billing.PER_GPU, None, 1, 3),
        (Billing.PER_GPU, 8, 3, 12),  # two on a node of 8: each keeps 4 from others
        (Billing.PER_GPU, 8, 16, 48),  # over two nodes
        (Billing.PER_NODE, 8, 1, 8),
        (Billing.PER_NODE, 8, 4, 16),
        (Billing.PER_NODE, None, 4, 12),
    ],
)
def test_replicas_stand_whole_on_nodes(billing, size, gpus, wanted):
    pool = replace(POOL, billing=billing)
    needs = Needs.none([pool], {"h100": Nodes(size)}, (1, 2))

    most = needs.add(service(), [replica(1.0, 1.0, gpus, pool)], np.array([[2.5, 0.0]]))

    (futures,) = needs.futures(start_s=0)
    assert futures.gpus.tolist() == [[wanted, 0]]
    assert most.tolist() == [3]
    assert futures.existing == 8


def test_services_add_up_in_the_pool_that_they_share():
    needs = Needs.none([POOL], {"h100": Nodes(existing=5)}, (1, 1))
    for _ in range(3):
        needs.add(service(), [replica(1.0, 1.0)], np.array([[1.5]]))

    (futures,) = needs.futures(0)
    assert (futures.gpus.tolist(), futures.existing) == ([[6]], 5)


def test_a_replica_carries_what_the_operator_would_believe():
    sized = replica_of(service(), variant(), POOL, Load(1000, 200), MODELS)
    half = replica_of(service(latency=LatencyObjective(2.0, 0.02)), variant(), POOL, Load(1000, 200), MODELS)

    assert isinstance(sized, Replica)
    assert (sized.gpus, sized.usd_per_hour, sized.missed) == (1, 2.0, None)
    assert 0 < half.rate < sized.rate


@pytest.mark.parametrize(
    ("spec", "pool", "field"),
    [
        (service(model="acme/unknown-9000"), POOL, "model.id"),
        (service(), replace(POOL, accelerator="abacus"), "pool"),
        (service(model="meta-llama/Llama-3.1-405B-Instruct"), POOL, "parallelism"),
    ],
)
def test_what_cannot_be_sized_says_which_field(spec, pool, field):
    refused = replica_of(spec, variant(), pool, Load(1000, 200), MODELS)

    assert isinstance(refused, NotSized)
    assert refused.field == field
