"""The inventory against lost events, ghosts and races between list and watch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pertoken.control.inventory import Inventory
from pertoken.control.kinds import WatchedKind
from pertoken.control.parse import KINDS
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey


@dataclass
class StubClock:
    """A clock that stands until moved."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def obj(uid: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "namespace": "n", "name": uid}, "spec": spec}


def parse_pod(raw: dict[str, Any]) -> PodFact | None:
    if raw["spec"].get("ignored"):
        return None
    return PodFact(
        key=PodKey("n", raw["metadata"]["name"]), uid=raw["metadata"]["uid"], bound_at=raw["spec"].get("bound")
    )


@dataclass
class Fixture:
    clock: StubClock = field(default_factory=StubClock)

    def build(self) -> Inventory:
        kinds = replace(
            KINDS, pods=WatchedKind("pods", parse_pod), nodes=WatchedKind("nodes", lambda raw: raw["metadata"]["name"])
        )
        return Inventory(kinds, self.clock, keep_vanished_seconds=60)


def resync(inventory: Inventory, plural: str, *items: dict[str, Any]) -> int:
    return inventory.finish_resync(inventory.begin_resync(plural), items)


def test_synced_only_after_every_kind_was_listed():
    inventory = Fixture().build()
    first, *others = inventory.plurals
    for plural in others:
        resync(inventory, plural)
    assert not inventory.synced
    assert inventory.resync_age_seconds is None
    resync(inventory, first)
    assert inventory.synced
    assert inventory.resync_age_seconds == 0.0


def test_a_list_drops_ghosts_that_no_event_told_of():
    inventory = Fixture().build()
    inventory.put("nodes", obj("a"))
    inventory.put("nodes", obj("ghost"))
    assert resync(inventory, "nodes", obj("a")) == 1
    assert inventory.snapshot().nodes == ("a",)


def test_an_event_during_the_list_is_newer_than_the_list():
    inventory = Fixture().build()
    inventory.put("nodes", obj("deleted-meanwhile"))
    listing = inventory.begin_resync("nodes")
    inventory.drop("nodes", obj("deleted-meanwhile"))
    inventory.put("nodes", obj("created-meanwhile"))
    assert inventory.finish_resync(listing, [obj("deleted-meanwhile"), obj("old")]) == 0
    assert set(inventory.snapshot().nodes) == {"created-meanwhile", "old"}


def test_a_vanished_pod_stays_for_its_bill_and_then_expires():
    fixture = Fixture()
    inventory = fixture.build()
    inventory.put("pods", obj("p", bound=900.0))
    fixture.clock.at = 1010.0
    inventory.drop("pods", obj("p", bound=900.0))
    (pod,) = inventory.snapshot().vanished_pods
    assert pod.deleted_at == 1010.0
    assert not pod.holds_gpus
    fixture.clock.at = 1071.0
    assert inventory.snapshot().vanished_pods == ()


def test_a_pod_that_never_got_a_node_is_not_billed_after_it_vanished():
    inventory = Fixture().build()
    inventory.put("pods", obj("p"))
    inventory.drop("pods", obj("p"))
    assert inventory.snapshot().vanished_pods == ()


def test_a_pod_that_lost_interest_is_forgotten():
    inventory = Fixture().build()
    inventory.put("pods", obj("p"))
    inventory.put("pods", obj("p", ignored=True))
    assert inventory.snapshot().pods == ()


def test_an_assumed_eviction_shows_at_once_and_the_watch_corrects_it():
    inventory = Fixture().build()
    inventory.put("pods", obj("p", bound=1.0))
    inventory.assume_terminating("p")
    assert inventory.snapshot().pods[0].terminating
    inventory.put("pods", obj("p", bound=1.0))
    assert not inventory.snapshot().pods[0].terminating


def test_a_snapshot_does_not_change_afterwards():
    inventory = Fixture().build()
    inventory.put("nodes", obj("a"))
    snapshot = inventory.snapshot()
    inventory.drop("nodes", obj("a"))
    assert snapshot.nodes == ("a",)
