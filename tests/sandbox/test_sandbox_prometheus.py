"""Both Prometheus generations scrape targets that HTTP discovery names."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from pertoken_sandbox.processes import ProcessFailed
from pertoken_sandbox.prometheus import PrometheusServer, Scraping, WebAccess

pytestmark = pytest.mark.e2e
PASSWORD = "open sesame"
PASSWORD_BCRYPT = "$2b$04$pertokensandboxsalt01uPoisL1o4nKx7n4vP9nzRXStPbemlKDe"


class Target(BaseHTTPRequestHandler):
    """A discovery page and two metric pages, one of which names no content type."""

    def do_GET(self) -> None:
        address = f"127.0.0.1:{self.server.server_address[1]}"
        groups = [
            {
                "targets": [address],
                "labels": {"__metrics_path__": f"/{pod}", "namespace": "shop", "pod": pod, "job": "vllm"},
            }
            for pod in ("typed", "untyped")
        ]
        discovery = self.path.startswith("/targets")
        body = json.dumps(groups) if discovery else "# TYPE waiting gauge\nwaiting 7\n"
        self.send_response(200)
        if discovery:
            self.send_header("Content-Type", "application/json")
        elif self.path == "/typed":
            self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def target() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def query(server: PrometheusServer, expression: str, **options: Any) -> list[dict[str, Any]]:
    answer = requests.get(f"{server.url}/api/v1/query", params={"query": expression}, timeout=5, **options)
    answer.raise_for_status()
    return list(answer.json()["data"]["result"])


def eventually_two(server: PrometheusServer, expression: str, **options: Any) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while len(series := query(server, expression, **options)) < 2:
        assert time.monotonic() < deadline, server.process.failure("scraped nothing")
        time.sleep(0.2)
    return series


def test_targets_are_discovered_with_their_labels_and_paths(prometheus_binary: Path, target: str, tmp_path: Path):
    server = PrometheusServer(
        prometheus_binary, tmp_path, Scraping(http_sd_urls=(f"http://{target}/targets",), interval_seconds=0.5)
    )
    server.start()
    try:
        series = eventually_two(server, 'waiting{namespace="shop"}')
        assert {(item["metric"]["pod"], item["metric"]["job"]) for item in series} == {
            ("typed", "vllm"),
            ("untyped", "vllm"),
        }
        assert {item["value"][1] for item in series} == {"7"}
    finally:
        server.stop()
    assert not server.process.running


def test_a_pause_hangs_queries_and_leaves_a_gap(prometheus_binary: Path, target: str, tmp_path: Path):
    server = PrometheusServer(
        prometheus_binary, tmp_path, Scraping(http_sd_urls=(f"http://{target}/targets",), interval_seconds=0.5)
    )
    server.start()
    try:
        eventually_two(server, "waiting")
        server.pause()
        with pytest.raises(requests.Timeout):
            requests.get(f"{server.url}/api/v1/query", params={"query": "1"}, timeout=1)
        server.resume()
        assert eventually_two(server, "waiting")
        server.pause()
    finally:
        server.stop()
    assert not server.process.running


def test_tls_and_basic_authentication(prometheus_binary: Path, target: str, tmp_path: Path):
    web = WebAccess(tls=True, username="pertoken", password=PASSWORD, password_bcrypt=PASSWORD_BCRYPT)
    scraping = Scraping(static_targets=(target,), interval_seconds=0.5)
    server = PrometheusServer(prometheus_binary, tmp_path, scraping, web)
    server.start()
    try:
        assert requests.get(f"{server.url}/-/ready", timeout=5, verify=str(server.ca_file)).status_code == 401
        assert query(server, "vector(1)", auth=("pertoken", PASSWORD), verify=str(server.ca_file))
    finally:
        server.stop()


def test_it_returns_to_its_address_with_its_samples(prometheus_binary: Path, target: str, tmp_path: Path):
    scraping = Scraping(http_sd_urls=(f"http://{target}/targets",), interval_seconds=0.5)
    first = PrometheusServer(prometheus_binary, tmp_path, scraping)
    first.start()
    eventually_two(first, "waiting")
    first.stop()
    second = PrometheusServer(prometheus_binary, tmp_path, Scraping())
    second.start()
    try:
        assert second.url == first.url
        assert query(second, "last_over_time(waiting[5m])")
    finally:
        second.stop()


def test_a_server_that_cannot_start_tells_why(prometheus_binary: Path, tmp_path: Path):
    server = PrometheusServer(prometheus_binary, tmp_path, Scraping())
    (tmp_path / "data").write_text("a file where the data folder belongs")
    with pytest.raises(ProcessFailed, match="prometheus ended"):
        server.start()
    assert not server.process.running
