"""Names in the benchmark's pictures touch neither each other nor what is drawn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken_bench.report.labels import DOT, Box, place

FRAME = (620.0, 375.0)
PLACES = st.tuples(st.integers(10, 500), st.integers(10, 360))
DOTS = st.dictionaries(st.text("abcdefgh", min_size=3, max_size=16), PLACES, min_size=1, max_size=8)


@settings(max_examples=10)
@given(DOTS)
def test_no_name_touches_a_name_or_a_dot(dots):
    labels = place(dots, [], FRAME)
    marks = [Box(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in dots.values()]
    assert {label.name for label in labels} == set(dots)
    for number, label in enumerate(labels):
        assert not any(label.box.touches(mark) for mark in marks)
        assert not any(label.box.touches(other.box) for other in labels[:number])


def test_a_name_gives_way_to_a_line():
    dot = {"pertoken": (100.0, 100.0)}
    [beside] = place(dot, [], FRAME)
    assert (beside.box.left, beside.far) == (106.0, False)
    front = [(100.0, 100.0), (300.0, 104.0)]
    [label] = place(dot, [front], FRAME)
    assert label.box.bottom > 104.0 or label.box.top < 100.0 or label.box.right < 100.0
