"""Carrying out actions: fenced, ordered, each failure with its own result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from kept import Cluster, service, surveyed
from watched import StandingClock

from pertoken.control.actuate import Actuator, Result, describe, kind_of
from pertoken.control.cap_manifest import cap_manifest
from pertoken.control.owned import Keeper
from pertoken.control.survey import Surveyed
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.plan import CompleteBatchCap, EvictPod, RemoveWorkload, SetBatchCap, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.ports import AdapterError, Conflict, EventNote, Forbidden, Json, NotFound, Refused, Timeout, Withheld
from pertoken_bench.policies.simulated_operator import ShippedCatalog

SERVICE = ServiceKey("team", "chat")
TARGET = WorkloadRef("apps/v1", "Deployment", "team", "chat-a")
UP = SetReplicas(SERVICE, "a", TARGET, 1, 3, Reason.DEMAND_ROSE, "7")
DOWN = SetReplicas(SERVICE, "a", TARGET, 3, 1, Reason.DEMAND_FELL, "7")
CAP = SetBatchCap(SERVICE, "a", TARGET, 256, 96, Reason.BATCH_CAP_LOWERED)
BACK = SetBatchCap(SERVICE, "a", TARGET, 96, 256, Reason.BATCH_CHANGE_ROLLED_BACK, rolled_back=True)
DONE = CompleteBatchCap(SERVICE, "a", TARGET, 96, Reason.BATCH_CHANGE_COMPLETED)
EVICT = EvictPod(SERVICE, "a", PodKey("n", "p"), "u", Reason.BATCH_CHANGE_ROLLING)


@dataclass
class Recorder:
    """A writer that notes calls and may fail the first ones."""

    errors: list[Exception] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.errors:
            raise self.errors.pop(0)

    def set_replicas(self, target: WorkloadRef, replicas: int, resource_version: str) -> None:
        self._note(f"scale {target.name} {replicas} @{resource_version}")

    def evict(self, pod: PodKey, uid: str) -> None:
        self._note(f"evict {pod.name} {uid}")

    def create(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        raise AssertionError((manifest, field_manager, dry_run))

    def own_fields(self, live: Json, managed_fields: Sequence[Json]) -> Json:
        raise AssertionError((live, managed_fields))

    def apply(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        self._note(f"apply {manifest['data']['PERTOKEN_MAX_NUM_SEQS']} as {field_manager} dry={dry_run}")
        return manifest

    def apply_status(self, manifest: Json, field_manager: str) -> Json:
        raise AssertionError((manifest, field_manager))

    def delete(self, manifest: Json, *, foreground: bool = False) -> None:
        raise AssertionError((manifest, foreground))

    def record(self, note: EventNote) -> None:
        raise AssertionError(note)


@pytest.fixture(scope="module")
def seen() -> Surveyed:
    """A service whose workload and cap were made in the cycle before."""
    cluster = Cluster()
    Keeper(cluster, cluster, cluster, ShippedCatalog()).keep(surveyed(cluster, service()))
    return surveyed(cluster, service())


def build(writer: Recorder, *, read_only: bool = False) -> Actuator:
    return Actuator(writer, StandingClock(), read_only)


def test_actions_are_carried_out_in_order(seen: Surveyed):
    writer = Recorder()
    outcomes = build(writer).carry_out([DOWN, UP, CAP, EVICT, DONE], seen)
    assert [outcome.result for outcome in outcomes] == [Result.DONE] * 5
    assert writer.calls == [
        "scale chat-a 1 @7",
        "scale chat-a 3 @7",
        "apply 96 as pertoken dry=False",
        "evict p u",
        "apply 96 as pertoken dry=False",
    ]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Conflict("moved"), Result.CONFLICT),
        (NotFound("gone"), Result.CONFLICT),
        (Refused("budget"), Result.REFUSED),
        (Forbidden("patch deployments/scale"), Result.FORBIDDEN),
        (Timeout("slow"), Result.FAILED),
        (Withheld("the lease is not held"), Result.WITHHELD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_has_its_own_result_and_does_not_stop_the_others(seen: Surveyed, error: AdapterError, result: Result):
    writer = Recorder(errors=[error])
    first, second = build(writer).carry_out([UP, EVICT], seen)
    assert first.result is result
    assert first.why == str(error)
    assert second.result is Result.DONE


def test_a_cap_is_written_for_exactly_the_object_that_was_surveyed(seen: Surveyed):
    manifest = cap_manifest(CAP, seen, 5.0)
    (cap,) = seen.caps.values()

    assert manifest["data"]["PERTOKEN_MAX_NUM_SEQS"] == "96"
    assert manifest["metadata"]["uid"] == cap.marks.uid
    assert manifest["metadata"]["resourceVersion"] == cap.marks.resource_version


@pytest.mark.parametrize("gone", [{"caps": {}}, {"services": ()}], ids=["no cap", "service refused meanwhile"])
def test_a_cap_that_is_not_there_or_nobodys_is_a_conflict(seen: Surveyed, gone):
    writer = Recorder()
    (outcome,) = build(writer).carry_out([CAP], replace(seen, **gone))

    assert outcome.result is Result.CONFLICT
    assert writer.calls == []


def test_a_fault_of_our_own_fails_that_action_alone_and_says_no_python(seen: Surveyed):
    first, second = build(Recorder(errors=[KeyError("uid")])).carry_out([UP, EVICT], seen)
    assert first.result is Result.FAILED
    assert "KeyError" not in first.why
    assert second.result is Result.DONE


def test_read_only_mode_writes_nothing(seen: Surveyed):
    writer = Recorder()
    (outcome,) = build(writer, read_only=True).carry_out([UP], seen)
    assert outcome.result is Result.WITHHELD
    assert writer.calls == []


@pytest.mark.parametrize(
    ("action", "kind", "words"),
    [
        (UP, "scale_up", "from 1 to 3"),
        (DOWN, "scale_down", "from 3 to 1"),
        (CAP, "batch_cap", "to 96"),
        (BACK, "batch_cap_rollback", "to 256"),
        (DONE, "batch_cap_complete", "96"),
        (EVICT, "evict", "n/p"),
        (RemoveWorkload(SERVICE, "chat-a", TARGET, "s", "u", Reason.VARIANT_REMOVED), "remove", "delete Deployment"),
    ],
)
def test_every_action_has_a_kind_and_words(action, kind, words):
    assert kind_of(action) == kind
    assert words in describe(action)
