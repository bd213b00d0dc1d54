"""Capacity is never believed above what full replicas with a growing queue deliver."""

from dataclasses import replace

import pytest
from lab import plant

from pertoken.domain.cluster import EngineSettings
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.performance.steady import at_batch
from pertoken.planner.memory import Delivered
from pertoken.planner.size.capacity import share_of
from pertoken.planner.tuning import TUNING

HALF_LIFE = TUNING.delivered.half_life


def hidden_cap(fleet, cap):
    """Engines run with a cap that the planner is not told of."""
    advance = fleet.advance_pod

    def started(pod):
        advance(pod)
        if pod.started is not None:
            pod.cap = cap

    fleet.advance_pod = started
    for pod in fleet.pods:
        pod.cap = cap
    return fleet


@pytest.mark.parametrize("cap", [8, 16])
def test_engines_with_a_cap_that_nobody_knows_are_sized_by_what_they_deliver(cap):
    fleet = hidden_cap(plant(rate=14.0, replicas=2, gpus=32), cap)
    fleet.run(1500)
    queues = []
    fleet.run(3600, watch=lambda plant, _: queues.append(plant.queues["chat"]))
    # Two replicas had 850 requests waiting; what is left is the try whether fewer replicas would do.
    assert max(queues) < 60
    assert sum(queues) / len(queues) < 15
    carried = fleet.engine("chat", cap)
    delivers = at_batch(carried, fleet.load, cap).rate * fleet.load.output_tokens
    assert fleet.decision().variants[0].capacity_per_replica < 1.4 * delivers


def test_a_growing_queue_adds_replicas_and_says_so():
    fleet = hidden_cap(plant(rate=14.0, replicas=2, gpus=32), 16)
    reasons = set()
    fleet.run(600, watch=lambda plant, _: reasons.add(plant.decision().variants[0].reason))
    assert Reason.QUEUE_BACKLOG in reasons
    assert fleet.replicas() >= 4


def test_a_model_that_holds_is_not_doubted():
    fleet = plant(rate=14.0, replicas=4)
    fleet.run(1200)
    fleet.rates["chat"] = 60.0
    fleet.run(1800)
    memory = fleet.memory.services["llm/chat"].variants["a100"]
    assert share_of(memory.delivered, fleet.now, TUNING.delivered) > 0.95


@pytest.mark.parametrize(
    ("delivered", "after", "share"),
    [
        (None, 0.0, 1.0),
        (Delivered("k", 0.5, 0.0), 0.0, 0.5),
        (Delivered("k", 0.5, 0.0), HALF_LIFE, 0.75),
        (Delivered("k", 0.5, 0.0), 20 * HALF_LIFE, 1.0),
        (Delivered("k", 0.5, 10.0), 0.0, 0.5),
    ],
)
def test_doubt_is_forgotten(delivered, after, share):
    assert share_of(delivered, after, TUNING.delivered) == pytest.approx(share, abs=1e-3)


def test_a_standing_queue_that_is_not_told_proves_nothing():
    fleet = hidden_cap(plant(rate=14.0, replicas=2, gpus=32), 16)
    show = fleet.metrics

    def silent():
        shown = show()
        return replace(
            shown,
            pods={
                key: replace(pod, values={name: value for name, value in pod.values.items() if name != Signal.WAITING})
                for key, pod in shown.pods.items()
            },
        )

    fleet.metrics = silent
    fleet.run(900)
    assert fleet.memory.services["llm/chat"].variants["a100"].delivered is None


@pytest.mark.parametrize(("sequences", "chunk"), [(16, None), (8, 1024), (None, 512)])
def test_the_settings_that_an_engine_runs_with_decide_its_capacity(sequences, chunk):
    free, bound = plant(rate=14.0, replicas=2), plant(rate=14.0, replicas=2)
    settings = EngineSettings(sequences, chunk, "argument", "argument")
    view = bound.view

    def with_settings(name):
        seen = view(name)
        variant = seen.variants[0]
        return replace(seen, variants=(replace(variant, workload=replace(variant.workload, engine=settings)),))

    bound.view = with_settings
    for fleet in (free, bound):
        fleet.run(60)
    decision = bound.decision().variants[0]
    assert decision.cap == sequences
    if sequences is not None:
        assert f"it runs with {sequences} (argument)" in decision.cap_message
        assert decision.capacity_per_replica < 0.7 * free.decision().variants[0].capacity_per_replica
    if chunk is not None:
        assert decision.capacity_per_replica != free.decision().variants[0].capacity_per_replica
