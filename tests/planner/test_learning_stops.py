"""Nothing that is learnt, and no engine setting, moves without the traffic that it is learnt from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from lab import plant

from pertoken.domain.plan import EvictPod, SetBatchCap
from pertoken.planner.memory import from_json, to_json

SAVED = Path(__file__).parent / "data" / "memory_0_1.json"


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


def test_what_version_0_1_saved_is_read_and_nothing_of_it_lost():
    """The file was written by the planner of version 0.1 after 75 minutes of two services."""
    saved = json.loads(SAVED.read_text())
    memory = from_json(saved)
    again = to_json(memory)["memory"]
    for name, old in saved["memory"][0].items():
        new = again[0][name]
        assert new[: len(old) - 1] == old[:-1]
        for variant, fields in old[-1].items():
            assert new[len(old) - 1][variant][: len(fields)] == fields
    assert again[1:] == saved["memory"][1:]
    chat = memory.services["llm/chat"]
    assert chat.ledger.buckets
    assert chat.variants["a100"].calibration.samples > 100
