"""Clients, routing and HTTP without a cluster: pods are put into the registry by hand."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import Request
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.clients import FleetClients
from pertoken_sandbox.fleet.config import ConfigError, NodeGroup, Traffic, load_config
from pertoken_sandbox.fleet.dcgm_page import DcgmPages
from pertoken_sandbox.fleet.driver import EngineServer
from pertoken_sandbox.fleet.launch import Host, launch
from pertoken_sandbox.fleet.nodes import EmulatedNode, build_nodes
from pertoken_sandbox.fleet.registry import FleetPod, Registry
from pertoken_sandbox.fleet.server import FleetServer

A100 = "NVIDIA-A100-SXM4-80GB"
GROUP = NodeGroup.model_validate({"name": "n0", "product": A100, "gpus": 2, "memoryGiB": 80})


class Fleet:
    """A fleet whose kubelet is the test."""

    def __init__(self, folder: Path) -> None:
        trace = folder / "t.csv"
        rows = [f"{i * 0.02},{100 + i},{1 + i % 20}" for i in range(30)]
        trace.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]))
        traffic = Traffic(service="chat", selector={"app": "chat"}, trace=trace, model="m")
        self.log = folder / "log.jsonl"
        self.registry = Registry()
        self.nodes: dict[str, EmulatedNode] = build_nodes([GROUP])
        self.clients = FleetClients([traffic], self.registry, self.log)
        self.tasks: list[asyncio.Task[None]] = []
        dcgm = DcgmPages(self.nodes, self.registry)
        self.app = FleetServer(self.nodes, self.registry, self.clients, dcgm).application()

    def add_pod(self, name: str, labels: dict[str, str]) -> FleetPod:
        pod = FleetPod("default", name, "n0", "engine", labels, "10.128.0.2", phase="Running")
        pod.gpus = self.nodes["n0"].take(f"default/{name}", 1)
        self.registry.pods[pod.key] = pod
        return pod

    def serve(self, pod: FleetPod) -> None:
        words = ["serve", "meta-llama/Llama-3.1-8B-Instruct", "--max-num-seqs=8"]
        launched = launch(words, Host(A100, 80, 1, Truth()), pod.name)
        engine, stats, page = launched.serve(clock.now())

        def finish(request: Request) -> None:
            self.clients.finish(pod, request)

        pod.server = EngineServer(engine, stats, page, launched.times, finish)
        self.tasks.append(asyncio.create_task(pod.server.run()))
        self.registry.set_serving(pod, serving=True)

    def kill(self, pod: FleetPod) -> None:
        server, pod.server = pod.server, None
        self.registry.set_serving(pod, serving=False)
        assert server is not None
        self.clients.lost(server.stop())


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    emulated = Fleet(tmp_path)
    yield emulated
    emulated.clients.services[0].stop()
    for task in emulated.tasks:
        task.cancel()
    await asyncio.gather(*emulated.tasks, return_exceptions=True)
    emulated.clients.log.close()


@pytest.fixture
async def http(fleet: Fleet) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(fleet.app)) as client:
        yield client


async def until_done(fleet: Fleet, completed: int) -> None:
    async with asyncio.timeout(20):
        while fleet.clients.services[0].completed < completed:  # noqa: ASYNC110  # nothing signals it
            await asyncio.sleep(0.02)


async def test_discovery_lists_running_engines(fleet: Fleet, http: TestClient[Any, Any]) -> None:
    fleet.add_pod("chat-1", {"app": "chat"})
    (target,) = await (await http.get("/sd")).json()
    assert target == {
        "targets": [f"127.0.0.1:{http.port}"],
        "labels": {
            "__metrics_path__": "/pods/default/chat-1/metrics",
            "namespace": "default",
            "pod": "chat-1",
            "node": "n0",
            "container": "engine",
            "job": "default/vllm",
        },
    }
    assert (await http.get(target["labels"]["__metrics_path__"])).status == 503  # the engine still loads
    (dcgm,) = await (await http.get("/sd/dcgm")).json()
    assert dcgm["labels"]["__metrics_path__"] == "/dcgm/n0/metrics"


async def test_requests_wait_in_the_gateway_until_a_pod_serves(fleet: Fleet, http: TestClient[Any, Any]) -> None:
    fleet.serve(fleet.add_pod("other-1", {"app": "other"}))
    await http.post("/clients/default/chat/start")
    await asyncio.sleep(0.8)
    text = await (await http.get("/gateway/metrics")).text()
    values = {s.name: s for f in text_string_to_metric_families(text) for s in f.samples}
    queue = values["inference_extension_flow_control_queue_size"]
    assert queue.value == 30
    assert queue.labels == {"namespace": "default", "service": "chat", "target_model_name": "m"}
    assert values["inference_objective_request_total"].value == 30
    fleet.serve(fleet.add_pod("chat-1", {"app": "chat"}))
    await until_done(fleet, 30)
    (summary,) = await (await http.get("/clients?seconds=60")).json()
    assert summary["gateway_queue"] == summary["backlog"] == 0
    assert summary["requests"] == 30
    assert summary["ttft_ms"]["p50"] > 200  # the wait in the gateway counts
    assert summary["output_tokens"] == sum(1 + i % 20 for i in range(30))
    lines = [json.loads(line) for line in fleet.log.read_text().splitlines()]
    assert len(lines) == 30
    assert all((line["itl_ms"] is None) == (line["output_tokens"] == 1) for line in lines)


async def test_a_killed_pods_requests_are_served_elsewhere(fleet: Fleet, http: TestClient[Any, Any]) -> None:
    first = fleet.add_pod("chat-1", {"app": "chat"})
    fleet.serve(first)
    await http.post("/clients/default/chat/start")
    await asyncio.sleep(0.3)
    fleet.serve(fleet.add_pod("chat-2", {"app": "chat"}))
    fleet.kill(first)
    await until_done(fleet, 30)
    (summary,) = await (await http.get("/clients")).json()
    assert summary["total"]["retried"] > 0
    assert summary["total"]["completed"] == summary["total"]["arrived"] == 30


async def test_load_is_shared_and_pages_agree_with_the_clients(fleet: Fleet, http: TestClient[Any, Any]) -> None:
    for name in ("chat-1", "chat-2"):
        fleet.serve(fleet.add_pod(name, {"app": "chat"}))
    await http.post("/clients/default/chat/start")
    await until_done(fleet, 30)
    await asyncio.sleep(0.4)
    finished = []
    for name in ("chat-1", "chat-2"):
        response = await http.get(f"/pods/default/{name}/metrics")
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
        families = text_string_to_metric_families(await response.text())
        values = {s.name: s.value for f in families for s in f.samples if "le" not in s.labels}
        assert values["vllm:num_requests_running"] == values["vllm:kv_cache_usage_perc"] == 0
        finished.append(values["vllm:e2e_request_latency_seconds_count"])
    assert sum(finished) == 30
    assert min(finished) >= 8


async def test_dcgm_page_shows_who_holds_which_gpu(fleet: Fleet, http: TestClient[Any, Any]) -> None:
    fleet.serve(fleet.add_pod("chat-1", {"app": "chat"}))
    text = await (await http.get("/dcgm/n0/metrics")).text()
    used = {
        s.labels["gpu"]: (s.labels["pod"], s.value)
        for f in text_string_to_metric_families(text)
        for s in f.samples
        if s.name == "DCGM_FI_DEV_FB_USED"
    }
    assert used["0"][0] == "chat-1"
    assert used["0"][1] > 60_000
    assert used["1"][0] == ""
    assert used["1"][1] < 1_000
    assert (await http.get("/dcgm/none/metrics")).status == 404


def test_config_mistakes_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("nodes: [{name: a, product: X, gpus: 0, memoryGiB: 80}]\ntruth: {decode: -1}\nextra: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for field in ("nodes.0.gpus: 0", "truth.decode: -1", "extra: 1"):
        assert any(field in line and str(path) in line for line in lines)
