"""A signal that the spec names wakes a service that sleeps, keeps it awake, and lets it sleep only where it is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from lab import generic, plant, service_spec, variant_spec

from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason

SIGNAL = ("held", "llm", "chat")


@dataclass(frozen=True)
class Gateway:
    """What a gateway tells: requests that it holds for the service, None for nothing; whether it is there."""

    held: float | None = None
    there: bool = False

    def told(self):
        queue = {} if self.held is None else {SIGNAL[1:]: self.held}
        return {"gateway_queue": queue, "gateways": frozenset({"llm"} if self.there else ())}


def sleeper(signal, *, replicas=0, engine=lambda spec: spec, gateway=None, **spec):
    """A service that may sleep.

    `signal` tells its wake signal at seconds since the start, None where nobody does; `gateway` likewise.
    """
    fleet = plant(rate=0.0, replicas=replicas)
    gateway = gateway or (lambda _: Gateway(0.0))
    changes = {"min_replicas": 0, "idle_seconds": 60, "wake_signal": "held"} | spec
    fleet.services["chat"] = engine(service_spec(variants=(variant_spec(min_replicas=0),), **changes))
    fleet.deployments["chat"].spec = fleet.services["chat"].variants[0]
    show, start = fleet.metrics, fleet.now

    def metrics():
        told = signal(fleet.now - start)
        told_by_gateway = gateway(fleet.now - start).told()
        return replace(show(), wake_signals={} if told is None else {SIGNAL: told}, **told_by_gateway)

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


NOWHERE, THERE, TOLD = Gateway(), Gateway(there=True), Gateway(0.0)
UNTOLD = "profile default tells no gateway's queue of chat"
NO_SIGNAL = "profile default tells no signal held of chat"


@pytest.mark.parametrize(
    ("signal", "gateway", "name", "verdict", "words"),
    [
        (None, NOWHERE, "held", Verdict.FALSE, f"{NO_SIGNAL}; nothing else wakes it"),
        (None, TOLD, "held", Verdict.FALSE, f"{NO_SIGNAL}; the gateway's queue is watched"),
        (None, THERE, "held", Verdict.FALSE, f"{NO_SIGNAL}; the gateway's queue is watched"),
        (0.0, TOLD, "held", Verdict.TRUE, "the signal held and the gateway's queue are watched"),
        (None, TOLD, "", Verdict.TRUE, "the gateway's queue is watched"),
        (None, THERE, "", Verdict.TRUE, "the gateway's queue is watched"),
        (None, NOWHERE, "", Verdict.FALSE, f"{UNTOLD}; nothing else wakes it"),
    ],
)
def test_the_status_says_what_would_wake_it(signal, gateway, name, verdict, words):
    fleet = sleeper(lambda _: signal, wake_signal=name, gateway=lambda _: gateway)
    fleet.run(30.0)
    told = fleet.decision().conditions["MetricsAvailable"]

    assert (told.verdict, told.message) == (verdict, f"no replicas; {words}")
    assert told.reason is (Reason.NO_TRAFFIC if verdict is Verdict.TRUE else Reason.SIGNALS_MISSING)


def poor(spec):
    """A ceiling on spend that no replica fits under: like every minimum, what is woken stands above it."""
    return replace(spec, cost=replace(spec.cost, max_spend_per_hour=Decimal("0.01")))


@pytest.mark.parametrize("engine", [lambda spec: spec, generic, poor], ids=["modelled", "generic", "without money"])
def test_a_request_that_the_gateway_holds_wakes_in_the_next_cycle(engine):
    def gateway(at):
        return Gateway(1.0 if at >= 60.0 else None, there=True)

    fleet = sleeper(lambda _: None, wake_signal="", gateway=gateway, engine=engine)
    fleet.run(60.0)
    assert fleet.replicas() == 0
    fleet.run(15.0)
    assert fleet.replicas() == 1


@pytest.mark.parametrize(
    ("gateway", "left"),
    [
        (lambda _: NOWHERE, 1),  # nothing could wake it again
        (lambda _: THERE, 1),  # there is a gateway, and it never told of this service: it may not be behind it
        (lambda _: TOLD, 0),
        (lambda at: TOLD if at < 30.0 else THERE, 0),  # it restarted: a queue begins with the next request
        (lambda at: TOLD if at < 30.0 else NOWHERE, 1),
    ],
    ids=["no gateway", "another's gateway", "told", "told once", "gone"],
)
def test_only_who_can_be_woken_by_the_gateway_is_put_to_sleep(gateway, left):
    fleet = sleeper(lambda _: None, replicas=1, wake_signal="", gateway=gateway)
    fleet.run(600.0)
    told = fleet.decision().conditions["MetricsAvailable"]

    assert fleet.replicas() == left
    if left:
        assert (told.verdict, told.reason) == (Verdict.FALSE, Reason.SIGNALS_MISSING)
        assert told.message.endswith(f"{UNTOLD}: it is not put to sleep")


def test_a_minimum_is_no_matter_of_the_gateway():
    fleet = sleeper(lambda _: None, replicas=1, wake_signal="", gateway=lambda _: NOWHERE, min_replicas=1)
    fleet.run(150.0)

    assert fleet.decision().conditions["MetricsAvailable"].verdict is Verdict.TRUE


def test_a_service_that_names_no_signal_is_woken_by_none():
    fleet = sleeper(lambda _: 5.0, wake_signal="")
    fleet.run(300.0)

    assert fleet.replicas() == 0
