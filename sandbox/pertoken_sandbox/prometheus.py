"""A real Prometheus server over HTTP service discovery; both 3.x and Debian's 2.42 run from the same description."""

from __future__ import annotations

import base64
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pertoken_sandbox.pki import Authority, CertificateSubject
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 2.0
DISCOVERY_SECONDS = 2
_MAJOR = re.compile(r"prometheus, version (\d+)\.")


@dataclass(frozen=True)
class Scraping:
    """What is scraped and how often.

    Args:
        http_sd_urls: addresses that list targets (Prometheus' HTTP discovery). Labels of a target group may set
            ``job``, ``__metrics_path__`` and whatever a Kubernetes discovery would (``namespace``, ``pod``).
        static_targets: ``host:port`` of further targets.
        interval_seconds: time between scrapes.
        retention_hours: how long samples are kept.
        rule_files: recording and alerting rules.
    """

    http_sd_urls: tuple[str, ...] = ()
    static_targets: tuple[str, ...] = ()
    interval_seconds: float = 2.0
    retention_hours: int = 24
    rule_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class WebAccess:
    """How the query API is guarded.

    Args:
        tls: serve HTTPS with a certificate of an authority of its own (`PrometheusServer.ca_file`).
        username: name for basic authentication; empty asks for none.
        password: its password.
        password_bcrypt: the bcrypt hash of the password, which is all that Prometheus reads
            (``htpasswd -nbB NAME PASSWORD`` makes one).
    """

    tls: bool = False
    username: str = ""
    password: str = ""
    password_bcrypt: str = ""


class PrometheusServer:
    """One Prometheus process on loopback.

    Args:
        binary: the server, from `binaries.ensure` or `binaries.debian_prometheus`.
        directory: folder for its configuration, data and log.
        scraping: targets and intervals.
        web: TLS and basic authentication of its API.
        detached: True lets it outlive this process.
    """

    def __init__(
        self,
        binary: Path,
        directory: Path,
        scraping: Scraping,
        web: WebAccess | None = None,
        *,
        detached: bool = False,
    ) -> None:
        self._directory = directory.absolute()
        self._scraping = scraping
        self._web = web or WebAccess()
        self._major = major_version(binary)
        self._port = self._remembered_port()
        command = ProcessCommand("prometheus", (str(binary.absolute()), *self._flags()))
        self.process = ManagedProcess(command, self._directory, detached=detached)

    @property
    def url(self) -> str:
        """Root of the query API."""
        return f"{'https' if self._web.tls else 'http'}://{LOOPBACK}:{self._port}"

    @property
    def ca_file(self) -> Path | None:
        """Authority of the server's certificate; None without TLS."""
        return self._directory / "pki" / "prometheus-ca.crt" if self._web.tls else None

    def start(self) -> None:
        """Start it unless it runs and wait until it answers queries.

        Raises:
            ProcessFailed: it ended or was not ready within 60 s.
        """
        self._write_configuration()
        self.process.start()
        try:
            self.process.wait_ready(self._ready, READY_TIMEOUT_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, also when paused; its data stays in the folder."""
        self.process.stop()

    def pause(self) -> None:
        """Fault: stand still. Connections open and nothing is answered, as in an overloaded server."""
        self.process.pause()

    def resume(self) -> None:
        """End the pause: the scrapes of the time between are missing."""
        self.process.resume()

    def configuration(self) -> dict[str, Any]:
        """The content of ``prometheus.yml``."""
        scraping = self._scraping
        interval = f"{round(scraping.interval_seconds * 1000)}ms"
        job: dict[str, Any] = {
            "job_name": "sandbox",
            "http_sd_configs": [
                {"url": url, "refresh_interval": f"{DISCOVERY_SECONDS}s"} for url in scraping.http_sd_urls
            ],
            "static_configs": [{"targets": list(scraping.static_targets)}] if scraping.static_targets else [],
        }
        if self._major >= 3:
            # Since 3.0 a target without a Content-Type is refused; 2.x reads it as text and does not know the key.
            job["fallback_scrape_protocol"] = "PrometheusText0.0.4"
        return {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": [str(path.absolute()) for path in scraping.rule_files],
            "scrape_configs": [job],
        }

    def _flags(self) -> tuple[str, ...]:
        folder = self._directory
        return (
            f"--config.file={folder / 'prometheus.yml'}",
            f"--web.config.file={folder / 'web.yml'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--storage.tsdb.retention.time={self._scraping.retention_hours}h",
            "--web.enable-lifecycle",
        )

    def _write_configuration(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(self.configuration(), sort_keys=False))
        web: dict[str, Any] = {}
        if self._web.tls:
            authority = Authority(self._directory / "pki", "prometheus-ca")
            pair = authority.issue("prometheus", CertificateSubject("prometheus", hosts=(LOOPBACK, "localhost")))
            web["tls_server_config"] = {"cert_file": str(pair.certificate), "key_file": str(pair.key)}
        if self._web.username:
            web["basic_auth_users"] = {self._web.username: self._web.password_bcrypt}
        (self._directory / "web.yml").write_text(yaml.safe_dump(web))

    def _ready(self) -> bool:
        """Whether ``/-/ready`` says yes to a client with the right credentials."""
        request = urllib.request.Request(f"{self.url}/-/ready")  # noqa: S310  # our own loopback address
        if self._web.username:
            credentials = f"{self._web.username}:{self._web.password}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=PROBE_TIMEOUT_SECONDS) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def _remembered_port(self) -> int:
        """The port of this folder: chosen once, so that the address stays good over restarts."""
        path = self._directory / "port"
        if path.is_file():
            return int(path.read_text())
        self._directory.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        path.write_text(str(port))
        return port


def major_version(binary: Path) -> int:
    """Major version of a Prometheus server; 3 when a build does not know its own (plain ``go install``)."""
    done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
    match = _MAJOR.search(done.stdout + done.stderr)
    return int(match.group(1)) if match else 3
