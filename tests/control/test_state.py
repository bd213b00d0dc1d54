"""The planner's memory in its ConfigMap."""

import base64

import numpy as np
import pytest

from pertoken.control import state
from pertoken.control.state import KEY, MAX_BYTES, MemoryStore
from pertoken.model.demand import DemandSample
from pertoken.planner.memory import EMPTY, Memory, ServiceMemory
from pertoken.ports import NotFound


class Cluster:
    """One ConfigMap."""

    saved = None

    def get(self, ref):
        if self.saved is None:
            raise NotFound(ref.name)
        return self.saved

    def apply(self, manifest, _manager):
        self.saved = manifest
        return manifest

    def monotonic(self):
        return 0.0


@pytest.fixture
def store():
    cluster = Cluster()
    return MemoryStore(cluster, cluster, cluster, "pertoken-system")


def many(services, cycles=160):
    """Services of which no two look alike."""
    values = np.random.default_rng(1).random((services, cycles, 5)).round(5).tolist()
    return Memory(
        {
            f"llm/s{number}": ServiceMemory(
                f"uid-{number}", 0.0, demand=tuple(DemandSample(15.0 * i, *row) for i, row in enumerate(rows))
            )
            for number, rows in enumerate(values)
        }
    )


def test_what_is_saved_is_loaded(store):
    assert store.load() == EMPTY
    memory = many(2)
    store.save(memory)

    assert store.load() == memory


def test_a_memory_that_does_not_fit_is_kept_with_less_of_its_demand(store):
    memory = many(600)
    store.save(memory)
    found = store.load()

    assert len(base64.b64decode(store.writer.saved["binaryData"][KEY])) <= MAX_BYTES
    assert found.services.keys() == memory.services.keys()
    for name, one in found.services.items():
        assert one.demand == memory.services[name].demand[-40:]
        assert one.uid == memory.services[name].uid


def test_a_memory_that_never_fits_is_not_kept_and_that_is_said(store, monkeypatch, caplog):
    monkeypatch.setattr(state, "MAX_BYTES", 10)
    store.save(many(1))

    assert store.writer.saved is None
    assert "does not fit a ConfigMap" in caplog.text
