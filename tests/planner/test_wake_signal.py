"""A signal that the spec names wakes a service that sleeps, keeps it awake, and lets it sleep only where it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import generic, plant, service_spec, variant_spec

from pertoken.domain.reasons import Reason

SIGNAL = ("held", "llm", "chat")


def sleeper(signal, *, replicas=0, engine=lambda spec: spec, **spec):
    """A service that may sleep; `signal` tells its wake signal at seconds since the start, None where nobody does."""
    fleet = plant(rate=0.0, replicas=replicas)
    changes = {"min_replicas": 0, "idle_seconds": 60, "wake_signal": "held"} | spec
    fleet.services["chat"] = engine(service_spec(variants=(variant_spec(min_replicas=0),), **changes))
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    show, start = fleet.metrics, fleet.now

    def metrics():
        told = signal(fleet.now - start)
        return replace(show(), wake_signals={} if told is None else {SIGNAL: told})

    fleet.metrics = metrics
    return fleet


@pytest.mark.parametrize("engine", [lambda spec: spec, generic], ids=["modelled", "generic"])
def test_a_sleeper_is_woken_kept_awake_and_sleeps_again(engine):
    fleet = sleeper(lambda at: 3.0 if 300.0 <= at < 900.0 else 0.0, engine=engine)
    rows = []
    start = fleet.now
    fleet.run(1800.0, lambda plant, _: rows.append((plant.now - start - 15.0, plant.replicas())))

    assert all(replicas == 0 for at, replicas in rows if 200.0 <= at < 300.0)
    assert all(replicas == 1 for at, replicas in rows if 300.0 <= at < 900.0)
    assert rows[-1][1] == 0


def test_the_decision_says_by_what():
    fleet = sleeper(lambda _: 2.0)
    fleet.run(15.0)
    decision = fleet.decision()
    (step,) = [step for step in decision.trace if step.reason is Reason.WOKEN]

    assert decision.variants[0].desired == 1
    assert decision.variants[0].reason is Reason.WOKEN
    assert step.figures()["words"] == "held is 2"


def test_who_serves_is_not_put_to_sleep_while_nobody_tells_the_signal():
    fleet = sleeper(lambda _: None, replicas=1)
    fleet.run(1200.0)
    assert fleet.replicas() == 1
    told = sleeper(lambda _: 0.0, replicas=1)
    told.run(1200.0)
    assert told.replicas() == 0


@pytest.mark.parametrize(
    ("signal", "name", "words"),
    [
        (None, "held", "no replicas; profile default tells no signal held of chat"),
        (0.0, "held", "no replicas; the signal held and the gateway's queue are watched"),
        (None, "", "no replicas; the gateway's queue is watched"),
    ],
)
def test_the_status_says_what_would_wake_it(signal, name, words):
    fleet = sleeper(lambda _: signal, wake_signal=name)
    fleet.run(60.0)

    assert fleet.decision().conditions["MetricsAvailable"].message == words


def test_a_service_that_names_no_signal_is_woken_by_none():
    fleet = sleeper(lambda _: 5.0, wake_signal="")
    fleet.run(300.0)

    assert fleet.replicas() == 0
