"""A fresh sandbox, three foreign Deployments, and five commands to live figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "sandbox/foreign"
BIN = Path(sys.executable).parent
SERVICES = {"team-chat/chat-llama", "team-chat/assistant", "team-code/code-large"}

pytestmark = pytest.mark.e2e


class Shell:
    """A user's terminal: what `sandbox up` prints is exported, then commands are run by their names."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "PERTOKEN_SANDBOX_DIR": str(folder)}

    def __call__(self, *words: str, ok: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode in ok, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def export(self, printed: str) -> None:
        for line in printed.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            if line.startswith("export "):
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])


@pytest.fixture
def shell(tmp_path):
    run = Shell(tmp_path / "sandbox")
    run.export(run(str(BIN / "sandbox"), "up", "--operator", "--fleet", str(FOREIGN / "fleet.yaml")))
    yield run
    run(str(BIN / "sandbox"), "down")


def eventually(check, seconds=240.0):
    """What the check returns once it has no more to say than that; its last words where time runs out."""
    deadline = time.monotonic() + seconds
    while isinstance(last := check(), str):
        assert time.monotonic() < deadline, last
        time.sleep(1.0)
    return last


def workloads(shell):
    """Templates and managers of the foreign Deployments: what adopting must not touch."""
    items = json.loads(shell("kubectl", "get", "deployments", "-A", "-o", "json", "--show-managed-fields"))["items"]
    names = ("kubectl", "pertoken")
    return {
        item["metadata"]["name"]: (
            item["metadata"]["generation"],
            item["spec"],
            sorted({f["manager"] for f in item["metadata"]["managedFields"] if f["manager"].startswith(names)}),
        )
        for item in items
    }


def test_foreign_deployments_are_adopted_and_show_live_figures(shell):
    shell("kubectl", "apply", "-f", str(FOREIGN / "deployments.yaml"))
    shell("kubectl", "wait", "--for=condition=Available", "deployment", "--all", "-n", "team-chat", "--timeout=120s")
    before = workloads(shell)

    created = shell("pertoken", "adopt", "-A", "--apply")
    assert created.count(": created") == 6, created
    assert workloads(shell) == before

    def live():
        rows = json.loads(shell("pertoken", "status", "-A", "-o", "json", ok=(0, 1)))
        whole = [row for row in rows if row["costPerMillionTokens"] and row["ready"] == "True"]
        return rows if len(whole) == 3 else f"not live yet: {rows}"

    rows = eventually(live)
    assert {f"{row['namespace']}/{row['name']}" for row in rows} == SERVICES
    assert {row["mode"] for row in rows} == {"Recommend"}

    # The same again changes nothing, and what pertoken needs is all there.
    assert "created" not in shell("pertoken", "adopt", "-A", "--apply")
    assert "missing " not in shell("kubectl", "pertoken", "doctor", "-A")
    assert workloads(shell) == before


def test_a_chart_that_is_installed_says_why_its_pod_does_not_run(shell):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": "default"},
        "spec": {"containers": [{"name": "pertoken", "image": "ghcr.io/pertoken/pertoken:0.1.0"}]},
    }
    subprocess.run(["kubectl", "apply", "-f", "-"], input=json.dumps(pod), env=shell.environment, text=True, check=True)

    def why():
        shown = json.loads(shell("kubectl", "get", "pod", "operator", "-o", "json"))["status"]
        states = [status["state"] for status in shown.get("containerStatuses", ())]
        told = [state["waiting"]["message"] for state in states if state.get("waiting", {}).get("message")]
        return told or f"nothing told yet: {states}"

    assert "sandbox up --operator" in eventually(why)[0]
