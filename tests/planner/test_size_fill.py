"""Demand over variants: cheapest first, minimums of dearer ones counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.planner.size.fill import fill


def variants(*rows):
    """(name, least, most, requests per second of a replica), cheapest first."""
    order = [
        SimpleNamespace(name=n, spec=SimpleNamespace(min_replicas=a, max_replicas=b), ceiling=b) for n, a, b, _ in rows
    ]
    return order, {name: SimpleNamespace(rate=rate) for name, _, _, rate in rows}


@pytest.mark.parametrize(
    ("rows", "need", "wanted"),
    [
        ([("cheap", 0, 9, 20.0), ("dear", 0, 9, 8.0)], 70.0, {"cheap": 4, "dear": 0}),
        ([("cheap", 0, 9, 20.0), ("dear", 1, 9, 10.0)], 70.0, {"cheap": 3, "dear": 1}),
        ([("cheap", 1, 9, 20.0), ("dear", 2, 9, 10.0)], 5.0, {"cheap": 1, "dear": 2}),
        ([("cheap", 0, 2, 20.0), ("dear", 1, 9, 10.0)], 70.0, {"cheap": 2, "dear": 3}),
        ([("cheap", 0, 2, 20.0), ("dear", 0, 1, 10.0)], 70.0, {"cheap": 3, "dear": 1}),  # cannot be carried: asked for
        ([("cheap", 0, 9, 20.0), ("dear", 3, 9, 10.0)], 0.0, {"cheap": 0, "dear": 3}),
    ],
)
def test_the_cheapest_carries_what_minimums_do_not(rows, need, wanted):
    assert fill(*variants(*rows), need) == wanted


row = st.tuples(st.integers(0, 3), st.integers(3, 9), st.floats(0.5, 40.0))


@given(st.lists(row, min_size=1, max_size=3), st.floats(0.0, 200.0))
def test_the_demand_is_carried_and_no_cheapest_replica_is_idle(drawn, need):
    rows = [(str(i), *figures) for i, figures in enumerate(drawn)]
    order, capacities = variants(*rows)
    wanted = fill(order, capacities, need)
    carried = sum(wanted[name] * rate for name, _, _, rate in rows)
    assert carried >= need - 1e-6
    first, least, _, rate = rows[0]
    if wanted[first] > least:
        anyway = sum(minimum * other for _, minimum, _, other in rows[1:])
        assert (wanted[first] - 1) * rate + anyway < need + 1e-6
