"""Emulated nodes and kubelets against the real control plane."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.kubectl import Kubectl

pytestmark = pytest.mark.e2e

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SANDBOX = Path(__file__).parents[2] / "sandbox"


def eventually(what: str, check: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        last = check()
        if last:
            return last
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what} (last: {last!r})")


@pytest.fixture
def fleet(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[str]:
    """A fleet of one node with two GPUs, named after the namespace; yields its URL."""
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,400\n0.1,100,400\n")
    node = {"name": namespace, "product": "NVIDIA-A100-SXM4-80GB", "gpus": 2, "memoryGiB": 80}
    config = {
        "nodes": [{**node, "labels": {"pool": namespace}}],
        "startup": {"imagePullSeconds": 0.2, "loadSeconds": 0.5},
        "configRetrySeconds": 0.3,
        "crashBackoffSeconds": 0.5,
        "traffic": [
            {
                "namespace": namespace,
                "service": "chat",
                "selector": {"app": "chat"},
                "trace": "t.csv",
                "autoStart": False,
            },
        ],
    }
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(config))
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "pertoken_sandbox.fleet", "--kubeconfig", str(control_plane.kubeconfig)]
    with (tmp_path / "fleet.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(tmp_path / "fleet.yaml"), "--port-file", str(port_file)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(SANDBOX)},
        )
        try:
            eventually("the fleet listens", lambda: port_file.exists() and port_file.read_text().strip())
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
    control_plane.kubectl("delete", "node", namespace)
    assert code == 0, (tmp_path / "fleet.log").read_text()
    assert "Traceback" not in (tmp_path / "fleet.log").read_text()


def pod(name: str, namespace: str, **annotations: str) -> dict[str, Any]:
    reference = {"configMapKeyRef": {"name": "caps", "key": "cap"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": "chat"},
            "annotations": {f"sandbox.pertoken.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
        },
        "spec": {
            "nodeSelector": {"pool": namespace},
            "terminationGracePeriodSeconds": 30,
            "containers": [
                {
                    "name": "engine",
                    "image": "vllm/vllm-openai:v0.32.0",
                    "args": ["serve", MODEL, "--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)"],
                    "env": [{"name": "PERTOKEN_MAX_NUM_SEQS", "valueFrom": reference}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                },
            ],
        },
    }


def container_state(kubectl: Kubectl, namespace: str, name: str) -> dict[str, Any]:
    status = kubectl.json("get", "pod", name, "-n", namespace)["status"]
    statuses = status.get("containerStatuses") or [{"state": {}, "restartCount": 0, "lastState": {}}]
    return dict(statuses[0])


def is_ready(kubectl: Kubectl, namespace: str, name: str) -> bool:
    status = kubectl.json("get", "pod", name, "-n", namespace)["status"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


def waiting_reason(kubectl: Kubectl, namespace: str, name: str) -> str:
    return str(container_state(kubectl, namespace, name)["state"].get("waiting", {}).get("reason"))


def test_a_pods_whole_life(kubectl: Kubectl, namespace: str, fleet: str) -> None:
    kubectl.apply(pod("one", namespace))
    eventually(
        "the missing ConfigMap shows",
        lambda: waiting_reason(kubectl, namespace, "one") == "CreateContainerConfigError",
    )
    kubectl("create", "configmap", "caps", "-n", namespace, "--from-literal=cap=16")
    eventually("ready", lambda: is_ready(kubectl, namespace, "one"))
    status = kubectl.json("get", "pod", "one", "-n", namespace)["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.")
    (target,) = requests.get(f"{fleet}/sd", timeout=5).json()
    page = requests.get(fleet + target["labels"]["__metrics_path__"], timeout=5)
    assert "vllm:cache_config_info" in page.text

    requests.post(f"{fleet}/clients/{namespace}/chat/start", timeout=5)
    time.sleep(1.0)
    kubectl("delete", "pod", "one", "-n", namespace, "--wait=false")
    eventually("not ready while it drains", lambda: not is_ready(kubectl, namespace, "one"), 3)
    eventually("gone", lambda: not kubectl.json("get", "pods", "-n", namespace)["items"])
    (summary,) = requests.get(f"{fleet}/clients", timeout=5).json()
    assert summary["total"]["completed"] == 2  # what it had begun, it finished
    assert summary["total"]["retried"] == 0
    (node,) = requests.get(f"{fleet}/state", timeout=5).json()["nodes"]
    assert node["gpus"] == [None, None]


def test_a_bad_cap_crashes_the_engine_with_its_message(kubectl: Kubectl, namespace: str, fleet: str) -> None:
    kubectl("create", "configmap", "caps", "-n", namespace, "--from-literal=cap=0")
    kubectl.apply(pod("bad", namespace))
    eventually("crash loop", lambda: waiting_reason(kubectl, namespace, "bad") == "CrashLoopBackOff")
    state = container_state(kubectl, namespace, "bad")
    assert state["restartCount"] >= 1
    assert "at least 1" in state["lastState"]["terminated"]["message"]
    assert requests.get(f"{fleet}/sd", timeout=5).json()[0]["labels"]["pod"] == "bad"
    kubectl("create", "configmap", "caps", "-n", namespace, "--from-literal=cap=8", "--dry-run=client")
    kubectl("patch", "configmap", "caps", "-n", namespace, "-p", '{"data":{"cap":"8"}}')
    eventually("recovers with the next restart", lambda: is_ready(kubectl, namespace, "bad"))


def test_injected_crash_restarts_the_container(kubectl: Kubectl, namespace: str, fleet: str) -> None:
    kubectl("create", "configmap", "caps", "-n", namespace, "--from-literal=cap=8")
    kubectl.apply(pod("frail", namespace, crash_after_seconds="1"))
    eventually("restarted", lambda: container_state(kubectl, namespace, "frail")["restartCount"] >= 1)
    assert container_state(kubectl, namespace, "frail")["lastState"]["terminated"]["exitCode"] == 137
    assert requests.get(f"{fleet}/healthz", timeout=5).ok


def test_survives_a_restart_of_the_api_server(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, fleet: str
) -> None:
    kubectl("create", "configmap", "caps", "-n", namespace, "--from-literal=cap=8")
    kubectl.apply(pod("before", namespace))
    eventually("ready", lambda: is_ready(kubectl, namespace, "before"))
    control_plane.kill_apiserver()
    time.sleep(1.0)
    control_plane.restart_apiserver()
    kubectl.apply(pod("after", namespace))
    eventually("the new pod becomes ready", lambda: is_ready(kubectl, namespace, "after"), 60)
    pods = requests.get(f"{fleet}/state", timeout=5).json()["pods"]
    assert {p["name"]: p["serving"] for p in pods} == {"before": True, "after": True}
