"""Starts and stops what the demo runs: control plane, fleet, Prometheus, chart, operator."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from pertoken_sandbox.binaries import ensure, ensure_all
from pertoken_sandbox.cluster import Cluster, ExistingCluster
from pertoken_sandbox.controlplane import PROGRAMS
from pertoken_sandbox.demo.setting import (
    CHART,
    ENDLESS,
    EXAMPLES,
    NAMESPACE,
    OPERATOR_NAMESPACE,
    REQUEST_LOG,
    SERVICE,
    Setting,
)
from pertoken_sandbox.fleet.process import answers, fleet_server
from pertoken_sandbox.operator import install
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports
from pertoken_sandbox.prometheus import PrometheusServer, Scraping

Say = Callable[[str], None]
READY_SECONDS = 60.0
NOTHING_FURTHER: Mapping[str, str] = MappingProxyType({})
COST_WINDOW_SECONDS = 300  # the shortest that the API allows: about the whole run


class StageError(Exception):
    """A part did not come up; the message says which and why."""


def get_json(url: str) -> Any:
    """The JSON behind a loopback address.

    Raises:
        OSError: no answer.
    """
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - only loopback addresses of the stage
        return json.loads(answer.read())


@dataclass(slots=True)
class Stage:
    """The running parts and where to reach them."""

    setting: Setting
    cluster: Cluster
    state_dir: Path
    say: Say
    prometheus: PrometheusServer
    fleet_url: str
    debug_url: str
    operator: ManagedProcess

    @property
    def request_log(self) -> Path:
        """What the clients saw, one JSON object per finished request."""
        return self.state_dir / REQUEST_LOG

    def start_operator(self) -> None:
        """Start the operator with the chart's ServiceAccount."""
        self.operator.start()
        self.operator.wait_ready(lambda: answers(f"{self.debug_url}/debug/plan"), READY_SECONDS)

    def apply_examples(self, usd_per_million: Decimal) -> None:
        """Apply the example manifests as a user would, with the demo's cost target written in."""
        documents = [
            document
            for path in sorted(EXAMPLES.glob("*.yaml"))
            for document in yaml.safe_load_all(path.read_text())
            if document
        ]
        for document in documents:
            if document["kind"] == "InferenceService":
                cost = document["spec"]["objective"]["cost"]
                cost["perMillionTokens"] = {"blended": str(usd_per_million)}
                cost["windowSeconds"] = COST_WINDOW_SECONDS
                document["spec"]["behavior"] = {
                    "scaleDown": {"stabilizationWindowSeconds": self.setting.scale_down_seconds()}
                }
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def start_traffic(self) -> None:
        """Begin to play the trace."""
        self._start_clients(SERVICE)

    def keep_traffic(self) -> None:
        """Begin to play it over and over, for whoever looks at a demo that was kept."""
        self._start_clients(ENDLESS)

    def _start_clients(self, name: str) -> None:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.fleet_url}/clients/{NAMESPACE}/{name}/start", method="POST"
        )
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - loopback
            return


def prepare(*, existing: bool) -> None:
    """Fetch or build every program that the demo runs, before anything is started.

    Args:
        existing: on a cluster that somebody else runs, which needs no control plane and gets the chart from Helm.

    Raises:
        BinaryUnavailable: a program can be had in none of the ways.
    """
    ensure_all(("kubectl", "prometheus", "helm") if existing else (*PROGRAMS, "prometheus"))


def set_up(
    setting: Setting, cluster: Cluster, stack: ExitStack, say: Say, further: Mapping[str, str] = NOTHING_FURTHER
) -> Stage:
    """Start everything but the operator; `stack` takes it down again, in reverse order.

    Args:
        setting: of the run.
        cluster: where; it is started too.
        stack: takes it down.
        say: tells what is being started.
        further: environment of the operator.

    Raises:
        StageError, ProcessFailed, KubectlFailed: a part did not come up.
    """
    state_dir = cluster.state_dir
    detached = setting.keep
    say("control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler")
    stack.enter_context(cluster)
    fleet_port, http_port, debug_port = free_ports(3)
    say(f"emulated GPU fleet: {len(setting.fleet()['nodes'])} node group, engines that answer as vLLM does")
    config = state_dir / "fleet.yaml"
    config.write_text(yaml.safe_dump(setting.fleet()))
    fleet = fleet_server(cluster.kubeconfig, config, fleet_port, state_dir, detached=detached)
    stack.callback(fleet.stop)
    fleet.start()
    say("Prometheus")
    prometheus = PrometheusServer(
        ensure("prometheus"),
        state_dir / "prometheus",
        Scraping(fleet.urls, interval_seconds=setting.pace()["scrape_interval_seconds"]),
        detached=detached,
    )
    prometheus.start()
    stack.callback(prometheus.stop)
    say("CRDs, service account, permissions")
    _install(cluster)
    token = cluster.token_kubeconfig(OPERATOR_NAMESPACE, "pertoken", state_dir / "operator.kubeconfig")
    environment = setting.operator(prometheus.url, http_port, debug_port)
    operator = ManagedProcess(
        ProcessCommand(
            "pertoken",
            (str(Path(sys.executable).parent / "pertoken"), "run"),
            {**environment, **further, "PERTOKEN_KUBECONFIG": str(token)},
        ),
        state_dir,
        detached=detached,
    )
    stack.callback(operator.stop)
    return Stage(setting, cluster, state_dir, say, prometheus, fleet.url, f"http://127.0.0.1:{debug_port}", operator)


def _install(cluster: Cluster) -> None:
    """What the chart installs beside the Deployment: the operator runs here as a process.

    On a cluster of its own the demo applies the chart as rendered, so that Helm need not be there; somebody else's
    cluster gets a release, which Helm can upgrade and remove.
    """
    if isinstance(cluster, ExistingCluster):
        _install_release(cluster)
        return
    install(cluster)


def _install_release(cluster: Cluster) -> None:
    """Real Helm, as a user installs it."""
    done = subprocess.run(
        [
            str(ensure("helm")),
            "upgrade",
            "--install",
            "pertoken",
            str(CHART),
            "--namespace",
            OPERATOR_NAMESPACE,
            "--create-namespace",
            "--set",
            "replicaCount=0",
            "--kubeconfig",
            str(cluster.kubeconfig),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StageError(f"helm: {done.stderr.strip()}")
