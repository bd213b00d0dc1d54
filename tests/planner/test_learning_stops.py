"""Nothing that is learnt, and no engine setting, moves without the traffic that it is learnt from."""

from dataclasses import replace

import pytest
from lab import decide, plant

from pertoken.domain.plan import EvictPod, SetBatchCap


@pytest.mark.parametrize("cap", [16, 64, 88, 256])
@pytest.mark.parametrize("minutes", [20, 45])
def test_after_the_last_request_neither_cap_nor_believed_capacity_moves(cap, minutes):
    made = plant(rate=14.0, replicas=4, cap=cap)
    made.run(minutes * 60)
    before = made.decision().variants[0]
    shape = made.memory.services["llm/chat"].shape
    rolling = made.memory.services["llm/chat"].variants["a100"].roll
    made.rates["chat"] = 0.0
    made.actions.clear()
    made.run(2400)
    after = made.decision().variants[0]
    if rolling is None:
        assert not [action for _, action in made.actions if isinstance(action, (SetBatchCap, EvictPod))]
        assert after.cap == before.cap
    assert after.capacity_per_replica == pytest.approx(before.capacity_per_replica, rel=0.03)
    now = made.memory.services["llm/chat"].shape
    assert now.output_tokens == pytest.approx(shape.output_tokens, rel=0.03)
    assert now.input_tokens == pytest.approx(shape.input_tokens, rel=0.03)
    assert now.context == pytest.approx(shape.context, rel=0.05)


def test_learning_goes_on_when_requests_come_again():
    made = plant(rate=14.0, replicas=4, cap=64)
    made.run(1200)
    made.rates["chat"] = 0.0
    made.run(900)
    made.load = replace(made.load, output_tokens=400.0)
    made.rates["chat"] = 10.0
    made.run(1800)
    assert made.memory.services["llm/chat"].shape.output_tokens == pytest.approx(400.0, rel=0.1)


@pytest.mark.parametrize("rate", [2.0, 20.0, 90.0])
def test_planned_again_in_the_same_instant_nothing_more_is_learnt(rate):
    made = plant(rate=rate, replicas=2, gpus=16, cap=64)
    made.run(900)
    world = made.world()
    first, once = decide(world, made.saved, made.now)
    again, twice = decide(world, once, made.now)

    learnt, same = (saved.memory.services["llm/chat"] for saved in (once, twice))
    assert (same.shape, same.demand, same.knee) == (learnt.shape, learnt.demand, learnt.knee)
    for name, variant in same.variants.items():
        before = learnt.variants[name]
        assert (variant.calibration, variant.delivered) == (before.calibration, before.delivered)
    assert [d.variants[0].desired for d in again.decisions] == [d.variants[0].desired for d in first.decisions]
