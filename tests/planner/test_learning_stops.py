"""Nothing that is learnt, and no engine setting, moves without the traffic that it is learnt from."""

from dataclasses import replace

import pytest
from lab import account_and_plan, plant

from pertoken.domain.plan import EvictPod, SetBatchCap


@pytest.mark.parametrize("cap", [16, 64, 88, 256])
@pytest.mark.parametrize("minutes", [20, 45])
def test_after_the_last_request_neither_cap_nor_believed_capacity_moves(cap, minutes):
    fleet = plant(rate=14.0, replicas=4, cap=cap)
    fleet.run(minutes * 60)
    before = fleet.decision().variants[0]
    shape = fleet.memory.services["llm/chat"].shape
    rolling = fleet.memory.services["llm/chat"].variants["a100"].roll
    fleet.rates["chat"] = 0.0
    fleet.actions.clear()
    fleet.run(2400)
    after = fleet.decision().variants[0]
    if rolling is None:
        assert not [action for _, action in fleet.actions if isinstance(action, (SetBatchCap, EvictPod))]
        assert after.cap == before.cap
    assert after.capacity_per_replica == pytest.approx(before.capacity_per_replica, rel=0.03)
    now = fleet.memory.services["llm/chat"].shape
    assert now.output_tokens == pytest.approx(shape.output_tokens, rel=0.03)
    assert now.input_tokens == pytest.approx(shape.input_tokens, rel=0.03)
    assert now.context == pytest.approx(shape.context, rel=0.05)


def test_learning_goes_on_when_requests_come_again():
    fleet = plant(rate=14.0, replicas=4, cap=64)
    fleet.run(1200)
    fleet.rates["chat"] = 0.0
    fleet.run(900)
    fleet.load = replace(fleet.load, output_tokens=400.0)
    fleet.rates["chat"] = 10.0
    fleet.run(1800)
    assert fleet.memory.services["llm/chat"].shape.output_tokens == pytest.approx(400.0, rel=0.1)


@pytest.mark.parametrize("rate", [2.0, 20.0, 90.0])
def test_planned_again_in_the_same_instant_nothing_more_is_learnt(rate):
    fleet = plant(rate=rate, replicas=2, gpus=16, cap=64)
    fleet.run(900)
    world = fleet.world()
    first, once = account_and_plan(world, fleet.saved, fleet.now)
    again, twice = account_and_plan(world, once, fleet.now)

    learnt, same = (saved.memory.services["llm/chat"] for saved in (once, twice))
    assert (same.shape, same.demand, same.knee) == (learnt.shape, learnt.demand, learnt.knee)
    for name, variant in same.variants.items():
        before = learnt.variants[name]
        assert (variant.calibration, variant.delivered) == (before.calibration, before.delivered)
    assert [d.variants[0].desired for d in again.decisions] == [d.variants[0].desired for d in first.decisions]
