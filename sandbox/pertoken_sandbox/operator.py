"""The operator as a process of the sandbox, with what the chart installs beside its Deployment."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from pertoken_sandbox.cluster import Cluster
from pertoken_sandbox.demo.setting import CRDS, OPERATOR_NAMESPACE, RENDERED_CHART
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand

READY_SECONDS: Final = 180.0
TOKEN_SECONDS: Final = 7 * 86_400
# A sandbox is looked at for minutes: the operator looks every few seconds, and rates are of half a minute.
PACE: Final = {
    "CYCLE_SECONDS": "3",
    "SCRAPE_INTERVAL_SECONDS": "2",
    "RATE_WINDOW_SECONDS": "30",
    "FRESH_SECONDS": "15",
    "STATUS_SECONDS": "5",
    "START_SECONDS": "10",
}


def install(cluster: Cluster) -> None:
    """CRDs, service account and permissions, as the chart renders them; without Helm and without a Deployment."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}
    cluster.kubectl.apply(namespace)
    cluster.kubectl.apply_files([*sorted(CRDS.glob("*.yaml")), RENDERED_CHART])
    names = [yaml.safe_load(path.read_text(encoding="utf-8"))["metadata"]["name"] for path in CRDS.glob("*.yaml")]
    cluster.kubectl.await_crd(*names)


@dataclass(frozen=True)
class Operator:
    """The operator with the chart's service account.

    Args:
        cluster: running when it starts.
        folder: for its credentials and its log.
        prometheus_url: that it reads.
        port: of its metrics and probes; its debug pages are on the next one.
    """

    cluster: Cluster
    folder: Path
    prometheus_url: str
    port: int

    @property
    def process(self) -> ManagedProcess:
        """Running or not."""
        settings = {
            "KUBECONFIG": str(self._credentials),
            "PROMETHEUS_URL": self.prometheus_url,
            "OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
            "IDENTITY": "sandbox",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "DEBUG_PORT": str(self.port + 1),
            "LOG_FORMAT": "json",
            **PACE,
        }
        words = (str(Path(sys.executable).parent / "pertoken"), "run")
        environment = {f"PERTOKEN_{name}": value for name, value in settings.items()}
        return ManagedProcess(ProcessCommand("pertoken", words, environment), self.folder, detached=True)

    @property
    def url(self) -> str:
        """Of its metrics and probes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _credentials(self) -> Path:
        return self.folder / "operator.kubeconfig"

    def start(self) -> None:
        """Install what it needs and start it; starting twice is fine.

        Raises:
            KubectlFailed, ProcessFailed: it cannot be installed, or does not come up.
        """
        process = self.process
        if process.running:
            return
        install(self.cluster)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster.token_kubeconfig(OPERATOR_NAMESPACE, "pertoken", self._credentials, TOKEN_SECONDS)
        process.start()
        process.wait_ready(lambda: _answers(f"{self.url}/readyz"), READY_SECONDS)

    def stop(self) -> None:
        """End it in order."""
        self.process.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
