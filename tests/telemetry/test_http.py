"""Probes, metrics and the debug view over real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from cycling import eventually

from pertoken.domain.cost import CostFigures, TokenPrices
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.plan import Decision, EvictPod, Plan, PoolFigures, SetReplicas, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import GrowingQueue, Step
from pertoken.frozen import replace
from pertoken.telemetry import http
from pertoken.telemetry.http import HttpOptions, HttpSources, TelemetryServer, not_older, ready_when
from pertoken.telemetry.logging import LogControl
from pertoken.telemetry.plan_view import plain

CHAT = ServiceKey("prod", "chat")
TARGET = WorkloadRef("apps/v1", "Deployment", "prod", "chat")
STEP = Step("size", "2", "3", Reason.DEMAND_ROSE, "a100", GrowingQueue(812.5))
PLAN = Plan(
    decisions=(
        Decision(
            CHAT,
            Reason.DEMAND_ROSE,
            "demand rose to 812 tok/s",
            (VariantDecision("h100", 2, 3, 2, Reason.DEMAND_ROSE, capacity_per_replica=math.inf),),
            {},
            trace=(STEP,),
        ),
    ),
    actions=(
        SetReplicas(CHAT, "h100", TARGET, 2, 3, Reason.DEMAND_ROSE, "77"),
        EvictPod(CHAT, "h100", PodKey("prod", "p"), "u", Reason.BATCH_CHANGE_ROLLING),
    ),
    pools=(PoolFigures("h100", 16, 8, 8, 8, 0),),
)


@dataclass
class World:
    """Everything that the server asks."""

    heartbeat: float | None = 1.0
    reachable: bool = True
    leading: bool = True
    synced: bool = True
    last: tuple[int, Plan] | None = None
    slow: float = 0.0
    pieces: tuple[bytes, ...] | None = None
    urls: dict[str, str] = field(default_factory=dict)

    def reach(self) -> bool:
        time.sleep(self.slow)
        return self.reachable

    def sources(self) -> HttpSources:
        return HttpSources(
            metrics=lambda accept: (f"asked {accept}".encode(), "text/plain; version=0.0.4; charset=utf-8"),
            last_plan=lambda: self.last,
            log_control=LogControl("INFO"),
            recording=None if self.pieces is None else lambda: iter(self.pieces or ()),
            health={"loop": not_older("the heartbeat", lambda: self.heartbeat, 30.0)},
            readiness={"operator": ready_when(self.reach, lambda: self.leading, lambda: self.synced)},
        )


@pytest.fixture(autouse=True)
def keep_levels() -> Iterator[None]:
    names = ("", "aiohttp.access", "asyncio", "kopf", "kubernetes", "urllib3", "pertoken.planner")
    levels = {name: logging.getLogger(name or None).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    bench_world = World()
    server = TelemetryServer(HttpOptions(host="127.0.0.1", port=0, debug_port=0), bench_world.sources())
    await server.start()
    bench_world.urls = {"open": f"http://127.0.0.1:{server.port}", "debug": f"http://127.0.0.1:{server.debug_port}"}
    yield bench_world
    await server.stop()


async def ask(world: World, path: str, where: str = "open", **request: Any) -> tuple[int, str, str]:
    method = request.pop("method", "GET")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, world.urls[where] + path, **request) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_a_server_that_runs_stops_when_it_is_cancelled():
    server = TelemetryServer(HttpOptions(host="127.0.0.1", port=0, debug_port=0), World().sources())
    task = asyncio.create_task(server.run())
    await eventually(lambda: len(server._ports) == 2)
    world = World(urls={"open": f"http://127.0.0.1:{server.port}"})
    assert (await ask(world, "/healthz"))[0] == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(world, "/healthz")


async def test_metrics(world):
    status, content_type, body = await ask(world, "/metrics", headers={"Accept": "text/plain"})
    assert (status, body) == (200, "asked text/plain")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


async def test_healthz_fails_on_an_old_heartbeat(world):
    assert (await ask(world, "/healthz"))[0] == 200
    world.heartbeat = 31.0
    status, _, body = await ask(world, "/healthz")
    assert status == 503
    assert "heartbeat is 31.0 s old" in body
    world.heartbeat = None
    assert (await ask(world, "/healthz"))[0] == 200, "before the first beat there is nothing to complain of"


@pytest.mark.parametrize(
    ("reachable", "leading", "synced", "status"),
    [
        (True, True, True, 200),
        (True, True, False, 503),
        (True, False, False, 200),
        (False, True, True, 503),
        (False, False, True, 503),
    ],
)
async def test_readyz(world, reachable, leading, synced, status):
    world.reachable, world.leading, world.synced = reachable, leading, synced
    assert (await ask(world, "/readyz"))[0] == status


async def test_a_check_that_hangs_holds_up_neither_the_probe_nor_others(world, monkeypatch):
    monkeypatch.setattr(http, "CHECK_SECONDS", 0.2)
    world.slow = 1.0
    began = time.monotonic()
    ready, alive = await asyncio.gather(ask(world, "/readyz"), ask(world, "/healthz"))
    assert time.monotonic() - began < 0.9
    assert ready[0] == 503
    assert "no answer within" in ready[2]
    assert alive[0] == 200


async def test_the_debug_view_is_on_loopback_alone(world):
    assert (await ask(world, "/debug/plan"))[0] == 404
    assert (await ask(world, "/debug/loglevel"))[0] == 404
    assert (await ask(world, "/metrics", "debug"))[0] == 404
    server = TelemetryServer(HttpOptions(host="127.0.0.1", port=0, debug_port=0), World().sources())
    await server.start()
    assert server._runners[1].addresses[0][0] == "127.0.0.1"
    await server.stop()


async def test_prices_as_litellm_reads_them(world):
    assert (await ask(world, "/prices"))[0] == 503
    prices = TokenPrices(0.01, 0.001, 0.04)
    decision = replace(PLAN.decisions[0], cost=CostFigures(input=0.1, output=0.4, one_more=prices), served_name="chat")
    world.last = (7, replace(PLAN, decisions=(decision,)))

    assert json.loads((await ask(world, "/prices"))[2])["chat"]["output_cost_per_token"] == 4e-7
    assert json.loads((await ask(world, "/prices?basis=marginal"))[2])["chat"]["output_cost_per_token"] == 4e-8
    assert (await ask(world, "/prices?basis=best"))[0] == 400


async def test_the_plan_as_json_and_text(world):
    assert (await ask(world, "/debug/plan", "debug"))[0] == 404
    world.last = (12, PLAN)
    async with aiohttp.ClientSession() as session, session.get(world.urls["debug"] + "/debug/plan") as answer:
        shown = await answer.json()
    assert shown["cycle"] == 12
    (decision,) = shown["decisions"]
    assert decision["reason"] == "DemandRose"
    assert decision["trace"][0]["detail"] == {"type": "GrowingQueue", "waiting": 812.5}
    assert decision["variants"][0]["capacity_per_replica"] is None, "JSON has no infinity"
    assert [action["type"] for action in shown["actions"]] == ["SetReplicas", "EvictPod"]
    _, content_type, text = await ask(world, "/debug/plan?format=text", "debug")
    assert content_type.startswith("text/plain")
    for part in ("cycle 12", "prod/chat: DemandRose", "size: 2 -> 3", "variant: a100", "waiting: 812.5"):
        assert part in text
    assert "8 of 16 GPUs used" in text


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [(None, 404, b"PERTOKEN_RECORD_CYCLES is 0"), ((), 200, b""), ((b"one ", b"two"), 200, b"one two")],
)
async def test_what_is_recorded_comes_as_one_file(pieces, status, body):
    server = TelemetryServer(HttpOptions(host="127.0.0.1", port=0, debug_port=0), World(pieces=pieces).sources())
    await server.start()
    url = f"http://127.0.0.1:{server.debug_port}/debug/recording"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        told = await answer.read()
    await server.stop()

    assert answer.status == status
    assert told == body if status == 200 else body in told


async def test_log_levels(world):
    wanted = {"level": "DEBUG", "logger": "pertoken.planner"}
    status, _, _ = await ask(world, "/debug/loglevel", "debug", method="PUT", json=wanted)
    assert status == 200
    assert logging.getLogger("pertoken.planner").level == logging.DEBUG
    assert '"pertoken.planner": "DEBUG"' in (await ask(world, "/debug/loglevel", "debug"))[2]
    for bad in ({"level": "LOUD"}, {}, [], "x"):
        status, _, body = await ask(world, "/debug/loglevel", "debug", method="PUT", json=bad)
        assert status == 400
        assert "expected" in body


async def test_an_address_in_use_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = TelemetryServer(HttpOptions(host="127.0.0.1", port=0, debug_port=port), World().sources())
        with pytest.raises(OSError, match="in use"):
            await server.start()
        assert server._runners == []


def test_plain_values():
    assert plain({CHAT: (Decimal("1.5"), Reason.ACCEPTED, math.nan, None, True)}) == {
        "prod/chat": ["1.5", "Accepted", None, None, True]
    }
