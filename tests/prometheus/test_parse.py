import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.adapters.prometheus.engines import InfoLabel
from pertoken.adapters.prometheus.parse import (
    FLOAT_NOISE,
    PodLabels,
    Sample,
    Tally,
    by_pod,
    by_server,
    capacities,
    edge,
    histogram,
    histograms,
    number,
    samples,
    twins,
)
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Histogram

LABELS = PodLabels("namespace", "pod")
POD = PodKey("a", "chat-0")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def series(value, pod=POD, **labels):
    return {"metric": {"namespace": pod.namespace, "pod": pod.name, **labels}, "value": [1.0, value]}


def sample(value, pod=POD, **labels):
    return Sample({"namespace": pod.namespace, "pod": pod.name, **labels}, value)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "", "none", None, True, [], {}])
def test_what_is_no_finite_number_is_missing(text):
    assert number(text) is None


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1e3", 1000.0), ("-0.5", -0.5), (3, 3.0)])
def test_numbers(text, value):
    assert number(text) == value


def test_not_a_number_is_counted_and_left_out():
    tally = Tally()
    assert [usable.value for usable in samples([series("1"), series("NaN"), series("+Inf")], tally)] == [1.0]
    assert tally.not_a_number == 2
    assert str(tally) == "2 not a number"


@given(JSON)
def test_no_answer_whatsoever_raises(anything):
    for usable in samples(anything, Tally()):
        assert math.isfinite(usable.value)
    for usable in samples([{"metric": {}, "value": [1, anything]}, anything], Tally()):
        assert math.isfinite(usable.value)


def test_two_series_of_one_pod_make_it_missing():
    tally, other = Tally(), PodKey("a", "chat-large-0")
    values = by_pod([sample(1.0), sample(2.0), sample(3.0, other)], LABELS, tally)
    assert values == {other: 3.0}
    assert tally.duplicates == 1


@pytest.mark.parametrize("labels", [{"namespace": "a"}, {"pod": "p"}, {"namespace": "", "pod": "p"}, {}])
def test_series_without_a_pod_are_ignored_and_counted(labels):
    tally = Tally()
    assert by_pod([Sample(labels, 1.0)], LABELS, tally) == {}
    assert tally.without_pod == 1


@given(st.dictionaries(st.tuples(st.text(min_size=1), st.text(min_size=1)), st.floats(-1e9, 1e9)))
def test_identity_is_exact(values):
    read = [sample(value, PodKey(*names)) for names, value in values.items()]
    assert by_pod(read, LABELS, Tally()) == {PodKey(*names): value for names, value in values.items()}


@pytest.mark.parametrize(
    ("text", "bound"),
    [("1", 1.0), ("1.0", 1.0), ("+Inf", math.inf), ("Inf", math.inf), ("NaN", None), ("x", None), (None, None)],
)
def test_bucket_edges_have_one_spelling(text, bound):
    assert edge(text) == bound


def test_two_spellings_of_an_edge_are_copies():
    read = [sample(1.0, le="1"), sample(2.0, le="1.0"), sample(3.0, le="+Inf")]
    merged = histograms(read, LABELS, 1.0, Tally())[POD]
    assert merged.edges == (1.0, math.inf)
    assert merged.cumulative == (2.0, 3.0)


def test_edges_are_scaled_to_seconds():
    scaled = histograms([sample(1.0, le="250"), sample(1.0, le="+Inf")], LABELS, 1e-3, Tally())[POD]
    assert scaled.edges == (0.25, math.inf)


@pytest.mark.parametrize(
    "buckets",
    [{}, {0.1: 1.0}, {0.1: 2.0, math.inf: 1.0}, {0.1: -1.0, math.inf: 1.0}, {0.1: 5.0, 0.2: 4.0, math.inf: 6.0}],
)
def test_buckets_that_do_not_belong_together_are_no_histogram(buckets):
    assert histogram(buckets) is None


def test_bad_histograms_are_counted():
    tally = Tally()
    assert histograms([sample(1.0, le="0.5")], LABELS, 1.0, tally) == {}
    assert tally.bad_histograms == 1


@given(st.lists(st.floats(0.0, 1e6), min_size=2, max_size=20), st.floats(0.0, 0.4))
def test_noise_is_levelled_upward_and_nothing_else_changes(steps, noise):
    rates = [sum(steps[: index + 1]) for index in range(len(steps))]
    wobbled = [rate - noise * FLOAT_NOISE * rates[-1] * (index % 2) for index, rate in enumerate(rates)]
    edges = [*(float(index) for index in range(1, len(rates))), math.inf]
    levelled = histogram(dict(zip(edges, wobbled, strict=True)))
    assert levelled is not None
    assert list(levelled.cumulative) == sorted(levelled.cumulative)
    assert all(
        0 <= level - rate <= FLOAT_NOISE * rates[-1] + 1e-300
        for level, rate in zip(levelled.cumulative, wobbled, strict=True)
        if rate >= 0
    )


def capacity(*shown):
    tally = Tally()
    read = [sample(1.0, engine=rank, tokens=text) for rank, text in shown]
    return capacities(read, LABELS, InfoLabel("info", "tokens"), ("engine",), tally).get(POD), tally


def test_capacity_is_added_over_ranks():
    assert capacity(("0", "1000"), ("1", "500"))[0] == 1500.0


@pytest.mark.parametrize(
    "shown", [[("0", "None")], [("0", "0")], [("0", "1000"), ("1", "NaN")], [("0", "1000"), ("0", "2000")]]
)
def test_capacity_that_is_not_certain_is_missing(shown):
    tokens, tally = capacity(*shown)
    assert tokens is None
    assert str(tally)


FACTORS = InfoLabel("info", "tokens", ("blocks", "size"))


@pytest.mark.parametrize(
    ("labels", "tokens"),
    [
        ({"blocks": "100", "size": "16"}, 1600.0),
        ({"blocks": "100", "size": "16", "tokens": "2000"}, 2000.0),
        ({"blocks": "100", "size": "16", "tokens": "None"}, 1600.0),
        ({"blocks": "100"}, None),
        ({"blocks": "0", "size": "16"}, None),
        ({"blocks": "1e300", "size": "1e300"}, None),
    ],
)
def test_capacity_is_the_product_of_its_factors_where_it_is_not_told(labels, tokens):
    assert capacities([sample(1.0, **labels)], LABELS, FACTORS, (), Tally()).get(POD) == tokens


@pytest.mark.parametrize(
    ("addresses", "servers"),
    [
        ([("10.0.0.5:8000", 3.0)], {"8000": 3.0}),
        ([("10.0.0.5:8000", 3.0), ("10.0.0.5:8001", 4.0)], {"8000": 3.0, "8001": 4.0}),
        ([("10.0.0.5:8000", 3.0), ("chat-0:8000", 2.9)], {"8000": 3.0}),
        ([("10.0.0.5:8000", 3.0), ("chat-0", 9.0)], {"8000": 3.0}),
        ([("chat-0", 3.0)], {"": 3.0}),
        ([("[fd00::5]:8000", 3.0)], {"8000": 3.0}),
        ([("10.0.0.5:8000", 3.0), ("10.0.0.5:8000", 4.0)], {}),
    ],
)
def test_servers_of_a_pod_are_told_apart_by_port(addresses, servers):
    read = [sample(value, instance=address) for address, value in addresses]
    assert by_server(read, LABELS, Tally()).get(POD, {}) == servers


@pytest.mark.parametrize(
    ("started", "same"),
    [
        ({"8000": 5.25}, {}),
        ({"8000": 5.25, "8200": 5.26}, {}),
        ({"8200": 5.25, "8000": 5.25}, {"8000": "8000", "8200": "8000"}),
        ({"8000": 5.25, "8001": 6.0, "8002": 5.25}, {"8000": "8000", "8001": "8001", "8002": "8000"}),
        ({}, {}),
    ],
)
def test_ports_of_one_process(started, same):
    assert twins({POD: started}) == ({POD: same} if same else {})
    read = [sample(1.0 + index, instance=f"a:{port}") for index, port in enumerate(started)]
    servers = by_server(read, LABELS, Tally(), {POD: same}).get(POD, {})
    assert len(servers) == len(set(started.values()))


def test_histograms_of_two_servers_add_up_at_the_edges_of_both():
    first = [sample(1.0, le="0.1", instance="a:1"), sample(2.0, le="0.2", instance="a:1")]
    second = [sample(3.0, le="0.2", instance="a:2"), sample(5.0, le="+Inf", instance="a:2")]
    read = [*first, sample(4.0, le="+Inf", instance="a:1"), *second]
    assert histograms(read, LABELS, 1.0, Tally())[POD] == Histogram((0.2, math.inf), (5.0, 9.0))
