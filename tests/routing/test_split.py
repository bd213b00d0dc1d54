"""The split of least cost: laws, and the same answer as a general solver gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from pertoken.frozen import replace
from pertoken.routing.points import points_of, points_within
from pertoken.routing.split import Segment, TierOffer, cheapest, cost_of, quality_of

OVERLOAD = 1000.0
SMALL = TierOffer("small", 0.6, (Segment(10.0, 0.0), Segment(90.0, 0.001)))
LARGE = TierOffer("large", 0.9, (Segment(5.0, 0.0), Segment(45.0, 0.01)))
API = TierOffer("api", 0.95, (Segment(float("inf"), 0.02),))


def solved(offers, demand, floor):
    split = cheapest(offers, demand, floor, OVERLOAD)
    assert split is not None
    return split


def test_what_runs_anyway_is_used_first_and_the_best_of_it():
    assert solved((SMALL, LARGE), 4.0, 0.0).shares == pytest.approx((0.0, 1.0))


def test_beyond_it_the_cheapest_answers_as_far_as_the_floor_allows():
    split = solved((SMALL, LARGE), 40.0, 0.75)

    assert split.shares == pytest.approx((0.5, 0.5))
    assert split.usd_per_second == pytest.approx(10 * 0.001 + 15 * 0.01)
    assert solved((SMALL, LARGE), 40.0, 0.0).shares == pytest.approx((0.875, 0.125))


def test_a_full_tier_is_never_asked_for_more_than_it_carries_while_another_has_room():
    halved = replace(LARGE, segments=(Segment(10.0, 0.0),))
    split = solved((SMALL, halved), 40.0, 0.6)

    assert split.over == 0.0
    assert split.shares == pytest.approx((0.75, 0.25))


def test_the_floor_is_kept_even_where_the_tier_cannot_carry_it_and_that_is_told():
    halved = replace(LARGE, segments=(Segment(10.0, 0.0),))
    split = solved((SMALL, halved), 40.0, 0.75)

    assert split.quality == pytest.approx(0.75)
    assert split.over == pytest.approx(10.0)


def test_an_api_is_taken_below_break_even_and_given_up_above():
    sleeping = TierOffer("large", 0.95, (Segment(5.0, 0.0), Segment(45.0, 0.01)), opening=0.05)
    break_even = 0.05 / 0.02

    assert solved((sleeping, API), 0.9 * break_even, 0.9).shares == pytest.approx((0.0, 1.0))
    assert solved((sleeping, API), 1.1 * break_even, 0.9).shares == pytest.approx((1.0, 0.0))


def test_an_api_takes_what_the_pool_has_no_room_for():
    full = replace(LARGE, segments=(Segment(10.0, 0.0),))

    assert solved((full, API), 20.0, 0.9).shares == pytest.approx((0.5, 0.5))


def test_without_any_tier_there_is_no_split():
    assert cheapest((replace(SMALL, shut=True),), 1.0, 0.0, OVERLOAD) is None


prices = st.floats(0.0, 0.1).map(lambda usd: round(usd, 4))
rooms = st.floats(0.5, 50.0).map(lambda room: round(room, 2))
qualities = st.integers(0, 100).map(lambda percent: percent / 100)


@st.composite
def tiers(draw, opening=True):
    count = draw(st.integers(1, 4))
    offers = []
    for index in range(count):
        usd = draw(prices)
        segments = (Segment(draw(rooms), 0.0), Segment(draw(rooms), usd))
        costs = usd * segments[0].room if opening and draw(st.booleans()) else 0.0
        offers.append(TierOffer(f"t{index}", draw(qualities), segments, costs))
    return tuple(offers)


@settings(deadline=None, max_examples=50)
@given(tiers(), st.floats(0.1, 200.0), qualities)
def test_shares_are_a_split_that_keeps_the_floor_whenever_it_can_be_kept(offers, demand, floor):
    split = solved(offers, demand, floor)

    assert sum(split.shares) == pytest.approx(1.0)
    assert all(share >= -1e-9 for share in split.shares)
    assert split.quality >= min(floor, max(offer.quality for offer in offers)) - 1e-6


@settings(deadline=None, max_examples=50)
@given(tiers(), st.floats(0.1, 200.0))
def test_no_tier_is_over_while_another_has_room_unless_the_floor_asks_for_it(offers, demand):
    split = solved(offers, demand, 0.0)
    room = sum(offer.room for offer in offers)

    assert split.over == pytest.approx(max(0.0, demand - room), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(tiers(opening=False), st.floats(0.1, 200.0), qualities)
def test_it_costs_what_a_general_solver_finds(offers, demand, floor):
    floor = min(floor, max(offer.quality for offer in offers))
    columns = [(s.room, s.usd, offer.quality) for offer in offers for s in offer.segments]
    room, usd, quality = (np.array(column) for column in zip(*columns, strict=True))
    answer = linprog(
        usd, A_ub=[-(quality - floor)], b_ub=[1e-9], A_eq=[np.ones_like(usd)], b_eq=[demand],
        bounds=[(0, each) for each in room],
    )  # fmt: skip
    split = solved(offers, demand, floor)
    if answer.status == 0:
        assert split.usd_per_second == pytest.approx(answer.fun, rel=1e-5, abs=1e-7)
    else:
        assert split.over > 0


@settings(deadline=None, max_examples=50)
@given(tiers(), st.floats(0.1, 100.0), qualities, st.floats(1.0, 5.0))
def test_a_dearer_tier_costs_no_less_and_buys_no_more(offers, demand, floor, factor):
    first = offers[0]
    dearer = replace(
        first,
        opening=first.opening * factor,
        segments=tuple(replace(segment, usd=segment.usd * factor) for segment in first.segments),
    )
    before, after = solved(offers, demand, floor), solved((dearer, *offers[1:]), demand, floor)

    # An overload's penalty follows the dearest price: compare where there is none.
    if before.over <= 1e-9 and after.over <= 1e-9:
        paid_before, paid_after = (cost_of((first,), (s.shares[0],), demand)[0] for s in (before, after))
        assert paid_after <= paid_before + 1e-6
        assert after.usd_per_second >= before.usd_per_second - 1e-6


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8).filter(lambda shares: sum(shares) > 0.01))
def test_points_add_up_and_are_within_one_of_their_share(shares):
    points = points_of(shares)

    assert sum(points) == 100
    assert all(abs(point - 100 * share / sum(shares)) < 1 + 1e-6 for point, share in zip(points, shares, strict=True))


@settings(deadline=None, max_examples=50)
@given(tiers(opening=False), st.floats(0.1, 200.0), qualities)
def test_rounding_to_points_keeps_the_floor(offers, demand, floor):
    split = solved(offers, demand, floor)
    points = points_within(split.shares, [offer.quality for offer in offers], floor)

    assert sum(points) == 100
    least = min(floor, split.quality)
    assert quality_of(offers, [point / 100 for point in points]) >= least - 1e-6
