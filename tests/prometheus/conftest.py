"""A real Prometheus that scrapes pages we control, and a proxy in front of it that can misbehave."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pertoken_sandbox import binaries


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def handle_error(self, *_):
        pass  # clients that give up are what some tests are about

    def close(self):
        self.shutdown()
        self.server_close()


class Target:
    """Serves metrics pages; each page is a function of the seconds since the start. None: the scrape fails."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[float], str | None]] = {}
        self.start = time.monotonic()
        target = self

        class Handler(Quiet):
            def do_GET(self):
                page = target.pages.get(self.path.removesuffix("/metrics").strip("/"))
                text = page(time.monotonic() - target.start) if page else None
                if text is None:
                    self.answer(503, b"", "text/plain")
                else:
                    self.answer(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

        self.server = Server(Handler)


@dataclass
class Prometheus:
    url: str
    version: str

    def query(self, promql):
        body = urllib.parse.urlencode({"query": promql}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", body, timeout=5) as answer:  # noqa: S310 - own server
            return json.load(answer)["data"]["result"]

    def wait_for(self, promql, seconds=20.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.HTTPError):  # it answers 503 until it is ready
                if self.query(promql):
                    return
            time.sleep(0.1)
        raise AssertionError(f"{promql} never had a result")


@dataclass
class Proxy:
    """Forwards to a Prometheus and can be told to misbehave."""

    upstream: str
    tls: ssl.SSLContext | None = None
    extra: dict = field(default_factory=dict)  # merged into every JSON answer
    only: str = ""  # misbehave only for queries that contain this
    status: int = 200
    body: bytes | None = None
    delay: float = 0.0
    drip: bool = False
    hits: Counter = field(default_factory=Counter)
    seen: list = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        proxy = self

        class Handler(Quiet):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                form = urllib.parse.parse_qs(body.decode())
                query = form.get("query", [""])[0]
                proxy.hits[self.path] += 1
                proxy.seen.append((self.headers, form))
                if proxy.only in query:
                    proxy.misbehave(self, body)
                else:
                    self.answer(*proxy.forward(body))

        self.server = Server(Handler, self.tls)

    @property
    def url(self):
        return self.server.url

    def forward(self, body):
        request = urllib.request.Request(f"{self.upstream}/api/v1/query", body)  # noqa: S310 - own server
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - own server
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def misbehave(self, handler, body):
        time.sleep(self.delay)
        if self.status != 200 or self.body is not None:
            handler.answer(self.status, self.body or b"", **self.headers)
            return
        status, answer = self.forward(body)
        if self.extra:
            answer = json.dumps(json.loads(answer) | self.extra).encode()
        if not self.drip:
            handler.answer(status, answer, **self.headers)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(200):  # ends when the client hangs up
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Launcher:
    """Starts Prometheus servers and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen] = []

    def start(self, binary, version, jobs, *, scrape=0.5, web=None) -> Prometheus:
        port = free_port()
        home = self.folder / f"{version}-{port}"
        home.mkdir()
        every = f"{round(scrape * 1000)}ms"
        settings = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}
        (home / "prometheus.yml").write_text(json.dumps(settings))
        command = [binary, f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        if web:
            (home / "web.yml").write_text(json.dumps(web))
            command.append(f"--web.config.file={home}/web.yml")
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"})
        self.running.append(process)
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus did not start"
            time.sleep(0.05)
        return Prometheus(f"http://127.0.0.1:{port}", version)

    @staticmethod
    def job(name, path, target, *, honor=True, labels=None) -> dict:
        return {
            "job_name": name,
            "metrics_path": f"/{path}/metrics",
            "honor_labels": honor,
            "static_configs": [{"targets": [f"127.0.0.1:{target.server.port}"], "labels": labels or {}}],
        }

    def stop(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(timeout=20)


@pytest.fixture(scope="session")
def prometheus_programs():
    """Path of each Prometheus under test by version."""
    programs = {"3.16": binaries.ensure("prometheus"), "2.42": binaries.debian_prometheus()}
    return {version: str(path) for version, path in programs.items() if path}


@pytest.fixture(scope="session", params=["3.16", "2.42"])
def version(request, prometheus_programs):
    if request.param not in prometheus_programs:
        pytest.skip(f"no Prometheus {request.param} on this machine")
    return request.param


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    starter = Launcher(folder)
    yield starter
    starter.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def target():
    serving = Target()
    yield serving
    serving.server.close()


@pytest.fixture
def proxy_to():
    """Opens proxies; closes them after the test."""
    opened = []

    def start(url, **settings):
        opened.append(Proxy(url, **settings))
        return opened[-1]

    yield start
    for proxy in opened:
        proxy.server.close()


@pytest.fixture
def source_of():
    """Opens sources; closes their connections after the test."""
    from pertoken.adapters.prometheus.source import PrometheusSource  # noqa: PLC0415 - only where used

    opened = []

    def start(profile):
        opened.append(PrometheusSource(profile))
        return opened[-1]

    yield start
    for source in opened:
        source.close()
