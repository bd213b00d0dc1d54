"""What Kopf reads through: objects of any depth pass, and a watch that breaks off begins anew."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import kopf
import pytest
from aiohttp import web
from watched import filled

from pertoken.adapters.kube.resources import MANAGED_SELECTOR
from pertoken.control.sync import Sync
from pertoken.control.waker import Waker
from pertoken.kopf_bridge import informer
from pertoken.kopf_bridge.informer import Informer, keep_informed
from pertoken.kopf_bridge.session import with_session
from pertoken.raw.json_text import CUT, MOST_DEPTH, cut, loads

DEEP = '{"a":' * 9_990 + "1" + "}" * 9_990
OBJECT = '{"metadata": {"name": "x"}, "spec": %s}'


def depth(value: Any) -> int:
    levels = 0
    while isinstance(value, dict):
        value, levels = next(iter(value.values()), None), levels + 1
    assert value == CUT
    return levels


def test_what_is_too_deep_is_replaced_and_the_rest_kept():
    read = loads(f'{{"items": [{OBJECT % DEEP}, {{"spec": [1, "]}}{{\\"", {{}}]}}], "last": "\\\\"}}')
    assert depth(read["items"][0]["spec"]) == MOST_DEPTH - 3
    assert read["items"][1] == {"spec": [1, ']}{"', {}]}
    assert read["last"] == "\\"


@pytest.mark.parametrize("value", [{}, [], "x", [[[]]], {"a": [{"b": {"c": []}}], "d": {}}, "[[[[", [1, [2, [3]], 4]])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_cutting_leaves_shallow_values_alone(value: Any, most: int):
    def expected(part: Any, level: int) -> Any:
        if not isinstance(part, dict | list):
            return part
        if level == most:
            return CUT
        if isinstance(part, list):
            return [expected(child, level + 1) for child in part]
        return {key: expected(child, level + 1) for key, child in part.items()}

    assert json.loads(cut(json.dumps(value).encode(), most)) == expected(value, 0)


async def served(lines: bytes) -> tuple[web.AppRunner, kopf.AiohttpSession]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=lines, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    return runner, with_session(kopf.ConnectionInfo(server=address))


def test_a_watch_and_a_list_with_an_endless_object_are_read():
    async def read() -> tuple[list[Any], Any]:
        runner, info = await served((OBJECT % DEEP).encode() + b"\n" + (OBJECT % "{}").encode() + b"\n")
        async with info.aiohttp_session as session:
            response = await session.get(info.server)
            text = b"".join([chunk async for chunk in response.content.iter_chunked(1000)])
            lines = [json.loads(line) for line in text.splitlines()]
        await runner.cleanup()
        runner, info = await served((OBJECT % DEEP).encode())
        async with info.aiohttp_session as session:
            whole = await (await session.get(info.server)).json()
        await runner.cleanup()
        return lines, whole

    lines, whole = asyncio.run(read())
    assert depth(lines[0]["spec"]) == MOST_DEPTH - 1
    assert lines[1] == {"metadata": {"name": "x"}, "spec": {}}
    assert depth(whole["spec"]) == MOST_DEPTH - 1


def test_a_watch_that_breaks_off_begins_anew_and_asks_for_lists(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(informer, "_pauses", lambda: iter([0.0, 0.0, 0.0, 0.0]))
    stop, told, begun = asyncio.Event(), [], []

    async def watch() -> None:
        begun.append(1)
        if len(begun) == 3:
            stop.set()
            return
        raise RuntimeError("the stream has ended")

    asyncio.run(keep_informed(watch, stop, lambda: told.append(1)))
    assert (len(begun), len(told)) == (3, 2)


def test_the_informer_watches_every_kind_and_asks_for_lists_when_a_watch_broke_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(informer, "_pauses", lambda: iter([0.0, 0.0]))
    inventory, begun = filled(), []
    sync = Sync(inventory, None, 300.0)

    async def run_informer(registry, *, selectors, namespaces, stop) -> None:
        begun.append((len(registry._watching.get_all_handlers()), selectors, namespaces))
        if len(begun) == 1:
            raise RuntimeError("the stream has ended")
        stop.set()

    async def run() -> None:
        informer = Informer(inventory, Waker(), sync, lambda _: None, ("team",), asyncio.Event())
        await informer.run()

    monkeypatch.setattr(informer, "run_informer", run_informer)
    asyncio.run(run())

    assert begun[0] == begun[1]
    assert begun[0] == (len(inventory.plurals), {("", "v1", "configmaps"): MANAGED_SELECTOR}, ("team",))
    assert sync._asked.is_set()


def test_a_watch_that_was_told_to_end_does_not_begin_anew():
    begun, told = [], []

    async def watch() -> None:
        begun.append(1)

    asyncio.run(keep_informed(watch, asyncio.Event(), lambda: told.append(1)))
    assert (len(begun), told) == (1, [])


@pytest.mark.parametrize("levels", [MOST_DEPTH + 1, 300, 600, 900, 5_000])
def test_what_the_parser_follows_and_a_copy_does_not_is_cut_as_well(levels: int):
    deep = '{"a":' * levels + "1" + "}" * levels
    assert depth(copy.deepcopy(loads(deep))) == MOST_DEPTH
    assert loads('{"a":' * MOST_DEPTH + "1" + "}" * MOST_DEPTH) != CUT
