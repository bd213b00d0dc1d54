"""What survives a restart, and what earlier versions saved."""

import json
from pathlib import Path

import pytest
from lab import plant

from pertoken.control.saved import NOTHING, from_json, shortened, to_json

DATA = Path(__file__).parent / "data"
LEDGER = 11  # its place in a service's memory of version 2
VARIANTS = 12


def test_what_is_saved_comes_back_whole():
    lab = plant("chat", "code", rate=6.0, replicas=2)
    lab.run(300)

    assert from_json(json.loads(json.dumps(to_json(lab.saved)))) == lab.saved
    assert from_json(to_json(NOTHING)) == NOTHING


def begins_as(new, old):
    """What was saved, with fields that came to be later at the ends of records."""
    if isinstance(new, list) and isinstance(old, list) and len(new) >= len(old):
        return all(begins_as(*pair) for pair in zip(new, old, strict=False))
    return new == old


@pytest.mark.parametrize("name", ["state_0_1.json", "state_2.json"])
def test_what_version_2_saved_is_read_and_nothing_of_it_lost(name):
    """The files were written by the operator of 0.1, and by the last one that kept the ledgers in the planner."""
    old = json.loads((DATA / name).read_text())
    again = to_json(from_json(old))

    assert again["memory"][1:] == old["memory"][1:]
    assert again["memory"][0].keys() == again["ledger"][0].keys() == old["memory"][0].keys()
    for service, fields in old["memory"][0].items():
        kept, account = again["memory"][0][service], again["ledger"][0][service]
        assert all(begins_as(new, old) for new, old in zip(kept[:LEDGER], fields[:LEDGER], strict=True))
        for variant, values in fields[VARIANTS].items():
            assert kept[LEDGER][variant][: len(values)] == values
        assert kept[VARIANTS : len(fields) - 1] == fields[VARIANTS + 1 :]
        assert account[0] == fields[0]
        for bucket, values in zip(account[1], fields[LEDGER][0], strict=True):
            assert bucket[: len(values)] == values
        assert account[2 : 1 + len(fields[LEDGER])] == fields[LEDGER][1:]


def test_an_account_of_version_2_goes_on():
    lab = plant("chat", "code", rate=6.0, replicas=2)
    lab.run(900)
    before = from_json(json.loads((DATA / "state_2.json").read_text()))
    lab.saved = before
    lab.step()
    after = lab.ledger.services["llm/chat"]

    assert after.opened_at == before.ledger.services["llm/chat"].opened_at
    assert sum(bucket.requests for bucket in after.buckets) > sum(
        bucket.requests for bucket in before.ledger.services["llm/chat"].buckets
    )


def test_a_shortened_state_keeps_its_ledger():
    lab = plant(rate=6.0, replicas=2)
    lab.run(600)
    short = shortened(lab.saved, 3)

    assert len(short.memory.services["llm/chat"].demand) == 3
    assert short.ledger == lab.ledger


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"version": 1, "memory": [{}, {}, None]},
        {"version": 4, "memory": [{}, {}, None], "ledger": [{}]},
        {"version": 2, "memory": []},
        {"version": 2, "memory": [[], {}, None]},
        {"version": 2, "memory": [{"s": 1}, {}, None]},
        {"version": 2, "memory": [{"s": []}, {}, None]},
        {"version": 2, "memory": [{"s": ["u", 1.0, None, None, [], [0.9], [], None, 0.0, 0.0, "", 7]}, {}, None]},
        {"version": 3, "memory": [{}, {}, None]},
        {"version": 3, "memory": [{}, {}, None], "ledger": [{"s": [1]}]},
        {"version": 3, "memory": [{"s": [1]}, {}, None], "ledger": [{}]},
    ],
)
def test_what_was_never_saved_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        from_json(data)
