"""Nodes, kubelet and metrics pages of the lab, in one event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from clusterlab.kubelet import Json, Pods
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.config import NodeGroup
from pertoken_sandbox.fleet.kube import MERGE, STRATEGIC, ApiError, FleetKubeClient
from pertoken_sandbox.fleet.nodes import EmulatedNode, node_object, node_status

Result = TypeVar("Result")

SECONDS = 30.0
CLOSING_SECONDS = 0.3
NODE_TAINTS = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


@dataclass(frozen=True)
class NodeSpec:
    """A node to create: its GPUs, further labels and taints, and other resources that differ from the usual."""

    gpus: int = 4
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)
    product: str = "NVIDIA-A100-SXM4-80GB"


class Fleet:
    """Started once for the run; everything here may be called from the test's thread.

    Args:
        kubeconfig: the administrator's.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab-fleet", daemon=True)
        self._runner: web.AppRunner | None = None
        self._watch: asyncio.Task[None] | None = None
        self._client: FleetKubeClient | None = None
        self._addresses = 0
        self.port = 0
        self.extra: dict[str, tuple[Mapping[str, str], Callable[[], str]]] = {}
        self.pods: Pods

    def start(self) -> None:
        """Begin to act as kubelet and to serve pages."""
        self._thread.start()
        self.run(self._start())

    def stop(self) -> None:
        """End it."""
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the loop and wait for it."""
        future: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(SECONDS)

    def do(self, work: Callable[[], Result]) -> Result:
        """Run a plain function in the loop: what the loop owns is touched by it alone."""

        async def call() -> Result:
            return work()

        return self.run(call())

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Json:
        """One call to the API server as the administrator.

        Raises:
            ApiError: a status of 400 or more.
        """
        return self.run(self.client.request(method, path, body, **options))

    @property
    def client(self) -> FleetKubeClient:
        """The open client of the loop."""
        assert self._client is not None
        return self._client

    def urls(self) -> tuple[str, ...]:
        """Service discovery for Prometheus: engines, and the tests' own pages."""
        return tuple(f"http://127.0.0.1:{self.port}/{page}" for page in ("sd", "sd/extra"))

    def add_node(self, name: str, spec: NodeSpec) -> None:
        """Create a node, ready and schedulable but for its own taints."""
        self._addresses += 1
        group = NodeGroup(name=name, product=spec.product, gpus=spec.gpus, memoryGiB=80, labels=dict(spec.labels))
        node = EmulatedNode(name, group, f"10.90.0.{self._addresses}")
        self.run(self._create_node(node, spec))
        self.do(lambda: self.pods.nodes.__setitem__(name, node.address))

    async def _create_node(self, node: EmulatedNode, spec: NodeSpec) -> None:
        path = f"/api/v1/nodes/{node.name}"
        wanted = node_object(node)
        taints = [dict(taint) for taint in spec.taints]
        wanted["spec"]["taints"] = taints
        await self.client.request("POST", "/api/v1/nodes", wanted)
        status = node_status(node, clock.rfc3339(clock.now()))
        status["allocatable"] = status["allocatable"] | dict(spec.allocatable)
        await self.client.request("PATCH", f"{path}/status", {"status": status}, content_type=STRATEGIC)
        for _ in range(20):  # the node lifecycle controller and admission add and remove taints of their own
            stored = await self.client.request("GET", path)
            kept = [taint for taint in stored["spec"].get("taints") or [] if taint["key"] not in NODE_TAINTS]
            if len(kept) == len(stored["spec"].get("taints") or []):
                return
            version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
            body = {"metadata": version, "spec": {"taints": kept or None}}
            try:
                await self.client.request("PATCH", path, body, content_type=MERGE)
            except ApiError as error:
                if error.status != 409:
                    raise

    async def _start(self) -> None:
        self._client = await FleetKubeClient(self._kubeconfig).__aenter__()
        self.pods = Pods(self._client)
        app = web.Application()
        app.add_routes(
            [
                web.get("/sd", self._engines),
                web.get("/sd/extra", self._extras),
                web.get("/pods/{namespace}/{pod}/metrics", self._pod),
                web.get("/extra/{name}", self._extra),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        self._watch = asyncio.create_task(self.pods.run())

    async def _stop(self) -> None:
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        if self._runner is not None:
            await self._runner.cleanup()
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.client.__aexit__(None, None, None)
        await asyncio.sleep(CLOSING_SECONDS)  # connections end in turns of the loop after their session

    async def _engines(self, request: web.Request) -> web.Response:
        return web.json_response(
            [
                _target(
                    request,
                    f"/pods/{engine.namespace}/{engine.pod}/metrics",
                    {
                        "namespace": engine.namespace,
                        "pod": engine.pod,
                        "container": "engine",
                        "job": f"{engine.namespace}/engines",
                    },
                )
                for engine in self.pods.engines()
            ]
        )

    async def _extras(self, request: web.Request) -> web.Response:
        return web.json_response(
            [_target(request, f"/extra/{name}", dict(labels)) for name, (labels, _) in self.extra.items()]
        )

    async def _pod(self, request: web.Request) -> web.Response:
        namespace, pod = request.match_info["namespace"], request.match_info["pod"]
        for (where, _), script in self.pods.scripts.items():
            if where == namespace and pod in script.engines:
                script.advance()
                engine = script.engines[pod]
                page = self.pods.page(engine)
                if page.silent:
                    raise web.HTTPServiceUnavailable
                if page.frozen is not None:
                    return _text(page.frozen)
                return _text(page.edit(page.custom(engine) if page.custom else engine.text()))
        raise web.HTTPNotFound

    async def _extra(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.extra:
            raise web.HTTPNotFound
        return _text(self.extra[request.match_info["name"]][1]())


def _text(text: str) -> web.Response:
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4"})


def _target(request: web.Request, path: str, labels: dict[str, str]) -> Json:
    return {"targets": [request.host], "labels": {"__metrics_path__": path, **labels}}
