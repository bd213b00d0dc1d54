"""The whole operator for real: chart's service account, emulated GPU fleet, Prometheus, on the run's control plane."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.kubectl import Kubectl, KubectlFailed
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports
from pertoken_sandbox.prometheus import PrometheusServer, Scraping

ROOT = Path(__file__).parents[2]
NAMESPACE = "operator-e2e"
OPERATOR_NAMESPACE = "pertoken-system"
SERVICES = "inferenceservices.serving.pertoken.dev"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PRODUCT = "NVIDIA-A100-SXM4-80GB"


@dataclass(frozen=True)
class Place:
    """What one test's service has to itself: a pool of its name on one node, and traffic as soon as it has pods."""

    gpus: int
    requests_per_second: float = 0.0


# By service; each is of the one test that serves it.
PLACES = {
    "line": Place(4, 4.0),
    "free": Place(1),
    "cost": Place(2, 4.0),
    "told": Place(1),
    "refused": Place(1),
    "outage": Place(2, 4.0),
    "pause": Place(1),
    "commands": Place(1),
    "full": Place(3, 9.0),
    "single": Place(1, 3.0),
    "gone": Place(1),
    "stopped": Place(2),
    "recorded": Place(2, 3.0),
    "timed": Place(2),
    "lent": Place(2, 3.0),
}


@dataclass
class Stack:
    """The running parts, and short cuts to what tests look at."""

    kubectl: Kubectl
    prometheus: PrometheusServer
    operator: ManagedProcess
    fleet_url: str
    debug_url: str
    kubeconfig: Path
    scaler: str

    def service(self, name: str) -> dict[str, Any]:
        return dict(self.kubectl.json("get", SERVICES, "-n", NAMESPACE, name))

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.service(name).get("status", {}).get("conditions", [])
        return next((dict(each) for each in conditions if each["type"] == kind), {})

    def variant(self, name: str) -> dict[str, Any]:
        return dict((self.service(name).get("status", {}).get("variants") or [{}])[0])

    def pods(self, service: str) -> list[dict[str, Any]]:
        selector = f"serving.pertoken.dev/service={service}"
        return list(self.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", selector)["items"])

    def ready(self, service: str) -> int:
        return sum(1 for pod in self.pods(service) if is_ready(pod))

    def cap(self, workload: str) -> dict[str, Any]:
        return dict(self.kubectl.json("get", "configmap", "-n", NAMESPACE, f"{workload}-batch"))


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def until(what: Callable[[], object], seconds: float, *, every: float = 0.5) -> Any:
    """Poll until `what` is truthy; its last value is the message otherwise."""
    deadline = time.monotonic() + seconds
    value: object = None
    while time.monotonic() < deadline:
        try:
            value = what()
        except (KubectlFailed, KeyError) as error:
            value = None
            last = str(error)
        else:
            last = repr(value)
        if value:
            return value
        time.sleep(every)
    pytest.fail(f"not within {seconds:.0f} s; last: {last}")


def manifest(name: str, pool: str, replicas: int, **spec: Any) -> dict[str, Any]:
    """An InferenceService of the emulated model on one pool."""
    engine = {
        "name": "engine",
        "image": "vllm/vllm-openai:test",
        "args": [f"--model={MODEL}", f"--served-model-name={name}", "--max-num-batched-tokens=2048"],
        "ports": [{"containerPort": 8000, "name": "http"}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"id": MODEL, "servedName": name},
            "objective": {
                "cost": {"perMillionTokens": {"blended": "1.00"}, "windowSeconds": 300},
                "latency": {"ttftMilliseconds": 4000, "interTokenMilliseconds": 75},
            },
            "minReplicas": replicas,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
            "variants": [
                {
                    "name": "a",
                    "pool": pool,
                    "maxReplicas": replicas,
                    "batching": {"minSequences": 16, "maxSequences": 512},
                    "podTemplate": {"spec": {"terminationGracePeriodSeconds": 5, "containers": [engine]}},
                }
            ],
            **spec,
        },
    }


def _trace(path: Path, rate: float, seconds: float) -> Path:
    """Evenly spaced requests of the lengths of a conversation."""
    rows = ["arrival_s,input_tokens,output_tokens"]
    rows += [
        f"{index / rate:.4f},{900 + 37 * (index % 11)},{120 + 13 * (index % 9)}" for index in range(int(rate * seconds))
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def stack(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything up, and a place for every test's service."""
    folder = tmp_path_factory.mktemp("operator")
    kubectl = control_plane.kubectl
    with ExitStack() as undo:
        fleet_port, http_port, debug_port, scaler_port = free_ports(4)
        rates = {name: place.requests_per_second for name, place in PLACES.items() if place.requests_per_second}
        config = {
            "nodes": [
                {
                    "name": f"node-{name}",
                    "product": PRODUCT,
                    "gpus": place.gpus,
                    "memoryGiB": 80,
                    "labels": {"pool": name},
                }
                for name, place in PLACES.items()
            ],
            "startup": {"imagePullSeconds": 0.5, "loadSeconds": 2},
            "truth": {"decode": 1.15, "prefill": 1.1},
            "traffic": [
                {
                    "namespace": NAMESPACE,
                    "service": name,
                    "selector": {"serving.pertoken.dev/service": name},
                    "trace": str(_trace(folder / f"{name}.csv", rate, 900)),
                    "model": name,
                    "loop": True,
                }
                for name, rate in rates.items()
            ],
        }
        (folder / "fleet.yaml").write_text(yaml.safe_dump(config))
        fleet = _process(
            "fleet",
            folder,
            "-m",
            "pertoken_sandbox.fleet",
            f"--kubeconfig={control_plane.kubeconfig}",
            f"--config={folder / 'fleet.yaml'}",
            f"--port={fleet_port}",
        )
        fleet.start()
        undo.callback(_forget_nodes, kubectl)
        undo.callback(fleet.stop)
        fleet_url = f"http://127.0.0.1:{fleet_port}"
        urls = tuple(f"{fleet_url}/{page}" for page in ("sd", "sd/dcgm", "sd/gateway"))
        prometheus = PrometheusServer(ensure("prometheus"), folder / "prometheus", Scraping(urls, interval_seconds=1.0))
        prometheus.start()
        undo.callback(prometheus.stop)
        _helm(
            control_plane,
            "upgrade",
            "--install",
            "--create-namespace",
            # other tests of the same control plane may have applied the CRDs before
            "--take-ownership",
            "--force-conflicts",
            "--set",
            "replicaCount=0",
            "--set",
            "ownedWorkloads=All",
            str(ROOT / "charts/pertoken"),
        )
        undo.callback(_helm, control_plane, "uninstall")
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": {"pertoken.dev/owned-workloads": "enabled"}},
            },
            *(_pool(name) for name in PLACES),
        )
        undo.callback(kubectl, "delete", "namespace", NAMESPACE, "--wait=false")
        token = control_plane.token_kubeconfig(OPERATOR_NAMESPACE, "pertoken", folder / "operator.kubeconfig")
        operator = ManagedProcess(
            ProcessCommand(
                "pertoken",
                (str(Path(sys.executable).parent / "pertoken"), "run"),
                {
                    **_environment(prometheus.url, token, http_port, debug_port),
                    "PERTOKEN_RECORD_CYCLES": "200",
                    "PERTOKEN_RECORD_DIR": str(folder / "recordings"),
                    "PERTOKEN_SCALER_ENABLED": "true",
                    "PERTOKEN_SCALER_HOST": "127.0.0.1",
                    "PERTOKEN_SCALER_PORT": str(scaler_port),
                },
            ),
            folder,
        )
        operator.start()
        undo.callback(operator.stop)
        yield Stack(
            kubectl,
            prometheus,
            operator,
            fleet_url,
            f"http://127.0.0.1:{debug_port}",
            control_plane.kubeconfig,
            f"127.0.0.1:{scaler_port}",
        )


@pytest.fixture
def serve(stack: Stack) -> Iterator[Callable[..., None]]:
    """``serve("line", 2)``: its replicas are up and measured; the service is deleted after the test."""
    names: list[str] = []

    def begin(name: str, replicas: int = 1) -> None:
        names.append(name)
        stack.kubectl.apply(manifest(name, name, replicas))
        until(lambda: stack.ready(name) == replicas, 60)
        until(lambda: stack.condition(name, "MetricsAvailable").get("status") == "True", 60)

    yield begin
    for name in names:
        stack.kubectl("delete", SERVICES, "-n", NAMESPACE, name, "--ignore-not-found", "--wait=false")


def _environment(url: str, token: Path, http_port: int, debug_port: int) -> dict[str, str]:
    values = {
        "KUBECONFIG": token,
        "PROMETHEUS_URL": url,
        "OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": http_port,
        "DEBUG_PORT": debug_port,
        "LOG_FORMAT": "json",
        "CYCLE_SECONDS": 1,
        "SCRAPE_INTERVAL_SECONDS": 1,
        "RATE_WINDOW_SECONDS": 8,
        "FRESH_SECONDS": 5,
        "STATUS_SECONDS": 2,
        "CAP_INTERVAL_SECONDS": 5,
        "CANARY_SECONDS": 3,
        "START_SECONDS": 5,
        "BACKLOG_SECONDS": 10,
        "PROMETHEUS_TIMEOUT_SECONDS": 3,
    }
    return {f"PERTOKEN_{name}": str(value) for name, value in values.items()}


def _process(name: str, folder: Path, *arguments: str) -> ManagedProcess:
    return ManagedProcess(ProcessCommand(name, (sys.executable, *arguments)), folder)


def _pool(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {
            "accelerator": "a100-sxm-80gb",
            "pricePerGPUHour": "2.45",
            "capacity": {"fromNodes": {"matchLabels": {"pool": name}}},
            "provisioningSeconds": 30,
        },
    }


def _forget_nodes(kubectl: Kubectl) -> None:
    kubectl("delete", "nodes", *(f"node-{pool}" for pool in PLACES), "--ignore-not-found", "--wait=false")


def _helm(control_plane: ControlPlane, *arguments: str) -> None:
    command, *rest = arguments
    subprocess.run(
        [
            ensure("helm"),
            command,
            *(rest[:-1] if rest else ()),
            "pertoken",
            *rest[-1:],
            "--namespace",
            OPERATOR_NAMESPACE,
            "--kubeconfig",
            control_plane.kubeconfig,
        ],
        check=True,
        capture_output=True,
    )


class World:
    """Helpers for the tests (test folders are no packages, so they cannot import each other)."""

    namespace = NAMESPACE
    services = SERVICES
    manifest = staticmethod(manifest)
    until = staticmethod(until)

    @staticmethod
    def read(url: str) -> str:
        """What a loopback address of the stack answers."""
        return World.fetch(url).decode()

    @staticmethod
    def fetch(url: str) -> bytes:
        """The same as bytes."""
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback addresses of the stack
            return bytes(answer.read())


@pytest.fixture(scope="module")
def world() -> World:
    return World()
