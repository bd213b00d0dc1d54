import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.domain.signal import Histogram
from pertoken.performance.histogram import merge, quantile, share_within

INF = math.inf
SAMPLE = Histogram((0.025, 0.05, 0.1, INF), (10.0, 60.0, 90.0, 100.0))
EDGES = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=8, unique=True).map(lambda edges: (*sorted(edges), INF))


@st.composite
def histograms(draw, edges=EDGES):
    bounds = draw(edges)
    steps = draw(st.lists(st.floats(0.0, 1e6), min_size=len(bounds), max_size=len(bounds)))
    total, rates = 0.0, []
    for step in steps:
        total += step
        rates.append(total)
    return Histogram(tuple(bounds), tuple(rates))


@pytest.mark.parametrize(
    ("q", "low", "estimate", "high"),
    [
        (0.0, 0.0, 0.0, 0.025),
        (0.05, 0.0, 0.0125, 0.025),
        (0.1, 0.0, 0.025, 0.025),
        (0.35, 0.025, 0.0375, 0.05),
        (0.75, 0.05, 0.075, 0.1),
        (0.95, 0.1, 0.1, INF),
        (1.0, 0.1, 0.1, INF),
    ],
)
def test_quantile_lies_between_the_edges_of_its_bucket(q, low, estimate, high):
    bounds = quantile(SAMPLE, q)
    assert bounds is not None
    assert (bounds.low, bounds.high) == (low, high)
    assert bounds.estimate == pytest.approx(estimate)


def test_empty_buckets_below_the_first_event_hold_no_quantile():
    bounds = quantile(Histogram((0.1, 0.2, INF), (0.0, 5.0, 5.0)), 0.0)
    assert bounds is not None
    assert (bounds.low, bounds.high) == (0.1, 0.2)


@pytest.mark.parametrize("empty", [Histogram((), ()), Histogram((0.1, INF), (0.0, 0.0))])
def test_no_events_no_quantile_and_nothing_known_about_shares(empty):
    assert quantile(empty, 0.95) is None
    assert share_within(empty, 0.1) == (0.0, 1.0)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_outside_its_range_is_an_error(q):
    with pytest.raises(ValueError, match="must be in"):
        quantile(SAMPLE, q)


@pytest.mark.parametrize(
    ("limit", "least", "most"),
    [
        (0.05, 0.6, 0.6),
        (0.04, 0.1, 0.6),
        (0.01, 0.0, 0.1),
        (0.5, 0.9, 1.0),
        (INF, 1.0, 1.0),
        (-1.0, 0.0, 0.0),
        (0.0, 0.0, 0.1),
    ],
)
def test_share_is_exact_on_an_edge_and_bounded_between(limit, least, most):
    assert share_within(SAMPLE, limit) == pytest.approx((least, most))


def test_merging_differing_edges_keeps_the_common_ones():
    other = Histogram((0.05, 0.2, INF), (1.0, 2.0, 3.0))
    assert merge([SAMPLE, other]) == Histogram((0.05, INF), (61.0, 103.0))


def test_merging_nothing_gives_nothing():
    assert merge([]) is None
    assert merge([Histogram((), ())]) is None


def test_merging_without_a_common_open_bucket_gives_nothing():
    assert merge([SAMPLE, Histogram((0.05,), (1.0,))]) is None


@given(histograms(), st.floats(0.0, 1.0))
def test_bounds_enclose_the_estimate(sample, q):
    bounds = quantile(sample, q)
    if bounds is None:
        assert sample.cumulative[-1] == 0.0
    else:
        assert bounds.low <= bounds.estimate <= bounds.high
        assert bounds.high in sample.edges


@given(histograms(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_quantiles_grow_with_q(sample, q, other_q):
    low, high = quantile(sample, min(q, other_q)), quantile(sample, max(q, other_q))
    if low and high:
        assert low.low <= high.low
        assert low.high <= high.high
        assert low.estimate <= high.estimate * (1 + 1e-9)


@given(histograms(), st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_shares_are_ordered_bounds_that_grow_with_the_limit(sample, limit, other_limit):
    small, large = share_within(sample, min(limit, other_limit)), share_within(sample, max(limit, other_limit))
    for least, most in (small, large):
        assert 0.0 <= least <= most <= 1.0
    if sample.cumulative[-1] > 0.0:
        assert small[0] <= large[0]
        assert small[1] <= large[1]


@given(histograms(), st.floats(0.001, 1.0))
def test_the_upper_bound_of_a_quantile_contains_its_share(sample, q):
    bounds = quantile(sample, q)
    if bounds:
        assert share_within(sample, bounds.high)[0] >= q * (1 - 1e-9)


@given(EDGES.flatmap(lambda edges: st.lists(histograms(st.just(edges)), min_size=1, max_size=5)), st.floats(0.0, 1.0))
def test_merge_adds_events_and_its_quantile_lies_between_the_parts(parts, q):
    whole = merge(parts)
    assert whole is not None
    assert whole.cumulative[-1] == pytest.approx(sum(part.cumulative[-1] for part in parts))
    assert list(whole.cumulative) == sorted(whole.cumulative)
    assert merge(reversed(parts)) == whole
    assert merge([whole]) == whole
    of_whole, quantiles = quantile(whole, q), [quantile(part, q) for part in parts]
    known = [bounds for bounds in quantiles if bounds]
    if of_whole and known and 0.001 < q < 0.999:
        index = whole.edges.index(of_whole.high)
        neighbours = whole.edges[max(0, index - 1) : index + 2]  # rounding may move a rank on an edge by one bucket
        assert min(bounds.low for bounds in known) <= neighbours[-1]
        assert max(bounds.high for bounds in known) >= neighbours[0]


@given(st.lists(st.floats(0.0001, 100.0), min_size=1, max_size=60), EDGES, st.floats(0.0, 1.0), st.floats(0.0, 200.0))
def test_bounds_hold_for_the_events_behind_a_histogram(events, edges, q, limit):
    sample = Histogram(tuple(edges), tuple(float(sum(event <= edge for event in events)) for edge in edges))
    bounds = quantile(sample, q)
    assert bounds is not None
    rank = max(1, math.ceil(round(q * len(events), 9)))
    true = sorted(events)[rank - 1]
    assert bounds.low * (1 - 1e-12) <= true <= bounds.high
    least, most = share_within(sample, limit)
    share = sum(event <= limit for event in events) / len(events)
    assert least - 1e-12 <= share <= most + 1e-12
