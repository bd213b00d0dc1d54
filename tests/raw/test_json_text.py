"""JSON of any depth, in threads too, whose stacks may be smaller than the main one's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pertoken.raw.json_text import CUT, MOST_DEPTH, cut, loads, may_be_deep
from pertoken.raw.values import deeper_than

DEFAULT = 0
SMALL = 256 * 1024  # bytes; Alpine's threads have 128 KiB, glibc's 8 MiB


def nested(levels: int, around: tuple[str, str] = ("[", "]")) -> str:
    return around[0] * levels + "1" + around[1] * levels


@pytest.fixture(params=[DEFAULT, SMALL], ids=["default stack", "small stack"])
def in_a_thread(request) -> Iterator[Callable[..., Any]]:
    before = threading.stack_size(request.param)
    with ThreadPoolExecutor(1) as pool:
        yield lambda work, *args: pool.submit(work, *args).result()
    threading.stack_size(before)


@pytest.mark.parametrize("levels", [MOST_DEPTH + 1, 900, 10_000, 1_000_000])
@pytest.mark.parametrize("around", [("[", "]"), ('{"a":', "}")], ids=["lists", "mappings"])
def test_no_depth_ends_a_thread(in_a_thread, levels, around):
    value = in_a_thread(loads, f'{{"name": "chat", "spec": {nested(levels, around)}}}')

    assert value["name"] == "chat"
    assert not deeper_than(value, MOST_DEPTH)
    assert CUT in json.dumps(value)


def test_what_is_not_too_deep_stays_as_it_is():
    text = nested(MOST_DEPTH)

    assert loads(text) == json.loads(text)
    assert cut(text.encode()) == text.encode()


def test_brackets_in_texts_are_no_levels():
    text = json.dumps({"a": '[{"' * 500, "b": [1]})

    assert loads(text) == json.loads(text)
    assert may_be_deep(text.encode())


@pytest.mark.parametrize("text", ["", "{", "[" * 10_000, '{"a": ' * 10_000, '"a', "]" * 300])
def test_what_is_no_json_is_refused(in_a_thread, text):
    with pytest.raises(ValueError, match=r"."):
        in_a_thread(loads, text)


def test_a_value_that_points_at_itself_is_deep():
    value: list[Any] = []
    value.append(value)

    assert deeper_than(value, MOST_DEPTH)
