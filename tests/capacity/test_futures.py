"""The seam between sizing and purchasing: what belongs together, and counts that are quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from pertoken.capacity.futures import Futures, FuturesError, PoolFutures
from pertoken.domain.pool import PoolSpec

H100 = PoolSpec(name="h100", accelerator="h100-sxm")
COUNTS = np.arange(24).reshape(4, 6)


def test_a_pool_tells_its_name_accelerator_and_shape():
    pool = PoolFutures(H100, COUNTS, start_s=7200, gpus_per_node=8)

    assert (pool.name, pool.accelerator, pool.resamples, pool.hours) == ("h100", "h100-sxm", 4, 6)


@given(st_numpy.arrays(np.int64, (7, 3), elements=st.integers(0, 100)), st.floats(1.0, 99.0))
def test_a_quantile_is_a_count_that_enough_futures_do_not_exceed(counts, per_cent):
    gpus = PoolFutures(H100, counts, start_s=0).quantile(per_cent)

    for hour in range(3):
        assert gpus[hour] in counts[:, hour]
        assert (counts[:, hour] <= gpus[hour]).mean() * 100 >= per_cent - 1e-9


@pytest.mark.parametrize(
    ("counts", "start", "node", "said"),
    [
        (-COUNTS, 0, 1, "-23 GPUs"),
        (COUNTS[0], 0, 1, "resamples by hours"),
        (COUNTS[:, :0], 0, 1, "resamples by hours"),
        (COUNTS, 1800, 1, "whole hour"),
        (COUNTS, 0, 0, "GPUs per node"),
    ],
)
def test_what_is_no_count_is_refused(counts, start, node, said):
    with pytest.raises(FuturesError, match=said):
        PoolFutures(H100, counts, start, node)


def test_futures_without_a_forecast_are_refused():
    with pytest.raises(FuturesError, match="4 rows of the past; expected fewer than 4"):
        PoolFutures(H100, COUNTS, 0, again=4)


@pytest.mark.parametrize(
    ("pools", "hours", "confidence", "said"),
    [
        ((), 6, 90, "no pool"),
        ((PoolFutures(H100, COUNTS, 0),), 5, 90, "horizon of 5"),
        ((PoolFutures(H100, COUNTS, 0), PoolFutures(H100, COUNTS, 3600)), 6, 90, "other resamples"),
        ((PoolFutures(H100, COUNTS, 0), PoolFutures(H100, COUNTS[1:], 0)), 6, 90, "other resamples"),
        ((PoolFutures(H100, COUNTS, 0),), 6, 100, "below 100"),
        ((PoolFutures(H100, COUNTS, 0),), 6, 50, "above 50"),
    ],
)
def test_pools_of_other_futures_do_not_go_together(pools, hours, confidence, said):
    with pytest.raises(FuturesError, match=said):
        Futures(pools, hours, confidence)


def test_a_pool_is_found_by_its_name():
    futures = Futures((PoolFutures(H100, COUNTS, 3600),), 6)

    assert futures.pool("h100") is futures.pools[0]
    assert futures.pool("l4") is None
    assert (futures.resamples, futures.start_s, futures.confidence) == (4, 3600, 90.0)
