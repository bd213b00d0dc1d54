"""Dates of the page, UTC, from Unix seconds: the pure layers have no clock and no calendar of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.units import SECONDS_PER_HOUR

SECONDS_PER_DAY: Final = 86_400
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS_BEFORE_1970: Final = 719_468  # from 0000-03-01
_DAYS_OF_ERA: Final = 146_097  # 400 years


@dataclass(frozen=True, slots=True)
class Date:
    """A day of the Gregorian calendar and a time on it."""

    year: int
    month: int
    day: int
    hour: int
    minute: int

    @property
    def text(self) -> str:
        """Such as 2026-03-29 14:00 UTC."""
        return f"{self.year:04}-{self.month:02}-{self.day:02} {self.hour:02}:{self.minute:02} UTC"

    @property
    def machine(self) -> str:
        """For the attribute ``datetime``."""
        return f"{self.year:04}-{self.month:02}-{self.day:02}T{self.hour:02}:{self.minute:02}Z"

    @property
    def day_text(self) -> str:
        """Such as Mar 29."""
        return f"{MONTHS[self.month - 1]} {self.day}"

    @property
    def hour_text(self) -> str:
        """Such as 14:00."""
        return f"{self.hour:02}:{self.minute:02}"


def days_text(days: float) -> str:
    """A number of days in words."""
    return "1 day" if days == 1 else f"{days:g} days"


def date_of(seconds: float) -> Date:
    """The date of Unix seconds.

    Years are counted from March, so that the leap day is their last (E. M. Reingold, N. Dershowitz, *Calendrical
    Calculations*, 2018, chapter 2).
    """
    days, rest = divmod(int(seconds), SECONDS_PER_DAY)
    era, day = divmod(days + _DAYS_BEFORE_1970, _DAYS_OF_ERA)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    calendar_month = month + 3 if month < 10 else month - 9
    return Date(
        year=year + 400 * era + (calendar_month <= 2),
        month=calendar_month,
        day=of_year - (153 * month + 2) // 5 + 1,
        hour=rest // SECONDS_PER_HOUR,
        minute=rest % SECONDS_PER_HOUR // 60,
    )
