"""Schedules on the wall clock of their time zone, as minimums with a begin and an end."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.api.cron import cron_expression
from pertoken.control.schedules import minimums
from pertoken.domain.service import ScheduledMinimum

HOUR = 3600
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def times(entry: ScheduledMinimum, now: float) -> list[tuple[float, float]]:
    return [(minimum.start, minimum.end) for minimum in minimums(entry, now)]


WORKDAYS = ScheduledMinimum("0 8 * * 1-5", BERLIN, 10 * HOUR, 4)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-02T05:00", []),
        ("2026-03-02T06:30", [("2026-03-02T08:00", "2026-03-02T18:00")]),
        ("2026-03-02T08:00", [("2026-03-02T08:00", "2026-03-02T18:00")]),
        ("2026-03-02T17:59:59", [("2026-03-02T08:00", "2026-03-02T18:00")]),
        ("2026-03-02T18:00", []),
        ("2026-02-28T09:00", []),  # a Saturday
        ("2026-07-01T09:00", [("2026-07-01T08:00", "2026-07-01T18:00")]),  # summer time
    ],
)
def test_an_entry_is_told_from_two_hours_before_it_begins_until_it_ends(now, expected):
    assert times(WORKDAYS, at(now)) == [(at(start), at(end)) for start, end in expected]


def test_times_that_follow_each_other_are_one():
    hourly = ScheduledMinimum("0 * * * *", "Etc/UTC", HOUR, 1)
    now = at("2026-03-02T12:30", "Etc/UTC")
    ((start, end),) = times(hourly, now)

    assert start == at("2026-03-02T12:00", "Etc/UTC")
    assert end >= now + 2 * HOUR


def test_times_that_overlap_are_one():
    often = ScheduledMinimum("*/30 * * * *", "Etc/UTC", 2 * HOUR, 1)
    ((start, end),) = times(often, at("2026-03-02T12:31", "Etc/UTC"))

    assert start == at("2026-03-02T12:30", "Etc/UTC")
    assert end > at("2026-03-02T16:00", "Etc/UTC")


@pytest.mark.parametrize(
    ("now", "fold", "holds"),
    [
        # Clocks are put forward from 02:00 to 03:00: what would begin at 02:30 begins at 03:00.
        ("2026-03-29T01:59", 0, False),
        ("2026-03-29T03:00", 0, True),
        ("2026-03-29T03:59", 0, True),
        ("2026-03-29T04:00", 0, False),
        # Clocks are put back from 03:00 to 02:00: it begins at the first 02:30, once.
        ("2026-10-25T02:29", 0, False),
        ("2026-10-25T02:30", 0, True),
        ("2026-10-25T02:29", 1, True),
        ("2026-10-25T02:30", 1, False),
        ("2026-10-25T03:15", 0, False),
    ],
)
def test_an_hour_that_is_left_out_and_one_that_comes_twice(now, fold, holds):
    entry = ScheduledMinimum("30 2 * * *", BERLIN, HOUR, 1)
    moment = at(now, fold=fold)

    assert any(start <= moment < end for start, end in times(entry, moment)) is holds


def test_a_time_of_many_hours_keeps_its_length_over_a_change_of_clocks():
    night = ScheduledMinimum("0 22 28 3 *", BERLIN, 8 * HOUR, 1)
    ((start, end),) = times(night, at("2026-03-29T05:00"))

    assert (start, end) == (at("2026-03-28T22:00"), at("2026-03-29T07:00"))


@given(
    st.sampled_from(["0 8 * * 1-5", "*/7 * * * *", "30 2 * * *", "15 */6 * * *", "0 0 1 * *", "5 2 * * sun"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Etc/UTC"]),
    st.integers(60, 200_000),
    st.floats(1_700_000_000, 1_900_000_000),
)
def test_whether_an_entry_holds_does_not_depend_on_when_it_is_asked(expression, zone, seconds, now):
    """What is foreseen an hour before comes, and what came was foreseen."""
    entry = ScheduledMinimum(expression, zone, seconds, 1)

    def holds(asked: float) -> bool:
        return any(start <= now < end for start, end in times(entry, asked))

    assert holds(now - HOUR) is holds(now - HOUR / 2) is holds(now)


@pytest.mark.parametrize("text", ["0 8 * * 1-5", "*/15 8-18 * jan-mar mon,wed", "0 0 29 2 *", "0 0 L * *"])
def test_cron_expressions(text):
    assert cron_expression(text) == text
