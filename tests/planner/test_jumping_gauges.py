"""A gauge that jumps within one rate window, beside rates that do not, must not ask for a fleet."""

from dataclasses import replace

import pytest
from lab import START, plant

from pertoken.domain.signal import Signal
from pertoken.planner.memory import Delivered
from pertoken.planner.size.capacity import share_of
from pertoken.planner.tuning import TUNING

ROOM = 100_000  # replicas: no maximum hides what is asked for


@pytest.mark.parametrize("factor", [10.0, 500.0, 5000.0])
@pytest.mark.parametrize("window", [60.0, 5.0])
def test_more_in_flight_than_can_have_arrived_is_not_demand(factor, window):
    fleet = plant(rate=2.0, replicas=4, gpus=8)
    spec = fleet.services["chat"]
    variant = replace(spec.variants[0], max_replicas=ROOM)
    fleet.services["chat"] = replace(spec, variants=(variant,))
    fleet.deployments["chat"].spec = variant
    values, snapshot = fleet.values, fleet.metrics

    def jumping(pod):
        shown = dict(values(pod))
        if fleet.now > START + 20:
            shown[Signal.RUNNING] *= factor
        return shown

    fleet.values = jumping
    fleet.metrics = lambda: replace(snapshot(), window_seconds=window)
    sized = []
    fleet.run(900, watch=lambda plant, _: sized.append(plant.memory.services["llm/chat"].shape))

    lengths = [shape.output_tokens for shape in sized if shape is not None]
    assert max(lengths) < 3 * fleet.load.output_tokens
    assert fleet.replicas() <= 8


def test_an_engine_that_hangs_does_not_make_capacity_vanish():
    fleet = plant(rate=14.0, replicas=2, gpus=32)
    fleet.run(900)
    frozen = fleet.values

    def hung(pod):
        still = (Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND, Signal.FINISHED_PER_SECOND)
        return {**frozen(pod), **dict.fromkeys(still, 0.0), Signal.WAITING: 50.0 + (fleet.now - START) / 10}

    fleet.values = hung
    fleet.run(1800)
    delivered = fleet.memory.services["llm/chat"].variants["a100"].delivered
    assert isinstance(delivered, Delivered)
    assert share_of(delivered, fleet.now, TUNING.delivered) >= TUNING.delivered.least_share
    assert fleet.decision().reason.value != "PlanningFailed"
