"""Planner memory and ledger in their ConfigMap."""

import base64

import numpy as np
import pytest

from pertoken.accounting.ledger import Ledger, ServiceLedger
from pertoken.control import state
from pertoken.control.saved import NOTHING, Saved
from pertoken.control.state import KEY, MAX_BYTES, StateStore
from pertoken.forecast.demand import DemandSample
from pertoken.planner.memory import Memory, ServiceMemory
from pertoken.ports import AlreadyExists, Conflict, NotFound, Unavailable, Withheld


class Cluster:
    """One ConfigMap with optimistic locking."""

    saved = None
    version = 0
    fault = None

    def get(self, ref):
        if self.saved is None:
            raise NotFound(ref.name)
        return self.saved

    def create(self, manifest, _manager):
        if self.fault:
            raise self.fault
        if self.saved is not None:
            raise AlreadyExists("taken")
        return self.store(manifest)

    def apply(self, manifest, _manager):
        if self.fault:
            raise self.fault
        if self.saved is None or manifest["metadata"]["resourceVersion"] != self.saved["metadata"]["resourceVersion"]:
            raise Conflict("modified")
        return self.store(manifest)

    def store(self, manifest):
        self.version += 1
        identity = {"uid": "u", "resourceVersion": str(self.version)}
        self.saved = {**manifest, "metadata": {**manifest["metadata"], **identity}}
        return self.saved

    def monotonic(self):
        return 0.0


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
        }
    )
    return Saved(
        memory,
        Ledger({name: ServiceLedger(remembered.uid, opened_at=0.5) for name, remembered in memory.services.items()}),
    )


def test_what_is_saved_is_loaded(store):
    assert store.load() == NOTHING
    saved = many(2)
    store.save(saved)

    assert store.load() == saved


def test_a_memory_that_does_not_fit_is_kept_with_less_of_its_demand(store):
    saved = many(600)
    store.save(saved)
    loaded = store.load()

    assert len(base64.b64decode(store.writer.saved["binaryData"][KEY])) <= MAX_BYTES
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
