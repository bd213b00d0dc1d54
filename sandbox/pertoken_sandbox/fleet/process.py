"""The emulated fleet as a process of its own beside the control plane."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pertoken_sandbox.processes import ManagedProcess, ProcessCommand

READY_SECONDS = 60.0


def default_config() -> Path:
    """GPUs of several kinds, no traffic."""
    return Path(str(resources.files(__package__).joinpath("default.yaml")))


@dataclass(frozen=True)
class FleetProcess:
    """Nodes, kubelets and engines; `urls` are where Prometheus finds its targets."""

    process: ManagedProcess
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def urls(self) -> tuple[str, ...]:
        """HTTP service discovery of engines, GPUs and gateways."""
        return tuple(f"{self.url}/{page}" for page in ("sd", "sd/dcgm", "sd/gateway"))

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers.

        Raises:
            ProcessFailed: it ended or did not answer in time; the message ends with its log.
        """
        self.process.start()
        self.process.wait_ready(lambda: answers(f"{self.url}/healthz"), READY_SECONDS)

    def stop(self) -> None:
        """Stop it; its Node objects stay in the cluster, not ready."""
        self.process.stop()


def fleet_server(kubeconfig: Path, config: Path, port: int, state_dir: Path, *, detached: bool = False) -> FleetProcess:
    """A fleet that serves one cluster."""
    argv = (sys.executable, "-m", "pertoken_sandbox.fleet", "--kubeconfig", str(kubeconfig))
    command = ProcessCommand("fleet", (*argv, "--config", str(config), "--port", str(port)))
    return FleetProcess(ManagedProcess(command, state_dir, detached=detached), port)


def answers(url: str) -> bool:
    """Whether a loopback address answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - only loopback addresses of the sandbox
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
