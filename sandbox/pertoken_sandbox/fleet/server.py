"""The fleet's HTTP side: service discovery, metrics pages, state and traffic control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from pertoken_sandbox.fleet.clients import FleetClients
from pertoken_sandbox.fleet.dcgm_page import DcgmPages
from pertoken_sandbox.fleet.metrics_page import CONTENT_TYPE
from pertoken_sandbox.fleet.nodes import EmulatedNode
from pertoken_sandbox.fleet.registry import FleetPod, Registry

_DEFAULT_WINDOW = 60.0


@dataclass(frozen=True)
class FleetServer:
    """Handlers over the fleet's state."""

    nodes: Mapping[str, EmulatedNode]
    registry: Registry
    clients: FleetClients
    dcgm: DcgmPages

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/sd", self._sd),
                web.get("/sd/dcgm", self._sd_dcgm),
                web.get("/sd/gateway", self._sd_gateway),
                web.get("/pods/{namespace}/{pod}/metrics", self._pod_metrics),
                web.get("/dcgm/{node}/metrics", self._dcgm_metrics),
                web.get("/gateway/metrics", self._gateway_metrics),
                web.get("/state", self._state),
                web.get("/clients", self._clients),
                web.post("/clients/{namespace}/{service}/start", self._start),
                web.post("/clients/{namespace}/{service}/stop", self._stop),
            ],
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _sd(self, request: web.Request) -> web.Response:
        """Engine pods that run, with the labels a PodMonitor would attach."""
        pods = [p for p in self.registry.pods.values() if p.phase == "Running" and p.gpus]
        return web.json_response(
            [
                _target(
                    request,
                    f"/pods/{pod.namespace}/{pod.name}/metrics",
                    {
                        "namespace": pod.namespace,
                        "pod": pod.name,
                        "node": pod.node,
                        "container": pod.container,
                        "job": f"{pod.namespace}/vllm",
                    },
                )
                for pod in pods
            ],
        )

    async def _sd_dcgm(self, request: web.Request) -> web.Response:
        return web.json_response(
            [_target(request, f"/dcgm/{name}/metrics", {"node": name, "job": "dcgm-exporter"}) for name in self.nodes],
        )

    async def _sd_gateway(self, request: web.Request) -> web.Response:
        return web.json_response([_target(request, "/gateway/metrics", {"job": "gateway"})])

    async def _pod_metrics(self, request: web.Request) -> web.Response:
        pod = self.registry.pods.get((request.match_info["namespace"], request.match_info["pod"]))
        if pod is None:
            raise web.HTTPNotFound
        if pod.server is None:
            raise web.HTTPServiceUnavailable  # the API server inside the container does not listen yet
        return _page(pod.server.page.render())

    async def _dcgm_metrics(self, request: web.Request) -> web.Response:
        name = request.match_info["node"]
        if name not in self.nodes:
            raise web.HTTPNotFound
        return _page(self.dcgm.render(name))

    async def _gateway_metrics(self, _: web.Request) -> web.Response:
        return _page(self.clients.metrics())

    async def _state(self, _: web.Request) -> web.Response:
        nodes = [
            {"name": node.name, "product": node.group.product, "labels": node.group.labels, "gpus": node.gpus}
            for node in self.nodes.values()
        ]
        return web.json_response({"nodes": nodes, "pods": [_pod_state(p) for p in self.registry.pods.values()]})

    async def _clients(self, request: web.Request) -> web.Response:
        try:
            seconds = float(request.query.get("seconds", _DEFAULT_WINDOW))
        except ValueError as error:
            raise web.HTTPBadRequest(text="seconds: not a number\n") from error
        self.clients.log.flush()
        return web.json_response([service.summary(seconds) for service in self.clients.services])

    async def _start(self, request: web.Request) -> web.Response:
        return self._switch(request, start=True)

    async def _stop(self, request: web.Request) -> web.Response:
        return self._switch(request, start=False)

    def _switch(self, request: web.Request, *, start: bool) -> web.Response:
        services = self.clients.find(request.match_info["namespace"], request.match_info["service"])
        if not services:
            raise web.HTTPNotFound
        for service in services:
            if start:
                service.start()
            else:
                service.stop()
        return web.json_response({"playing": start})


def _page(text: str) -> web.Response:
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


def _target(request: web.Request, path: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"targets": [request.host], "labels": {"__metrics_path__": path, **labels}}


def _pod_state(pod: FleetPod) -> dict[str, Any]:
    state: dict[str, Any] = {
        "namespace": pod.namespace,
        "name": pod.name,
        "node": pod.node,
        "gpus": pod.gpus,
        "phase": pod.phase,
        "serving": pod.serving,
        "draining": pod.draining,
        "detail": pod.detail,
    }
    if pod.server is not None:
        engine = pod.server.engine
        state.update(
            model=pod.server.times.model,
            cap=engine.config.cap,
            running=engine.running,
            waiting=len(engine.waiting),
            kv_usage=round(engine.kv_usage, 4),
        )
    return state
