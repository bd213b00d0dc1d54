"""What the CapacityPlans' statuses say, for the operator's metrics: the plan itself is made by `pertoken plan`.

They are listed with the pace of the inventory's own lists, not watched: a plan changes once a week.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from pertoken.control.quantities import epoch
from pertoken.ports import AdapterError, ClusterReader, Forbidden, Json, NotFound
from pertoken.raw.values import MOST_DIGITS, whole_number

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedPool:
    """One pool of a plan.

    Attributes:
        peak_gpus: most GPUs of any planned hour.
        short_gpus: missing in the worst hour; None where the plan does not know what exists.
    """

    name: str
    peak_gpus: int
    short_gpus: int | None


@dataclass(frozen=True, slots=True)
class CapacityPlanFigures:
    """One CapacityPlan's status.

    Attributes:
        made_at: seconds since the epoch; None before the first plan.
        order_by: date by which something must be ordered, seconds since the epoch; None where nothing must.
    """

    name: str
    made_at: float | None
    order_by: float | None
    pools: tuple[PlannedPool, ...] = ()


@dataclass(slots=True)
class CapacityPlans:
    """Lists the CapacityPlans regularly.

    Attributes:
        interval_seconds: between two lists.
        figures: of the last list; what was known stands while the API server does not answer.
    """

    reader: ClusterReader
    interval_seconds: float
    figures: tuple[CapacityPlanFigures, ...] = ()

    async def run(self) -> None:
        """List until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self.interval_seconds)

    async def refresh(self) -> None:
        """List once. A cluster without the kind, or without the permission, has no plans."""
        try:
            listing = await asyncio.to_thread(self.reader.list, "capacityplans")
        except (NotFound, Forbidden) as error:
            LOGGER.info("dates of capacity plans are not exported: %s", error)
            self.figures = ()
        except AdapterError as error:
            LOGGER.warning("capacity plans cannot be listed: %s", error)
        else:
            self.figures = tuple(plan for obj in listing.items if (plan := _readable(obj)) is not None)


def plan_figures(obj: Json) -> CapacityPlanFigures:
    """What a CapacityPlan's status says; a value that is none is left out."""
    status = obj.get("status") or {}
    return CapacityPlanFigures(
        str(obj["metadata"]["name"]),
        epoch(status.get("plannedTime")),
        epoch(status.get("orderBy")),
        tuple(pool for each in status.get("pools") or () if (pool := _pool(each)) is not None),
    )


def _readable(obj: Json) -> CapacityPlanFigures | None:
    """A plan that cannot be read has no figures: users may write its status."""
    try:
        return plan_figures(obj)
    except Exception as error:  # noqa: BLE001 - whatever it holds, it must not end the operator
        LOGGER.warning("one of the capacityplans cannot be read: %s", error)
        return None


def _pool(status: Json) -> PlannedPool | None:
    peak = whole_number(status.get("peakGPUs"), 10**MOST_DIGITS)
    if peak is None:
        return None
    return PlannedPool(str(status["name"]), peak, whole_number(status.get("shortGPUs"), 10**MOST_DIGITS))
