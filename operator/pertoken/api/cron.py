"""Cron expressions on the wall clock of a time zone, as Debian's cron reads them.

Where clocks are put forward, what falls into the hour that is left out happens right after it; where they are put
back, it happens once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
EXPECTED_CRON: Final = 'five cron fields (minute, hour, day, month, day of week), such as "0 8 * * 1-5"'
EXPECTED_ZONE: Final = "an IANA time zone, such as Europe/Berlin"


def cron_expression(text: str) -> str:
    """The same text.

    Raises:
        ValueError: it is no cron expression, or one that never comes.
    """
    try:
        if len(text.split()) == FIELDS and next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))):
            return text
    except (CronSimError, StopIteration):
        pass
    raise ValueError(EXPECTED_CRON)


def known_time_zone(name: str) -> str:
    """The same name.

    Raises:
        ValueError: there is no such time zone.
    """
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError; folders and odd names
        raise ValueError(EXPECTED_ZONE) from error
    return name


def last_before(expression: str, zone: str, now: float) -> float | None:
    """The last time until now, both in seconds since the epoch; None if it never came."""
    moment = datetime.fromtimestamp(int(now) + 1, ZoneInfo(zone))
    last = next((time.timestamp() for time in CronSim(expression, moment, reverse=True)), None)
    if last is None:
        return None
    # Backwards the hour that clocks go through twice counts as once; forwards what began in it is seen.
    for start in after(expression, zone, last):
        if start > now:
            break
        last = start
    return last


def after(expression: str, zone: str, now: float) -> Iterator[float]:
    """All times after now, in seconds since the epoch."""
    moment = datetime.fromtimestamp(int(now), ZoneInfo(zone))
    return (time.timestamp() for time in CronSim(expression, moment))
