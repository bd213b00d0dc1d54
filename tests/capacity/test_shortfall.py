"""When GPUs end, and until when more must be ordered."""

from dataclasses import replace

import numpy as np
import pytest

from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.shortfall import shortfalls
from pertoken.domain.pool import PoolSpec

POOL = PoolSpec(name="a", accelerator="h100-sxm", provisioning_seconds=600)
START = 10 * 3600
GPUS = np.array([[1, 2, 3, 5, 4]])


def one(existing, *, pool=POOL, lead=None, now=START):
    futures = Futures((PoolFutures(pool, GPUS, START, 1, existing),), 5)
    return shortfalls(futures, {} if lead is None else {"a": lead}, now)[0]


@pytest.mark.parametrize(
    ("existing", "first", "short"),
    [(0, START, 5), (2, START + 2 * 3600, 3), (4, START + 3 * 3600, 1), (5, None, 0), (None, None, 0)],
)
def test_the_first_hour_that_needs_more_than_exists(existing, first, short):
    shortfall = one(existing)

    assert (shortfall.first_shortfall_s, shortfall.short_gpus, shortfall.peak_gpus) == (first, short, 5)


def test_order_by_is_the_lead_time_before_and_may_have_passed():
    assert one(2).order_by_s == START + 2 * 3600 - 600
    assert not one(2).overdue
    assert one(2, lead=3 * 3600).order_by_s == START - 3600
    assert one(2, lead=3 * 3600).overdue
    assert not one(2, lead=2 * 3600).overdue


def test_a_pool_that_may_not_be_used_whole_ends_earlier():
    assert one(9, pool=replace(POOL, max_gpus=3)).first_shortfall_s == START + 3 * 3600


def test_futures_count_at_the_plans_confidence():
    gpus = np.array([[1]] * 18 + [[9]] * 2)
    futures = Futures((PoolFutures(POOL, gpus, START, 1, 1),), 1, confidence=90.0)
    surer = replace(futures, confidence=95.0)

    assert shortfalls(futures, {}, START)[0].first_shortfall_s is None
    assert shortfalls(surer, {}, START)[0].first_shortfall_s == START
