"""Recorded cycles through this version's planner. Pure: what was decided before, and what is decided now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pertoken.catalog.lookup import Catalog
from pertoken.control.account_and_plan import account_and_plan
from pertoken.control.recording.form import BadRecording, Recorded, plan_data
from pertoken.control.saved import Saved
from pertoken.domain.world import PlannerSettings, World
from pertoken.performance.results import Results
from pertoken.planner.tuning import Tuning
from pertoken.units import fault_words


@dataclass(frozen=True, slots=True)
class Changes:
    """What a replay takes in place of what was recorded.

    Attributes:
        settings: by name, of `PlannerSettings`.
        tuning: the numbers that decide, by (group, name).
        own_tuning, own_catalog: this version's, None for the recorded ones.
    """

    settings: tuple[tuple[str, Any], ...] = ()
    tuning: tuple[tuple[tuple[str, str], Any], ...] = ()
    own_tuning: Tuning | None = None
    own_catalog: Catalog | None = None

    @property
    def none(self) -> bool:
        """Everything is as it was recorded."""
        return self == NO_CHANGES

    def world(self, world: World) -> World:
        """A recorded world with them."""
        settings: PlannerSettings = replace(world.settings, **dict(self.settings))
        return replace(world, settings=settings, catalog=self.own_catalog or world.catalog)

    def numbers(self, recorded: Tuning) -> Tuning:
        """Recorded numbers with them."""
        tuning = self.own_tuning or recorded
        for (group, name), value in self.tuning:
            changed = replace(getattr(tuning, group), **{name: value})
            tuning = replace(tuning, **{group: changed})
        return tuning


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cycle: the plan that was recorded and the one that is made now, both as JSON data."""

    recorded: Recorded
    plan: Any


def replay(cycles: Iterable[Recorded], changes: Changes = NO_CHANGES) -> Iterator[Replayed]:
    """Decide each cycle anew, in order.

    What a cycle hands on goes into the next one, so that what the planner remembers follows the changes, too. Where
    cycles are missing in between, what was recorded counts again.

    Raises:
        BadRecording: the first cycle does not say what it started from, or one cannot be planned at all.
    """
    carried: Saved | None = None
    last: Recorded | None = None
    results = Results()
    for cycle in cycles:
        follows = last is not None and cycle.continues and cycle.number == last.number + 1
        start = carried if follows else cycle.saved
        if start is None:
            raise BadRecording(f"cycle {cycle.number}: saved: missing; expected what the first cycle started from")
        try:
            world, tuning = changes.world(cycle.world), changes.numbers(cycle.header.tuning)
            plan, carried = account_and_plan(world, start, cycle.now, tuning=tuning, results=results)
        except Exception as error:
            words = fault_words(error)
            raise BadRecording(f"cycle {cycle.number}: cannot be planned: {words}") from error
        yield Replayed(cycle, plan_data(plan))
        last = cycle
