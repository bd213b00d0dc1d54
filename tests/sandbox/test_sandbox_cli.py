"""The ``sandbox`` command from the outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pertoken_sandbox.components import Options, components
from pertoken_sandbox.processes import Identity
from pertoken_sandbox.versions import PROGRAMS

SANDBOX = Path(sys.executable).parent / "sandbox"


def sandbox(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PERTOKEN_SANDBOX_DIR": str(folder)}
    return subprocess.run([SANDBOX, *args], env=environment, capture_output=True, text=True, check=False)


def exported(done: subprocess.CompletedProcess[str], name: str) -> str:
    match = re.search(rf"^(?:export|alias) {name}=(.+)$", done.stdout, re.MULTILINE)
    assert match, done.stdout + done.stderr
    return match.group(1)


@pytest.mark.e2e
def test_up_status_down(tmp_path):
    folder = tmp_path / "sandbox"
    try:
        first = sandbox(folder, "up")
        assert first.returncode == 0, first.stderr
        reached = subprocess.run(
            [exported(first, "kubectl"), "get", "namespaces", f"--cache-dir={tmp_path}"],
            env={**os.environ, "KUBECONFIG": exported(first, "KUBECONFIG")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "kube-system" in reached.stdout
        gpus = "jsonpath={.items[*].metadata.labels.nvidia\\.com/gpu\\.product}"
        nodes = subprocess.run(
            [exported(first, "kubectl"), "get", "nodes", "-o", gpus, f"--cache-dir={tmp_path}"],
            env={**os.environ, "KUBECONFIG": exported(first, "KUBECONFIG")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert {"NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3", "NVIDIA-L40S"} == set(nodes.stdout.split())
        pids = running_pids(folder)
        assert len(pids) == 6
        second = sandbox(folder, "up")
        assert second.stdout == first.stdout
        assert running_pids(folder) == pids
        os.kill(pids["kube-scheduler"], 9)
        assert sandbox(folder, "status").returncode == 1
        assert sandbox(folder, "up").returncode == 0
        healed = sandbox(folder, "status")
        assert healed.returncode == 0
        assert healed.stdout.count("running") == 6
        pids = running_pids(folder)
    finally:
        stopped = sandbox(folder, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert not folder.exists()
    assert not any(Identity.of(pid) for pid in pids.values())


def running_pids(folder: Path) -> dict[str, int]:
    options = Options.load(folder)
    assert options is not None
    identities = {p.name: p.identity for part in components(options) for p in part.processes}
    return {name: identity.pid for name, identity in identities.items() if identity is not None}


@pytest.mark.e2e
def test_an_interrupt_while_starting_leaves_nothing_running(tmp_path):
    folder = tmp_path / "sandbox"
    records = folder / "controlplane" / "run"
    with subprocess.Popen([SANDBOX, "up", "--state-dir", folder], stderr=subprocess.PIPE, text=True) as starting:
        deadline = time.monotonic() + 20
        while not (records / "kube-apiserver.json").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = [json.loads(path.read_text())["pid"] for path in records.glob("*.json")]
        assert len(pids) == 2
        starting.send_signal(signal.SIGINT)
        assert starting.wait(30) != 0
    assert not any(Identity.of(pid) for pid in pids)
    assert running_pids(folder) == {}
    assert sandbox(folder, "down").returncode == 0
    assert not folder.exists()


@pytest.mark.e2e
def test_up_with_an_existing_cluster_boots_none(tmp_path, control_plane):
    folder = tmp_path / "sandbox"
    try:
        done = sandbox(folder, "up", "--kubeconfig", str(control_plane.kubeconfig))
        assert done.returncode == 0, done.stderr
        assert exported(done, "KUBECONFIG") == str(control_plane.kubeconfig)
        assert set(running_pids(folder)) == {"prometheus"}
    finally:
        sandbox(folder, "down")
    assert all(process.running for process in control_plane.processes)


def test_down_and_status_without_a_sandbox(tmp_path):
    (tmp_path / "precious").write_text("not a sandbox")
    assert sandbox(tmp_path, "down").returncode == 0
    assert sandbox(tmp_path, "status").returncode == 1
    assert (tmp_path / "precious").exists()


def test_an_unknown_program_is_bad_input(tmp_path):
    done = sandbox(tmp_path, "binaries", "kubelet")
    assert done.returncode == 2
    assert "kubelet" in done.stderr


@pytest.mark.e2e
def test_binaries_prints_where_they_are(tmp_path):
    done = sandbox(tmp_path, "binaries")
    paths = dict(line.split("\t") for line in done.stdout.splitlines())
    assert set(paths) == set(PROGRAMS)
    assert all(os.access(path, os.X_OK) for path in paths.values())
