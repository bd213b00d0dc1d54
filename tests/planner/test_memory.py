"""What is remembered, as JSON."""

import pytest

from pertoken.planner.memory import EMPTY, from_json, to_json


def test_the_empty_memory_round_trips():
    assert from_json(to_json(EMPTY)) == EMPTY


@pytest.mark.parametrize("data", [None, {}, [], [{}, {"p": 3}, None], [{"s": [1]}, {}, None], [[], {}, None]])
def test_what_is_no_memory_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        from_json(data)
