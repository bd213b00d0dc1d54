"""The last weeks come again beside the futures when capacity is bought."""

import numpy as np
import pytest

from pertoken.capacity.again import come_again, source_hours, to_buy_for
from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.domain.pool import PoolSpec

WEEK = 168


@pytest.mark.parametrize(
    ("history", "rows", "oldest"),
    [(5 * WEEK + 30, 5, 30), (20 * WEEK, 8, 12 * WEEK), (3 * 24 + 5, 3, 5), (7, 1, 0)],
)
def test_whole_weeks_come_again_and_days_where_there_is_none(history, rows, oldest):
    sources = source_hours(history, 1000)

    assert sources.shape == (rows, 1000)
    assert (sources.min(), sources.max()) == (oldest, history - 1)


def test_days_of_the_week_stay_what_they_are():
    history = 3 * WEEK + 50
    sources = source_hours(history, 2 * WEEK)

    assert ((sources - (history + np.arange(2 * WEEK))) % WEEK == 0).all()
    assert [int(row[0]) for row in sources] == [50, 50 + WEEK, 50 + 2 * WEEK]


def test_gaps_are_like_the_mean_of_the_rest_never_zero():
    values = np.array([1.0, np.nan, 3.0])

    assert come_again(values, np.array([[0, 1, 2, 0]])).tolist() == [[1.0, 2.0, 3.0, 1.0]]


def test_futures_and_past_weigh_the_same_however_many_weeks_there_are():
    pool = PoolSpec("a", "h100-sxm")
    futures = Futures((PoolFutures(pool, np.full((20, 3), 5), 0, 8, 4),), 3, 95.0)
    past = Futures((PoolFutures(pool, np.array([[1] * 3, [2] * 3]), 0),), 3)
    both = to_buy_for(futures, past)

    assert both.pools[0].gpus.mean() == pytest.approx((5 + 1.5) / 2)
    assert (both.confidence, both.pools[0].gpus_per_node, both.pools[0].existing) == (95.0, 8, 4)


def test_what_suffices_is_what_the_futures_alone_need():
    pool = PoolSpec("a", "h100-sxm")
    drawn = np.arange(30).reshape(10, 3)
    futures = Futures((PoolFutures(pool, drawn, 0),), 3)
    both = to_buy_for(futures, Futures((PoolFutures(pool, np.full((2, 3), 99), 0),), 3)).pools[0]

    assert both.again == 10
    np.testing.assert_array_equal(both.quantile(90), futures.pools[0].quantile(90))
