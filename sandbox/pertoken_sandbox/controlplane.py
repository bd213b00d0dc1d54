"""The real control plane on loopback: etcd, API server, controller manager and scheduler as plain processes."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from pertoken_sandbox import controlplane_commands as commands
from pertoken_sandbox import kubeconfig
from pertoken_sandbox.binaries import ensure_all
from pertoken_sandbox.cluster import Cluster
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, ProcessFailed, free_ports

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
READY_TIMEOUT_SECONDS = 90.0
PROBE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Health:
    """Where a process tells that it is ready."""

    process: ManagedProcess
    url: str


class ControlPlane(Cluster):
    """A control plane of one's own in a state folder.

    Args:
        state_dir: folder of data, certificates, logs and the admin kubeconfig. Started again on the same folder, it
            has the same address, credentials and objects.
        settings: what may differ between control planes.
        detached: True lets the processes outlive this one; otherwise they die with it, however it dies.
    """

    def __init__(
        self, state_dir: Path, settings: commands.ControlPlaneSettings | None = None, *, detached: bool = False
    ) -> None:
        super().__init__(state_dir.absolute())
        self._settings = settings or commands.ControlPlaneSettings()
        self._ports = self._remembered_ports()
        programs = ensure_all(PROGRAMS)
        self._layout = commands.Layout(self.state_dir, self._ports, programs)

        def process(command: ProcessCommand) -> ManagedProcess:
            return ManagedProcess(command, self.state_dir, detached=detached)

        self.etcd = process(commands.etcd(self._layout))
        self.apiserver = process(commands.apiserver(self._layout, self._settings))
        self.controller_manager = process(commands.controller_manager(self._layout, self._settings))
        self.scheduler = process(commands.scheduler(self._layout))

    @property
    def processes(self) -> tuple[ManagedProcess, ...]:
        """The four processes, in the order of their start."""
        return (self.etcd, self.apiserver, self.controller_manager, self.scheduler)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig (group ``system:masters``)."""
        return self._layout.kubeconfig("admin")

    @property
    def url(self) -> str:
        """The API server's address."""
        return self._layout.url

    def start(self) -> None:
        """Start what does not run yet and wait until the API answers and every new namespace gets its account.

        Raises:
            ProcessFailed: a process ended or was not ready within 90 s; everything is stopped again.
        """
        self._write_credentials()
        try:
            self.etcd.start()
            self._await(Health(self.etcd, f"http://127.0.0.1:{self._ports.etcd_metrics}/readyz"))
            self.restart_apiserver()
            self.controller_manager.start()
            self.scheduler.start()
            self._await(Health(self.controller_manager, f"https://127.0.0.1:{self._ports.controller_manager}/healthz"))
            self._await(Health(self.scheduler, f"https://127.0.0.1:{self._ports.scheduler}/readyz"))
            self.controller_manager.wait_ready(self._default_account_exists, READY_TIMEOUT_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the processes, clients before servers; the state folder stays."""
        for process in reversed(self.processes):
            process.stop()

    def kill_apiserver(self) -> None:
        """Fault: end the API server as a crash would; etcd keeps the objects."""
        self.apiserver.kill()

    def restart_apiserver(self) -> None:
        """Start the API server (on its old address) unless it runs, and wait until it is ready."""
        self.apiserver.start()
        self._await(Health(self.apiserver, f"{self.url}/readyz"))

    def _await(self, health: Health) -> None:
        health.process.wait_ready(lambda: _answers(health.url), READY_TIMEOUT_SECONDS)

    def _default_account_exists(self) -> bool:
        """The controllers work once the namespace ``default`` has its account: pods are refused before that."""
        return bool(
            self.kubectl("get", "serviceaccount", "default", "-n", "default", "--ignore-not-found", "-o", "name")
        )

    def _write_credentials(self) -> None:
        pki = commands.issue_certificates(self._layout)
        endpoint = kubeconfig.Endpoint(self.url, pki.authority.files.certificate.read_bytes())
        for user, pair in pki.users.items():
            kubeconfig.write_client(self._layout.kubeconfig(user), endpoint, pair)

    def _remembered_ports(self) -> commands.Ports:
        """The ports of this state folder: chosen once, so that kubeconfigs stay good over restarts."""
        path = self.state_dir / "ports.json"
        if path.is_file():
            return commands.Ports(**json.loads(path.read_text()))
        ports = commands.Ports(*free_ports(commands.Ports.count()))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(ports)))
        return ports


def _answers(url: str) -> bool:
    """Whether a loopback health endpoint says yes; it is only asked for health, so its certificate does not matter."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=PROBE_TIMEOUT_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


__all__ = ["ControlPlane", "ProcessFailed"]
