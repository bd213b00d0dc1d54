"""A metrics adapter for the HPA controller: ``custom.metrics.k8s.io`` for pods, answered from Prometheus.

Does for one metric what prometheus-adapter does by its rules: the newest sample of each pod of a namespace. It serves
only clients with the API server's front-proxy certificate.
"""

from __future__ import annotations

import datetime as dt
import ssl
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from aiohttp import web

GROUP: Final = "custom.metrics.k8s.io"
VERSION: Final = "v1beta2"
LOOPBACK: Final = "127.0.0.1"
QUERY_SECONDS: Final = 5.0

Json = dict[str, Any]


def series_of(metric: str) -> str:
    """Prometheus' name of a metric of the API: vLLM's names have a colon, which the API does not allow."""
    return metric.replace("vllm_", "vllm:", 1)


def resource_list(metrics: tuple[str, ...]) -> Json:
    """What the group offers."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [
            {
                "name": f"pods/{metric}",
                "singularName": "",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            for metric in metrics
        ],
    }


def value_list(namespace: str, metric: str, answer: Json) -> Json:
    """Prometheus' answer to an instant query as a list of pods' values, in thousandths as quantities allow."""
    items = []
    for sample in answer["data"]["result"]:
        moment, value = sample["value"]
        stamp = dt.datetime.fromtimestamp(float(moment), tz=dt.UTC)
        items.append(
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": namespace,
                    "name": sample["metric"]["pod"],
                    "apiVersion": "/v1",
                },
                "metric": {"name": metric, "selector": None},
                "timestamp": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "value": f"{round(float(value) * 1000)}m",
            }
        )
    return {"kind": "MetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}


class Adapter:
    """The HTTP handlers."""

    def __init__(self, prometheus_url: str, metrics: tuple[str, ...]) -> None:
        self._prometheus_url = prometheus_url
        self._metrics = metrics

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        root = f"/apis/{GROUP}/{VERSION}"
        app = web.Application()
        app.add_routes(
            [
                web.get(root, self._resources),
                web.get(root + "/namespaces/{namespace}/pods/{pod}/{metric}", self._values),
            ]
        )
        return app

    async def _resources(self, _: web.Request) -> web.Response:
        return web.json_response(resource_list(self._metrics))

    async def _values(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        if metric not in self._metrics:
            raise web.HTTPNotFound
        query = f'sum by (pod) ({series_of(metric)}{{namespace="{namespace}"}})'
        url = f"{self._prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=QUERY_SECONDS)) as session,
            session.get(url) as answer,
        ):
            payload = await answer.json()
        return web.json_response(value_list(namespace, metric, payload))


def main(
    *,
    prometheus: Annotated[str, typer.Option()],
    port: Annotated[int, typer.Option()],
    certificate: Annotated[Path, typer.Option()],
    key: Annotated[Path, typer.Option()],
    client_authority: Annotated[Path, typer.Option()],
    metric: Annotated[list[str], typer.Option()],
) -> None:
    """Serve until stopped."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_authority))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    web.run_app(
        Adapter(prometheus, tuple(metric)).application(),
        host=LOOPBACK,
        port=port,
        ssl_context=context,
        print=None,
        access_log=None,
    )


if __name__ == "__main__":
    typer.run(main)
