"""``python -m pertoken_sandbox.fleet --kubeconfig K --config fleet.yaml``: run the emulated fleet."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from pertoken_bench.traces.files import TraceError
from pertoken_sandbox.fleet.clients import FleetClients
from pertoken_sandbox.fleet.config import ConfigError, FleetConfig, load_config
from pertoken_sandbox.fleet.dcgm_page import DcgmPages
from pertoken_sandbox.fleet.kube import FleetKubeClient
from pertoken_sandbox.fleet.kubelet import PodWatcher
from pertoken_sandbox.fleet.nodes import build_nodes, keep_node
from pertoken_sandbox.fleet.pod_runner import Kubelet
from pertoken_sandbox.fleet.registry import Registry
from pertoken_sandbox.fleet.server import FleetServer

_FLUSH_SECONDS = 1.0


def main() -> int:
    """Parse the command line and run until SIGTERM or SIGINT; 2 on a bad configuration."""
    parser = argparse.ArgumentParser(prog="pertoken_sandbox.fleet", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="HTTP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port once the fleet listens")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        config = load_config(options.config)
        asyncio.run(run_fleet(config, options.kubeconfig, options.port, options.port_file))
    except (ConfigError, TraceError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def run_fleet(config: FleetConfig, kubeconfig: Path, port: int = 0, port_file: Path | None = None) -> None:
    """Run nodes, kubelets, engines, clients and the HTTP server until a signal ends the process.

    Raises:
        TraceError: a trace of the configuration cannot be used.
    """
    nodes = build_nodes(config.nodes)
    registry = Registry()
    clients = FleetClients(config.traffic, registry, config.request_log)
    server = FleetServer(nodes, registry, clients, DcgmPages(nodes, registry))
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    if port_file is not None:
        port_file.write_text(f"{bound}\n", encoding="utf-8")  # noqa: ASYNC240  # one line, once, at start
    print(f"fleet listens on http://127.0.0.1:{bound}", flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with FleetKubeClient(kubeconfig) as client:
        watcher = PodWatcher(Kubelet(client, config, registry, clients.finish, clients.lost, set()), nodes)
        tasks = [
            asyncio.create_task(watcher.run(), name="pods"),
            asyncio.create_task(_flush(clients), name="request log"),
            *(asyncio.create_task(keep_node(client, node, config.heartbeat_seconds)) for node in nodes.values()),
        ]
        clients.auto_start()
        stop = asyncio.create_task(ended.wait(), name="signal")
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for service in clients.services:
            service.stop()
        for task in [stop, *tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        watcher.stop()
    await runner.cleanup()
    clients.log.close()
    for task in done - {stop}:
        task.result()  # a component must not end by itself: show why it did


async def _flush(clients: FleetClients) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        clients.log.flush()


if __name__ == "__main__":
    sys.exit(main())
