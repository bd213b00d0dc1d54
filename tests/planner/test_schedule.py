"""A minimum of the schedule follows the laws of `minReplicas`, and its replicas serve when it begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import START, generic, plant, service_spec, variant_spec

from pertoken.control import schedules
from pertoken.control.account_and_plan import account_and_plan
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ScheduledMinimum
from pertoken.domain.trace import Fault

# START is a Monday, 13:46:40 UTC: the schedule begins 13 minutes and 20 seconds later, for ten minutes.
BEGINS, ENDS = 800.0, 1400.0
ENTRY = ScheduledMinimum("0 14 * * *", "Etc/UTC", 600, 5)


def scheduled_plant(*, rate=1.0, replicas=1, entry=ENTRY, start_seconds=60.0, engine=lambda spec: spec, **spec):
    fleet = plant(rate=rate, replicas=replicas, start_seconds=start_seconds)
    fleet.services["chat"] = engine(service_spec(schedule=(entry,), **spec))
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    return fleet


def timeline(fleet, seconds):
    """(seconds since START, replicas asked for, replicas that serve) of each cycle."""
    rows = []
    fleet.run(seconds, lambda plant, _: rows.append((plant.now - START, plant.replicas(), len(plant.ready("chat")))))
    return rows


@pytest.mark.parametrize("start_seconds", [60.0, 180.0, 400.0])
@pytest.mark.parametrize("engine", [lambda spec: spec, generic], ids=["modelled", "generic"])
def test_replicas_serve_when_the_schedule_begins_and_go_when_it_ends(start_seconds, engine):
    fleet = scheduled_plant(start_seconds=start_seconds, engine=engine)
    rows = timeline(fleet, 4000.0)
    lead = start_seconds + 15.0 + 30.0

    assert all(replicas == 1 for at, replicas, _ in rows if at < BEGINS - lead - 15.0), "not before it is time"
    assert all(serving >= 5 for at, _, serving in rows if BEGINS <= at < ENDS)
    assert rows[-1][1] == 1, "demand counts again"


def test_the_trace_says_which_entry_and_for_how_long():
    fleet = scheduled_plant()
    fleet.run(BEGINS + 60.0)
    decision = fleet.decision()
    (step,) = [step for step in decision.trace if step.reason is Reason.SCHEDULED]

    assert decision.variants[0].reason is Reason.SCHEDULED
    assert decision.variants[0].desired == 5
    assert step.figures()["words"] == 'schedule "0 14 * * *" (Etc/UTC): at least 5 replicas for 545 s more'
    assert "at the minimum of the schedule" in decision.message


def test_demand_above_the_schedule_counts_as_ever():
    busy = scheduled_plant(rate=60.0, replicas=9)
    busy.run(BEGINS + 60.0)
    usual = plant(rate=60.0, replicas=9)
    usual.run(BEGINS + 60.0)

    assert busy.replicas() == usual.replicas() > 5
    assert busy.decision().variants[0].reason is usual.decision().variants[0].reason


def test_of_several_entries_the_highest_counts_and_none_lowers_the_minimum():
    low = replace(ENTRY, min_replicas=2)
    for schedule, desired in (((low, ENTRY), 5), ((ENTRY, low), 5), ((low,), 3)):
        fleet = scheduled_plant(min_replicas=3)
        fleet.services["chat"] = replace(fleet.services["chat"], schedule=schedule)
        fleet.run(BEGINS + 60.0)
        assert fleet.replicas() == desired


def test_it_stands_above_the_spend_and_below_the_maximum():
    fleet = scheduled_plant(variants=(variant_spec(max_replicas=4),))
    fleet.run(BEGINS + 60.0)

    assert fleet.replicas() == 4


def test_what_sleeps_is_woken_for_it_and_sleeps_again():
    fleet = scheduled_plant(
        rate=0.0, replicas=0, variants=(variant_spec(min_replicas=0),), min_replicas=0, idle_seconds=60
    )
    rows = timeline(fleet, 2400.0)

    assert all(replicas == 0 for at, replicas, _ in rows if 120.0 <= at < BEGINS - 180.0)
    assert all(serving == 5 for at, _, serving in rows if BEGINS <= at < ENDS)
    assert rows[-1][1] == 0


def test_it_is_reached_without_metrics():
    fleet = scheduled_plant()
    fleet.run(120.0)
    fleet.outage = True
    fleet.run(BEGINS)

    assert fleet.replicas() == 5


def test_paused_and_recommended_services_are_told_of_it_alone():
    fleet = scheduled_plant(paused=True)
    fleet.run(BEGINS + 60.0)

    assert fleet.replicas() == 1
    assert fleet.decision().variants[0].desired == 5


def test_a_schedule_that_fails_holds_its_own_service_alone(monkeypatch):
    fleet = scheduled_plant()
    world = fleet.world()
    other = replace(world.services[0], spec=service_spec("other"))
    world = replace(world, services=(*world.services, other))

    def fails(*_):
        raise OverflowError("date value out of range")

    monkeypatch.setattr(schedules, "minimums", fails)
    plan, saved = account_and_plan(world, fleet.saved, fleet.now)
    held, planned = plan.decisions

    assert (held.service.name, held.reason, held.acts) == ("chat", Reason.PLANNING_FAILED, False)
    assert held.trace[-1].detail == Fault("OverflowError: date value out of range")
    assert (planned.service.name, planned.reason is Reason.PLANNING_FAILED) == ("other", False)
    assert set(saved.memory.services) == {"llm/chat", "llm/other"}
