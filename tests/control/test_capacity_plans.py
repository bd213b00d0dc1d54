"""What the operator reads of CapacityPlans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pertoken.control.capacity_plans import CapacityPlanFigures, CapacityPlans, PlannedPool
from pertoken.ports import Forbidden, Listing, NotFound, Unavailable

MADE = {"plannedTime": "2026-11-02T06:00:00Z", "orderBy": "2026-12-01T00:00:00Z"}
POOLS = [{"name": "h100", "peakGPUs": 24, "shortGPUs": 8}, {"name": "l40s", "peakGPUs": 4}]


@dataclass
class Reader:
    items: list[Any] = field(default_factory=list)
    fault: Exception | None = None

    def list(self, plural: str) -> Listing:
        assert plural == "capacityplans"
        if self.fault is not None:
            raise self.fault
        return Listing(self.items)


def plan(name: str, status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            {**MADE, "pools": POOLS},
            CapacityPlanFigures(
                "p", 1793599200.0, 1796083200.0, (PlannedPool("h100", 24, 8), PlannedPool("l40s", 4, None))
            ),
        ),
        (None, CapacityPlanFigures("p", None, None)),
        ({"plannedTime": "soon", "pools": [{"name": "a", "peakGPUs": "many"}]}, CapacityPlanFigures("p", None, None)),
    ],
)
async def test_a_status_as_figures(status, expected):
    plans = CapacityPlans(Reader([plan("p", status)]), 300)
    await plans.refresh()
    assert plans.figures == (expected,)


async def test_one_that_cannot_be_read_does_not_hide_the_others():
    plans = CapacityPlans(Reader([plan("bad", {"pools": [7]}), {"status": {}}, plan("good", {})]), 300)
    await plans.refresh()
    assert [each.name for each in plans.figures] == ["good"]


@pytest.mark.parametrize(("fault", "kept"), [(Unavailable("x"), 1), (NotFound("x"), 0), (Forbidden("x"), 0)])
async def test_what_was_known_stands_only_while_the_server_does_not_answer(fault, kept):
    reader = Reader([plan("p", MADE)])
    plans = CapacityPlans(reader, 300)
    await plans.refresh()
    reader.fault = fault
    await plans.refresh()
    assert len(plans.figures) == kept
