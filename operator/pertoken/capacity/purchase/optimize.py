"""The least expected cost of one pool: a mixed-integer programme over orders and levels, solved by HiGHS.

For one offer that runs all the time it is the newsvendor's rule: the k-th node is reserved while it is needed in a
larger share of the hours than the reserved price is of the on-demand price, P(N >= k) > r / p; K. J. Arrow, T. Harris,
J. Marschak, *Optimal Inventory Policy*, Econometrica 19(3), 1951, with underage cost p - r and overage cost r. With
several terms and begins the k-th nodes of neighbouring periods are bought together:

    min  sum_o r_o h_o n_o - sum_{p,l} u_{p,l} h_p x_{p,l}
    s.t. sum_l x_{p,l} <= sum_{o runs in p} n_o,  0 <= x_{p,l} <= w_l,  n_o whole,

r_o USD of a node-hour, h hours, u what a node in the level saves (`ladder`). The matrix of orders by periods has
consecutive ones and is totally unimodular, so whole numbers cost next to nothing; least orders add a binary each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.purchase.ladder import Ladder, ladder_of
from pertoken.capacity.purchase.need import Need
from pertoken.capacity.purchase.orders import Order, Period, last_hour, periods_of, possible_orders
from pertoken.capacity.purchase.tuning import TUNING


@dataclass(frozen=True, slots=True)
class Bought:
    """An order of so many nodes."""

    order: Order
    nodes: int


class NotSolved(RuntimeError):
    """HiGHS gave no solution to a programme that always has one."""


@dataclass(slots=True)
class _Rows:
    """Rows of the programme while they are written: entries, and each row's bounds."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, entries: list[tuple[int, float]], low: float, high: float) -> None:
        """One row: (column, coefficient) each."""
        for column, value in entries:
            self.row.append(len(self.low))
            self.column.append(column)
            self.value.append(value)
        self.low.append(low)
        self.high.append(high)

    def constraint(self, columns: int) -> Any:
        """All rows together, as scipy's `LinearConstraint`."""
        from scipy.optimize import LinearConstraint  # noqa: PLC0415 - of the extra `plan`, and slow to load
        from scipy.sparse import coo_array  # noqa: PLC0415

        matrix = coo_array((self.value, (self.row, self.column)), shape=(len(self.low), columns)).tocsr()
        return LinearConstraint(matrix, np.array(self.low), np.array(self.high))


@dataclass(slots=True)
class _Columns:
    """Columns of the programme while they are written."""

    cost: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)

    def add(self, cost: float, high: float, *, whole: bool) -> int:
        """One column of at least 0; its index."""
        self.cost.append(cost)
        self.high.append(high)
        self.whole.append(int(whole))
        return len(self.cost) - 1


def least_cost(need: Need, confidence: float) -> tuple[Bought, ...]:
    """Orders of least expected cost, earliest begin first, those after the horizon left out.

    Where on demand has a ceiling, what exceeds it at this confidence (per cent) is reserved first.

    Raises:
        NotSolved: the solver failed, which is a bug.
    """
    orders = possible_orders(need)
    if not orders or not need.nodes.any():
        return ()
    periods = periods_of(need, orders)
    columns, rows = _Columns(), _Rows()
    last = last_hour(need)
    most = float(need.nodes.max())
    held = [columns.add(_usd(need, order, last), most, whole=True) for order in orders]
    ladders: dict[int, Ladder] = {}
    for period in periods:
        key = min(period.begin, need.futures.hours)  # after the horizon all periods have the same levels
        ladder = ladders[key] = ladders.get(key) or ladder_of(need, period)
        running = [held[i] for i, order in enumerate(orders) if order.begin <= period.begin and order.end >= period.end]
        _levels(columns, rows, (period, ladder), running)
        _floor(columns, rows, (need, period, _floor_nodes(need, period, confidence)), running)
    _limits(columns, rows, (orders, periods, held), most)
    counts = _solved(columns, rows, need.futures.name)[: len(orders)]
    bought = [Bought(order, int(n)) for order, n in zip(orders, counts, strict=True) if n > 0]
    return tuple(
        sorted(
            (entry for entry in bought if entry.order.begin < need.futures.hours),
            key=lambda entry: (entry.order.begin, -entry.order.end),
        )
    )


def _solved(columns: _Columns, rows: _Rows, name: str) -> NDArray[np.int64]:
    """Whole columns of the best solution: the linear programme's, where it is whole already, as it mostly is."""
    from scipy.optimize import Bounds, milp  # noqa: PLC0415 - of the extra `plan`, and slow to load

    whole = np.array(columns.whole)
    for integrality in (np.zeros_like(whole), whole):
        solution = milp(
            np.array(columns.cost),
            integrality=integrality,
            bounds=Bounds(0.0, np.array(columns.high)),
            constraints=rows.constraint(len(columns.cost)),
            options={"mip_rel_gap": 0.0},
        )
        if solution.x is None:
            raise NotSolved(f"pool {name}: {solution.message}")
        if np.abs(solution.x - np.rint(solution.x))[whole > 0].max() < TUNING.whole:
            break
    counts: NDArray[np.int64] = np.rint(solution.x).astype(np.int64)
    return counts


def _usd(need: Need, order: Order, last: int) -> float:
    """USD of one node for the order's hours; a hair more, so that equal cost reserves nothing."""
    price = float(order.offer.usd_per_gpu_hour) * need.per_gpu_hour
    return (price + TUNING.tie * need.node_usd) * (min(order.end, last) - order.begin)


def _levels(columns: _Columns, rows: _Rows, part: tuple[Period, Ladder], running: list[int]) -> None:
    period, ladder = part
    hours = period.end - period.begin
    entries = [
        (columns.add(-float(usd) * hours, float(width), whole=False), 1.0)
        for width, usd in zip(ladder.width, ladder.usd_per_hour, strict=True)
    ]
    if entries:
        rows.add([*entries, *((column, -1.0) for column in running)], -np.inf, 0.0)


def _floor_nodes(need: Need, period: Period, confidence: float) -> int:
    """Nodes that must be reserved in a period because on demand ends below the need at this confidence."""
    ceiling = need.options.on_demand.max_nodes
    if ceiling is None or period.begin >= need.futures.hours:
        return 0
    high = need.futures.sufficient(need.nodes[:, period.begin : period.end], confidence)
    return max(0, int(high.max()) - ceiling)


def _floor(columns: _Columns, rows: _Rows, part: tuple[Need, Period, int], running: list[int]) -> None:
    """The floor, missed at a price far above any offer: a lead time may leave no way to hold it."""
    need, period, nodes = part
    if nodes:
        missed = TUNING.shortage * need.node_usd * (period.end - period.begin)
        slack = columns.add(missed, float(nodes), whole=False)
        rows.add([(slack, 1.0), *((column, 1.0) for column in running)], float(nodes), np.inf)


def _limits(
    columns: _Columns, rows: _Rows, part: tuple[tuple[Order, ...], tuple[Period, ...], list[int]], most: float
) -> None:
    """Least nodes of an order, most nodes of an offer at once."""
    orders, periods, held = part
    for order, column in zip(orders, held, strict=True):
        least = order.offer.min_nodes
        if least > 1:
            columns.high[column] = max(most, float(least))
            taken = columns.add(0.0, 1.0, whole=True)
            rows.add([(column, 1.0), (taken, -float(least))], 0.0, np.inf)
            rows.add([(column, 1.0), (taken, -columns.high[column])], -np.inf, 0.0)
    offers = {order.offer.name: order.offer for order in orders if order.offer.max_nodes is not None}
    for name, offer in offers.items():
        for period in periods:
            running = [
                column
                for order, column in zip(orders, held, strict=True)
                if order.offer.name == name and order.begin <= period.begin and order.end >= period.end
            ]
            if running:
                rows.add([(column, 1.0) for column in running], -np.inf, float(offer.max_nodes or 0))
