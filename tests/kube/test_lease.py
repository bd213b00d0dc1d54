"""The elector against an in-memory Lease with resource versions, on a clock that moves only by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest

from pertoken.adapters.kube.client import ApiRequest
from pertoken.adapters.kube.lease import LeaseElector, LeaseSpec
from pertoken.ports import Conflict, NotFound, Timeout

SPEC = LeaseSpec("ops", identity="a")


@dataclass
class HandClock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class LeaseApi:
    """GET, POST and PUT of one Lease with optimistic locking."""

    def __init__(self, clock: HandClock) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False
        self.version = 0
        self.clock = clock
        self.delay = 0.0

    def call(self, request: ApiRequest) -> dict[str, Any]:
        self.clock.at += self.delay
        if self.down:
            raise Timeout("no answer")
        if request.method == "GET":
            if self.lease is None:
                raise NotFound("no lease")
        elif request.method == "POST":
            if self.lease is not None:
                raise Conflict("already exists")
            self._store(request.body)
        else:
            assert self.lease is not None
            assert request.body is not None
            if request.body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                raise Conflict("modified")
            self._store(request.body)
        return copy.deepcopy(self.lease) or {}

    def _store(self, body: dict[str, Any] | None) -> None:
        assert body is not None
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        return dict(self.lease["spec"])


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def api(clock: HandClock) -> LeaseApi:
    return LeaseApi(clock)


def tick(elector: LeaseElector) -> bool:
    """One attempt, as the thread makes it."""
    elector._attempt()
    elector._tell()
    return elector.valid()


def test_the_first_candidate_creates_and_renews(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    assert tick(elector)
    assert api.spec["holderIdentity"] == elector.identity
    assert api.spec["leaseDurationSeconds"] == 15
    clock.at += 8
    assert tick(elector)
    clock.at += 9
    assert elector.valid(), "the renewal counts"
    assert api.spec["leaseTransitions"] == 0


def test_a_second_candidate_waits_while_the_first_renews(api, clock):
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    assert first.identity != second.identity, "one name, two processes"
    tick(first)
    for _ in range(30):
        clock.at += 2
        assert tick(first)
        assert not tick(second)
    assert second.holder == first.identity


def test_takeover_comes_after_the_holder_knows_that_it_lost(api, clock):
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    tick(first)
    tick(second)
    began = clock.at
    while not tick(second):
        clock.at += 0.5
        assert clock.at - began < 20
    assert clock.at - began == 15
    assert not first.valid()
    assert api.spec["leaseTransitions"] == 1
    assert not tick(first), "its resource version is stale, and then the holder is another"
    assert not tick(first)


def test_two_never_lead_at_once_under_any_interleaving(api, clock):
    electors = [LeaseElector(api, SPEC, clock) for _ in range(3)]
    for step in range(400):
        clock.at += 0.7
        api.down = (step // 40) % 3 == 1
        if step % 60 < 30 or step % 3:
            tick(electors[step % 3])
        assert sum(elector.valid() for elector in electors) <= 1


def test_an_outage_ends_validity_at_the_deadline(api, clock):
    changes: list[bool] = []
    elector = LeaseElector(api, SPEC, clock, changes.append)
    tick(elector)
    api.down = True
    clock.at += 9.9
    assert tick(elector)
    clock.at += 0.2
    assert not elector.valid()
    tick(elector)
    assert changes == [True, False]
    api.down = False
    assert tick(elector), "nobody took it meanwhile"
    assert changes == [True, False, True]
    assert api.spec["leaseTransitions"] == 0


def test_a_slow_renewal_counts_from_when_it_was_sent(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    tick(elector)
    api.delay = 4.0
    sent = clock.at
    tick(elector)
    clock.at = sent + 9.9
    assert elector.valid()
    clock.at = sent + 10.1
    assert not elector.valid()


def test_release_lets_the_standby_lead_at_once(api, clock):
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    tick(first)
    assert not tick(second)
    first.stop()
    assert not first.valid()
    assert api.spec["holderIdentity"] == ""
    assert tick(second)


def test_stopping_a_standby_leaves_the_lease_alone(api, clock):
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    tick(first)
    tick(second)
    second.stop()
    assert api.spec["holderIdentity"] == first.identity


def test_stop_without_release_and_stop_twice(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    tick(elector)
    elector.stop(release=False)
    elector.stop()
    assert api.spec["holderIdentity"] == elector.identity


def test_an_edit_by_somebody_else_costs_one_attempt_only(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    tick(elector)
    api._store(api.lease)  # e.g. an annotation
    clock.at += 2
    assert tick(elector)
    clock.at += 2
    assert tick(elector)
    assert api.spec["leaseTransitions"] == 0


def test_an_empty_lease_object_can_be_taken(api, clock):
    api._store({"metadata": {"name": "pertoken", "namespace": "ops"}})
    assert tick(LeaseElector(api, SPEC, clock))


@pytest.mark.parametrize("rhythm", [(10, 10, 2), (15, 4, 2), (15, 10, 0)])
def test_rhythms_that_cannot_be_safe_are_refused(rhythm):
    duration, deadline, retry = rhythm
    with pytest.raises(ValueError, match="lease of"):
        LeaseSpec("ops", duration_seconds=duration, renew_deadline_seconds=deadline, retry_seconds=retry)


def test_started_twice_is_a_mistake(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    elector.start()
    with pytest.raises(RuntimeError, match="already"):
        elector.start()
    elector.stop()


def test_a_term_begins_when_the_lease_is_won_and_not_when_it_is_renewed(api, clock):
    elector = LeaseElector(api, SPEC, clock)
    assert elector.term == 0
    tick(elector)
    assert elector.term == 1
    for _ in range(5):
        clock.at += 2
        tick(elector)
    clock.at += 12
    assert not elector.valid()
    tick(elector)
    assert elector.term == 1, "nobody else has led meanwhile"


def test_who_wins_the_lease_back_is_in_a_new_term(api, clock):
    """What was planned before another leader came must not be written after it."""
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    tick(first)
    tick(second)
    clock.at += 15
    tick(second)
    assert second.valid()
    tick(first)
    tick(first)
    assert not first.valid()
    clock.at += 16
    tick(first)
    assert first.valid()
    assert first.term == 2


def test_a_lease_won_by_a_write_without_an_answer_is_a_new_term(api, clock):
    first, second = LeaseElector(api, SPEC, clock), LeaseElector(api, SPEC, clock)
    tick(first)
    tick(second)
    clock.at += 15
    tick(second)
    tick(first)
    tick(first)
    clock.at += 16
    taken = api.call

    def lost_answer(request: ApiRequest) -> dict[str, Any]:
        answer = taken(request)
        if request.method == "PUT":
            raise Timeout("the answer was lost")
        return answer

    api.call = lost_answer
    tick(first)
    api.call = taken
    tick(first)
    assert first.valid()
    assert first.term == 2


def test_writes_must_end_before_another_can_lead():
    spec = LeaseSpec.lasting(15.0, "ops", "a")
    assert spec == LeaseSpec("ops", identity="a")
    assert spec.write_seconds < spec.margin_seconds == 5.0
    spec.check_writes(spec.write_seconds)
    with pytest.raises(ValueError, match=r"writes may take 5 s.*less than 5 s"):
        spec.check_writes(5.0)


@pytest.mark.parametrize("seconds", [3.0, 6.0, 15.0, 60.0])
def test_every_lease_leaves_time_for_its_writes(seconds):
    spec = LeaseSpec.lasting(seconds, "ops", "a")
    spec.check_writes(spec.write_seconds)
