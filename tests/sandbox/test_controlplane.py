"""The real control plane: it boots, authorizes, schedules, controls, and survives its API server's death."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pertoken_sandbox.binaries import neighbour_crds
from pertoken_sandbox.cluster import ExistingCluster, Unsupported
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.kubectl import Kubectl, KubectlFailed
from pertoken_sandbox.processes import ProcessFailed
from pertoken_sandbox.versions import KUBERNETES

pytestmark = pytest.mark.e2e


def eventually(probe: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer of `probe`."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


def deployment(namespace: str, replicas: int) -> dict[str, Any]:
    labels = {"app": "waiting"}
    container = {"name": "engine", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "waiting", "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def test_it_is_the_pinned_kubernetes(kubectl):
    assert kubectl.json("version")["serverVersion"]["gitVersion"] == f"v{KUBERNETES}"


def test_everything_listens_on_loopback_only(control_plane):
    ports = json.loads((control_plane.state_dir / "ports.json").read_text())
    listening = [line.split() for path in ("tcp", "tcp6") for line in open_sockets(path)]
    addresses = {
        int(local.split(":")[1], 16): local.split(":")[0]
        for _slot, local, _remote, state, *_ in listening
        if state == "0A"
    }
    assert {addresses[port] for port in ports.values()} == {"0100007F"}


def open_sockets(table: str) -> list[str]:
    return Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]


def test_etcd_refuses_clients_without_a_certificate(control_plane):
    port = json.loads((control_plane.state_dir / "ports.json").read_text())["etcd_client"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(b"GET /version HTTP/1.1\r\nHost: etcd\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(1000)


def test_credentials_are_private(control_plane):
    for path in (control_plane.kubeconfig, *(control_plane.state_dir / "pki").glob("*.key")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_deployment_creates_pods_that_wait_for_a_node(kubectl, namespace):
    kubectl.apply(deployment(namespace, 3))

    def unschedulable() -> bool:
        pods = kubectl.json("get", "pods", "-n", namespace)["items"]
        reasons = [c.get("reason") for pod in pods for c in pod["status"].get("conditions", [])]
        return len(pods) == 3 and reasons.count("Unschedulable") == 3

    assert eventually(unschedulable)
    kubectl("delete", "deployment", "waiting", "-n", namespace)
    assert eventually(lambda: not kubectl.json("get", "pods", "-n", namespace)["items"])


def listed_pods(reader: Kubectl) -> str | None:
    """What the reader sees; None as long as the grant has not reached the authorizer."""
    try:
        return ", ".join(pod["metadata"]["name"] for pod in reader.json("get", "pods")["items"]) or "no pods"
    except KubectlFailed as error:
        if "Forbidden" not in str(error):
            raise
        return None


def test_an_unprivileged_token_is_denied_and_a_granted_one_is_not(control_plane, kubectl, namespace, tmp_path):
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    path = control_plane.token_kubeconfig(namespace, "reader", tmp_path / "reader.kubeconfig")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reader = kubectl.as_user(path)
    assert f"system:serviceaccount:{namespace}:reader" in reader("auth", "whoami")
    with pytest.raises(KubectlFailed, match="Forbidden"):
        reader("get", "pods")
    kubectl("create", "role", "reader", "-n", namespace, "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "-n", namespace, "--role=reader", f"--serviceaccount={namespace}:reader")
    assert eventually(lambda: listed_pods(reader)) == "no pods"
    with pytest.raises(KubectlFailed, match="Forbidden"):
        reader("get", "pods", "-A")


def test_a_token_of_an_account_that_does_not_exist_is_refused(control_plane, namespace, tmp_path):
    with pytest.raises(KubectlFailed, match="not found"):
        control_plane.token_kubeconfig(namespace, "nobody", tmp_path / "nobody")


def test_admission_policies_are_enforced(kubectl, namespace):
    name = f"no-{namespace}"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "!object.metadata.name.startsWith('bad')", "message": "bad is refused"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    kubectl.apply(policy, binding)

    def refusal() -> str:
        try:
            kubectl("create", "configmap", "bad", "-n", namespace, "--dry-run=server")
        except KubectlFailed as error:
            return str(error)
        return ""

    try:
        assert "bad is refused" in eventually(refusal)
        kubectl("create", "configmap", "good", "-n", namespace)
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_the_apiserver_comes_back_with_its_data_and_address(control_plane, kubectl, namespace):
    kubectl("create", "configmap", "kept", "-n", namespace, "--from-literal=answer=42")
    control_plane.kill_apiserver()
    with pytest.raises(KubectlFailed, match="refused"):
        kubectl("get", "configmaps", "-n", namespace)
    control_plane.restart_apiserver()
    assert kubectl.json("get", "configmap", "kept", "-n", namespace)["data"] == {"answer": "42"}
    kubectl.apply(deployment(namespace, 1))
    assert eventually(lambda: kubectl.json("get", "pods", "-n", namespace)["items"], 40)
    assert all(eventually(lambda process=process: process.running) for process in control_plane.processes)


def test_the_real_kserve_crds_apply(kubectl):
    files = [path for path in neighbour_crds("kserve") if path.name == "serving.kserve.io_inferenceservices.yaml"]
    assert len(files) == 1
    kubectl.apply_files(files)
    try:
        assert eventually(lambda: "InferenceService" in kubectl("api-resources", "--api-group=serving.kserve.io"), 60)
    finally:
        kubectl("delete", *(f"--filename={path}" for path in files))


def test_an_existing_cluster_is_used_and_left_alone(control_plane, tmp_path):
    with ExistingCluster(tmp_path, control_plane.kubeconfig) as cluster:
        cluster.kubectl("get", "namespaces")
        token = cluster.token_kubeconfig("default", "default", tmp_path / "token")
        with pytest.raises(KubectlFailed, match="Forbidden"):
            cluster.kubectl.as_user(token)("get", "nodes")
        with pytest.raises(Unsupported):
            cluster.kill_apiserver()
    assert all(process.running for process in control_plane.processes)


def test_a_failed_start_tells_why_and_leaves_nothing(tmp_path):
    broken = ControlPlane(tmp_path)
    (tmp_path / "etcd").write_text("a file where etcd wants its folder")
    with pytest.raises(ProcessFailed, match="etcd ended"):
        broken.start()
    assert not any(process.running for process in broken.processes)
