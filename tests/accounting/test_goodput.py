import pytest

from pertoken.accounting.goodput import ShareBounds, good_share, usd_per_million_good


@pytest.mark.parametrize(
    ("shares", "bounds"),
    [
        ([], ShareBounds(1.0, 1.0)),
        ([ShareBounds(0.9, 0.95)], ShareBounds(0.9, 0.95)),
        ([ShareBounds(0.9, 0.95), ShareBounds(0.8, 1.0)], ShareBounds(0.7, 0.95)),
        ([ShareBounds(0.3, 0.4), ShareBounds(0.2, 0.5)], ShareBounds(0.0, 0.4)),
    ],
)
def test_good_requests_keep_all_objectives(shares, bounds):
    share = good_share(shares)

    assert (share.low, share.high) == pytest.approx((bounds.low, bounds.high))


def test_good_tokens_cost_more():
    assert usd_per_million_good(2.0, 1e6, ShareBounds(0.5, 0.8)) == pytest.approx((2.5, 4.0))
    assert usd_per_million_good(2.0, 1e6, ShareBounds(0.0, 1.0)) == (2.0, None)
