"""In the time of a freeze replicas and batch caps stay as they are, whatever is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import START, plant, service_spec, variant_spec

from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Freeze, ScheduledMinimum

BEGINS, ENDS = 300.0, 900.0
FREEZE = Freeze(START + ENDS, "1970-01-12T14:01:40Z", START + BEGINS, "1970-01-12T13:51:40Z", "sale")


def frozen_plant(freeze=FREEZE, **changes):
    fleet = plant(rate=10.0, replicas=2, **changes)
    fleet.services["chat"] = service_spec(freeze=freeze)
    return fleet


@pytest.mark.parametrize("rate", [0.5, 60.0], ids=["less is asked", "more is asked"])
def test_nothing_moves_until_it_ends(rate):
    fleet = frozen_plant(cap=256)
    fleet.run(BEGINS)
    before, fleet.actions = fleet.replicas(), []
    fleet.rates["chat"] = rate
    fleet.run(ENDS - BEGINS)

    assert fleet.actions == []
    assert fleet.replicas() == before
    decision = fleet.decision()
    assert not decision.acts
    assert decision.variants[0].desired != before, "what would be decided is shown"
    fleet.run(900.0)
    assert fleet.replicas() != before, "then demand counts again"


def test_the_status_says_so_before_meanwhile_and_after():
    fleet = frozen_plant()
    told = []
    for seconds in (BEGINS, ENDS - BEGINS, 60.0):
        fleet.run(seconds)
        told.append((fleet.decision().conditions["Paused"], fleet.decision().message))
    (before, _), (meanwhile, message), (after, _) = told
    words = "frozen from 1970-01-12T13:51:40Z until 1970-01-12T14:01:40Z: sale"

    assert (before.verdict, before.reason, before.message) == (Verdict.FALSE, Reason.NOT_PAUSED, f"not paused; {words}")
    assert (meanwhile.verdict, meanwhile.reason) == (Verdict.TRUE, Reason.FROZEN)
    assert meanwhile.message == f"{words}; decisions are shown, not carried out"
    assert message.startswith(f"{words}; ")
    assert (after.verdict, after.reason, after.message) == (Verdict.FALSE, Reason.NOT_PAUSED, "not paused")


ASLEEP = {"min_replicas": 0, "idle_seconds": 60, "variants": (variant_spec(min_replicas=0),)}
DUE = ScheduledMinimum("50 13 * * *", "Etc/UTC", 7200, 3)  # START is 13:46:40


@pytest.mark.parametrize(
    ("spec", "gateway", "due"),
    [
        ({}, 0.0, 1),  # created while frozen: it gets its minimum when the freeze ends
        (ASLEEP, 2.0, 1),  # the gateway holds requests
        ({**ASLEEP, "schedule": (DUE,)}, 0.0, 3),  # a minimum begins while it is frozen
    ],
    ids=["created", "woken", "scheduled"],
)
def test_what_has_no_replicas_gets_them_in_the_cycle_after_it_ends(spec, gateway, due):
    fleet = plant(rate=0.0, replicas=0)
    fleet.services["chat"] = service_spec(freeze=replace(FREEZE, start=None), **spec)
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    seen = fleet.metrics
    fleet.metrics = lambda: replace(seen(), gateway_queue={("llm", "chat"): gateway})
    fleet.run(ENDS)
    decision = fleet.decision()

    assert fleet.actions == []
    assert decision.variants[0].desired >= due, "what would be decided is shown"
    assert decision.conditions["Paused"].reason is Reason.FROZEN
    fleet.run(15.0)
    assert fleet.replicas() >= due


def test_idle_time_that_passes_while_frozen_counts_and_nothing_sleeps_before_its_end():
    fleet = plant(rate=0.0, replicas=2)
    fleet.services["chat"] = service_spec(freeze=replace(FREEZE, start=None), **ASLEEP)
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    fleet.run(ENDS)
    assert fleet.replicas() == 2
    fleet.run(15.0)
    assert fleet.replicas() == 0


def test_a_higher_priority_takes_nothing_of_what_is_frozen():
    def fleet_with(freeze):
        fleet = plant("chat", "first", rate=10.0, replicas=4, gpus=8)
        fleet.services["chat"] = service_spec(freeze=freeze)
        fleet.services["first"] = service_spec("first", priority=10)
        fleet.rates["first"] = 60.0
        fleet.run(600.0)
        return fleet

    endless = replace(FREEZE, start=None, end=START + 1e6)
    assert fleet_with(endless).replicas("chat") == 4
    assert fleet_with(None).replicas("chat") < 4
