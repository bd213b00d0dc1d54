"""Planner memory and ledger in their ConfigMap."""

import base64
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pertoken.accounting.ledger import Bucket, Ledger, ServiceLedger, bill_of, tokens_of
from pertoken.control import state
from pertoken.control.saved import NOTHING, Saved, coarsened, rounded
from pertoken.control.state import KEY, StateStore
from pertoken.forecast.demand import DemandSample
from pertoken.planner.memory import Memory, PoolMemory, ServiceMemory
from pertoken.ports import AlreadyExists, Conflict, NotFound, Unavailable, Withheld
from pertoken.routing.memory import RouteMemory, Routes


class Cluster:
    """ConfigMaps with optimistic locking, and the clock."""

    def __init__(self) -> None:
        self.objects = {}
        self.version = 0
        self.fault = None
        self.now_at = 0.0
        self.sent = 0
        self.dies_after = None

    @property
    def saved(self):
        return self.objects.get("pertoken-memory")

    def get(self, ref):
        if ref.name not in self.objects:
            raise NotFound(ref.name)
        return self.objects[ref.name]

    def create(self, manifest, _manager):
        if self.fault:
            raise self.fault
        if manifest["metadata"]["name"] in self.objects:
            raise AlreadyExists("taken")
        return self.store(manifest)

    def apply(self, manifest, _manager):
        if self.fault:
            raise self.fault
        there = self.objects.get(manifest["metadata"]["name"])
        if there is None or manifest["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            raise Conflict("modified")
        return self.store(manifest)

    def store(self, manifest):
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                raise SystemExit("killed")
        self.version += 1
        identity = {"uid": "u", "resourceVersion": str(self.version)}
        stored = {**manifest, "metadata": {**manifest["metadata"], **identity}}
        self.objects[manifest["metadata"]["name"]] = stored
        self.sent += len(base64.b64decode(manifest.get("binaryData", {}).get(KEY, "")))
        return stored

    def monotonic(self):
        return self.now_at


@pytest.fixture
def store():
    cluster = Cluster()
    return StateStore(cluster, cluster, cluster, "pertoken-system")


def many(services, cycles=160):
    """Services of which no two look alike."""
    values = np.random.default_rng(1).random((services, cycles, 5)).round(5).tolist()
    memory = Memory(
        {
            f"llm/s{number}": ServiceMemory(
                f"uid-{number}", 0.0, demand=tuple(DemandSample(15.0 * i, *row) for i, row in enumerate(rows))
            )
            for number, rows in enumerate(values)
        },
        pools={"a100/llm/s0/a": PoolMemory(60.0, 2)},
    )
    return Saved(
        memory,
        Ledger({name: ServiceLedger(remembered.uid, opened_at=0.5) for name, remembered in memory.services.items()}),
        Routes({"llm/chat": RouteMemory("uid-chat", {"small": 0.4, "large": 0.6}, reverts=(5.0,), demand=12.5)}),
    )


def test_what_is_saved_is_loaded(store):
    assert store.load() == NOTHING
    saved = many(2)
    store.save(saved)

    assert store.load() == saved


def test_a_memory_that_does_not_fit_is_kept_with_less_of_its_demand(store, monkeypatch):
    monkeypatch.setattr(state, "MAX_BYTES", 100_000)
    saved = many(60)
    store.save(saved)
    loaded = store.load()

    assert len(base64.b64decode(store.writer.saved["binaryData"][KEY])) <= 100_000
    assert loaded.memory.services.keys() == saved.memory.services.keys()
    for name, memory in loaded.memory.services.items():
        assert memory.demand == saved.memory.services[name].demand[-40:]
        assert memory.uid == saved.memory.services[name].uid
    assert loaded.ledger == saved.ledger


def test_a_memory_that_never_fits_is_not_kept_and_that_is_said(store, monkeypatch, caplog):
    monkeypatch.setattr(state, "MAX_BYTES", 10)
    store.save(many(1))

    assert store.writer.saved is None
    assert "does not fit a ConfigMap" in caplog.text


def other(store):
    """The store of another leader on the same cluster."""
    return StateStore(store.reader, store.writer, store.clock, "pertoken-system")


def test_what_another_leader_saved_is_not_overwritten_by_an_earlier_one(store):
    store.load()
    store.save(many(1))
    successor = other(store)
    successor.load()
    successor.save(many(3))
    store.save(many(1), force=True)

    assert other(store).load() == many(3)


def test_after_an_election_what_the_other_leader_saved_counts(store):
    store.load()
    store.save(many(1))
    successor = other(store)
    successor.load()
    successor.save(many(3))

    assert store.load() == many(3)
    store.save(many(2), force=True)
    assert other(store).load() == many(2)


def test_somebody_who_annotates_the_configmap_stops_one_save_only(store):
    store.load()
    store.save(many(1))
    store.writer.store(store.writer.saved)
    store.save(many(2), force=True)
    store.save(many(2), force=True)

    assert other(store).load() == many(2)


@pytest.mark.parametrize("fault", [Withheld("the lease is not held"), Unavailable("down")], ids=str)
def test_a_save_that_fails_is_no_end(store, fault):
    store.load()
    store.writer.fault = fault
    store.save(many(1))

    assert store.writer.saved is None


def test_somebody_elses_configmap_is_neither_read_nor_written(store, caplog):
    others_map = store.writer.store({"metadata": {"name": "pertoken-memory"}, "data": {"a": "b"}})
    assert store.load() == NOTHING
    store.save(many(1), force=True)

    assert store.writer.saved == others_map
    assert "is not pertoken's memory" in caplog.text


def test_no_answer_is_not_no_memory(store):
    """An operator that cannot read its memory must not plan without it."""

    def down(_ref):
        raise Unavailable("down")

    store.reader.get = down
    with pytest.raises(Unavailable):
        store.load()


def names(store):
    return sorted(name for name in store.writer.objects)


def test_many_services_lie_in_many_shards_and_come_back_whole(store):
    saved = many(200, cycles=2)
    store.save(saved)
    assert len(names(store)) == 4
    assert store.load() == saved


def test_a_shard_that_cannot_be_read_costs_its_services_alone(store, caplog):
    saved = many(200, cycles=2)
    store.save(saved)
    broken = store.writer.objects["pertoken-memory-2"]
    broken["binaryData"] = {KEY: base64.b64encode(b"no zlib").decode()}
    loaded = store.load()
    lost = saved.memory.services.keys() - loaded.memory.services.keys()
    assert 20 < len(lost) < 80
    assert loaded.memory.services.keys() == loaded.ledger.services.keys()
    assert all(loaded.memory.services[name] == saved.memory.services[name] for name in loaded.memory.services)
    assert "unreadable (shard 2)" in caplog.text


def test_shards_are_written_within_the_budget_and_all_of_them_in_turn(store):
    store.bytes_per_minute = 40_000
    saved = many(200)
    written = []
    for minute in range(40):
        store.clock.now_at = 61.0 * minute
        store.writer.sent = 0
        store.save(replace(saved, memory=replace(saved.memory, planned_at=float(minute))))
        written.append(store.writer.sent)
        if len(names(store)) == 4 and minute > 12:
            break
    assert len(names(store)) == 4
    rate = sum(written) / len(written)
    assert rate < 2 * 40_000, f"{rate:.0f} bytes a minute"
    assert store.load().memory.services.keys() == saved.memory.services.keys()


def test_what_has_not_changed_is_not_written(store):
    saved = many(3)
    store.save(saved)
    version = store.writer.version
    store.clock.now_at = 120.0
    store.save(saved)
    assert store.writer.version == version
    store.clock.now_at = 240.0
    store.save(many(4))
    assert store.writer.version == version + 1


def test_more_services_than_before_lose_nothing_when_the_operator_dies_in_between(store):
    few = many(60, cycles=2)
    store.save(few)
    store.writer.dies_after = 1
    more = many(100, cycles=2)
    store.clock.now_at = 120.0
    with pytest.raises(SystemExit):
        store.save(more)
    store.writer.dies_after = None
    loaded = other(store).load()
    assert loaded.memory.services.keys() >= few.memory.services.keys()


def test_what_changed_of_a_route_alone_is_written(store):
    saved = many(100, cycles=2)
    store.save(saved)
    reverted = replace(saved, routes=Routes({"llm/chat": RouteMemory("uid-chat", reverts=(5.0, 65.0))}))
    store.clock.now_at, version = 120.0, store.writer.version
    store.save(reverted)

    assert store.writer.version == version + 1
    assert other(store).load() == reverted


def test_figures_that_are_shortened_keep_the_bill_and_every_instant():
    data = [1_790_000_000.123456, 0.123456789, "12.3456789012345", 123_456_789, True, None, {"a": [2.0 / 3.0]}]
    assert rounded(data) == [
        1_790_000_000.123456,
        0.123457,
        "12.3456789012345",
        123_456_789,
        True,
        None,
        {"a": [0.666667]},
    ]


def test_fewer_buckets_hold_the_same_bill():
    buckets = tuple(
        Bucket(float(at), 1_000 + at, Decimal(f"12345.{at:04d}7"), requests=float(at)) for at in range(0, 1000, 10)
    )
    account = ServiceLedger("u", buckets, opened_at=0.0, closed_at=1000.0)
    few = coarsened(Saved(ledger=Ledger({"llm/a": account})), 24).ledger.services["llm/a"]
    assert len(few.buckets) <= 25
    assert bill_of(few.buckets) == bill_of(account.buckets)
    assert tokens_of(few.buckets) == tokens_of(account.buckets)
    assert few.buckets[-1] == account.buckets[-1]
    again = coarsened(Saved(ledger=Ledger({"llm/a": few})), 24).ledger.services["llm/a"]
    assert again.buckets == few.buckets, "each save makes it no coarser"
