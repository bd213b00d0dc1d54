"""Schedules of services as minimums with a begin and an end.

A pure function of the specs, the instant, and the time zones' rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import Final

from pertoken.api import cron
from pertoken.domain.service import ScheduledMinimum
from pertoken.domain.world import ServiceView, TimedMinimum, World
from pertoken.units import fault_words

AHEAD_SECONDS: Final = 7200.0  # twice the longest start-up that is believed
REUSED_SECONDS: Final = 300.0


def with_schedules(world: World, now: float) -> World:
    """The world whose services have the minimums of their schedules, as they hold at `now` and begin soon after.

    A service whose schedule cannot be worked out has the fault instead, for which the planner holds it.
    """
    if not any(view.spec.schedule for view in world.services):
        return world
    return replace(world, services=tuple(_with_minimums(view, now) for view in world.services))


def _with_minimums(view: ServiceView, now: float) -> ServiceView:
    if not view.spec.schedule:
        return view
    try:
        timed = tuple(minimum for entry in view.spec.schedule for minimum in minimums(entry, now))
    except Exception as error:  # noqa: BLE001 - one bad schedule must not fail the cycle
        return replace(view, fault=fault_words(error))
    return replace(view, minimums=timed)


def minimums(entry: ScheduledMinimum, now: float) -> Iterator[TimedMinimum]:
    """Times at which an entry's minimum holds, from those that have not ended to those that begin within two hours."""
    for start, end in _times(entry, now - now % REUSED_SECONDS):
        if end > now:
            yield TimedMinimum(start, end, entry.min_replicas, str(entry))


@lru_cache(maxsize=10_000)
def _times(entry: ScheduledMinimum, since: float) -> tuple[tuple[float, float], ...]:
    """Begin and end of the time that goes on at `since` and of those that begin after it; overlapping ones as one."""
    last = cron.last_before(entry.cron, entry.time_zone, since)
    until = since + AHEAD_SECONDS + REUSED_SECONDS
    coming = takewhile(lambda start: start <= until, cron.after(entry.cron, entry.time_zone, since))
    times: list[tuple[float, float]] = []
    for start in (*([] if last is None else [last]), *coming):
        end = start + entry.duration_seconds
        if times and start <= times[-1][1]:
            times[-1] = times[-1][0], end
        elif end > since:
            times.append((start, end))
    return tuple(times)
