"""The built image: what is in it, and that the chart's pod runs on its root file system and reaches /readyz.

`make image-test` runs these on what `make image` has left; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.image import contents, layout, pod
from pertoken_sandbox.image.build import OPERATOR, REPOSITORY, Folder
from pertoken_sandbox.image.layout import Image
from pertoken_sandbox.processes import ManagedProcess, free_ports

FOLDER = os.environ.get("PERTOKEN_IMAGE")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(FOLDER is None, reason="make image-test runs these")]
CHART = REPOSITORY / "charts" / "pertoken"
LOCK = REPOSITORY / "uv.lock"
SYSTEM = "pertoken-system"
READY_SECONDS = 120.0


@dataclass(frozen=True)
class Built:
    """The image and its unpacked root file system."""

    image: Image
    rootfs: Path


@pytest.fixture(scope="module")
def built() -> Built:
    folder = Folder(Path(str(FOLDER)).absolute())
    image = layout.read(folder.layout)
    layout.unpack(image, folder.rootfs)
    return Built(image, folder.rootfs)


def test_it_may_be_published(built: Built):
    assert contents.problems(built.image, built.rootfs, LOCK) == []


def test_a_larger_image_or_another_user_is_refused(built: Built, tmp_path: Path):
    fat = tmp_path / "layer"
    with fat.open("wb") as file:
        file.truncate(int(OPERATOR.limit_mib * 2**20))
    changed = replace(built.image, layers=(*built.image.layers, fat), config={**built.image.config, "User": "root"})
    named = contents.problems(changed, built.rootfs, LOCK)
    assert any("MiB compressed; expected at most 150" in problem for problem in named)
    assert any("config.User: 'root'" in problem for problem in named)


@pytest.mark.parametrize(
    "name", ["numba", "matplotlib", "scipy", "joblib", "pytest", "dask", "pertoken-bench", "pertoken-sandbox"]
)
def test_nothing_of_benchmarks_and_development_is_in_it(built: Built, name: str):
    assert name not in contents.installed(built.rootfs)
    assert name not in contents.needed(LOCK)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("image-plane")) as started:
        yield started


@dataclass(frozen=True)
class Operator:
    """The chart's container, running on the image's root file system."""

    process: ManagedProcess
    port: int

    def get(self, path: str) -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=6) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            return 0, str(error)

    @property
    def pid(self) -> int:
        """The operator's own, under the process that holds its namespaces."""
        identity = self.process.identity
        assert identity is not None, self.process.failure("is gone")
        children = Path(f"/proc/{identity.pid}/task/{identity.pid}/children").read_text().split()
        return int(children[0])

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.fixture(scope="module")
def operator(built: Built, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Installed by the chart with no replica; its pod is then started here, since the control plane has no nodes."""
    helm = [str(ensure("helm")), "install", "pertoken", str(CHART), "--namespace", SYSTEM, "--create-namespace"]
    helm += ["--kubeconfig", str(plane.kubeconfig), "--set", "replicaCount=0"]
    done = subprocess.run(helm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kubectl = plane.kubectl
    kubectl.await_crd("inferenceservices.serving.pertoken.dev", "acceleratorpools.serving.pertoken.dev")
    template = kubectl.json("get", "deployment", "pertoken", "-n", SYSTEM)["spec"]["template"]
    settings = kubectl.json("get", "configmap", "pertoken-settings", "-n", SYSTEM)["data"]
    port, debug_port = free_ports(2)
    address = urlsplit(plane.url)
    what = pod.StartedPod(
        "pertoken-0",
        SYSTEM,
        template["spec"],
        {"pertoken-settings": settings},
        {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "PERTOKEN_HTTP_PORT": str(port),
            "PERTOKEN_DEBUG_PORT": str(debug_port),
            "PERTOKEN_CYCLE_SECONDS": "2",
        },
    )
    state = tmp_path_factory.mktemp("image-operator")
    account = pod.service_account(plane, what, state / "account")
    process = ManagedProcess(pod.command(built.image, built.rootfs, what, account), state)
    process.start()
    started = Operator(process, port)
    try:
        process.wait_ready(lambda: started.get("/readyz")[0] == 200, READY_SECONDS)
        yield started
    finally:
        process.stop()


def test_it_is_ready_and_shows_metrics(operator: Operator):
    status, text = operator.get("/metrics")
    assert status == 200
    assert "pertoken_" in text


def test_it_runs_without_rights_on_a_read_only_root(operator: Operator):
    status = operator.status()
    assert set(status["Uid"].split()) == {"65532"}
    assert set(status["Gid"].split()) == {"65532"}
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in Path(f"/proc/{operator.pid}/mountinfo").read_text().splitlines()]
    [root] = [mount for mount in mounts if mount[4] == "/"]
    assert "ro" in root[5].split(",")


def test_it_leads_and_answers_a_user(operator: Operator, plane: ControlPlane):  # noqa: ARG001 - it must run
    kubectl = plane.kubectl
    kubectl("create", "namespace", "team")
    kubectl.apply(
        {
            "apiVersion": "serving.pertoken.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": "chat", "namespace": "team"},
            "spec": {
                "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
                "variants": [
                    {
                        "name": "a",
                        "pool": "nowhere",
                        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "missing"},
                    }
                ],
            },
        }
    )

    def conditions() -> list[dict[str, Any]]:
        return kubectl.json("get", "ptis", "chat", "-n", "team").get("status", {}).get("conditions", [])

    deadline = time.monotonic() + 60
    while not conditions() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert {"Accepted", "Ready"} <= {condition["type"] for condition in conditions()}
    assert kubectl.json("get", "lease", "-n", SYSTEM)["items"][0]["spec"]["holderIdentity"].startswith("pertoken-0")


def test_its_commands_run_and_say_what_they_lack(operator: Operator, built: Built):  # noqa: ARG001 - same root
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        entered = [str(shutil.which("chroot")), "--userspec=65532:65532", str(built.rootfs)]
        clean = {"PATH": "/opt/pertoken/bin:/usr/bin:/bin", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108
        return subprocess.run([*entered, "pertoken", *words], env=clean, capture_output=True, text=True, check=False)

    assert run("version", "--short").stdout.strip() == built.image.config["Labels"]["org.opencontainers.image.version"]
    bench = run("bench", "--scenario", "x.yaml")
    assert bench.returncode == 2
    assert "pip install pertoken-bench" in bench.stderr
    assert "Traceback" not in bench.stderr


def test_it_ends_in_time_when_the_kubelet_asks(operator: Operator, plane: ControlPlane):
    """The operator is process 1 of its container: without a handler of its own it would not hear SIGTERM at all."""
    grace = plane.kubectl.json("get", "deployment", "pertoken", "-n", SYSTEM)["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    os.kill(operator.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while operator.process.running and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not operator.process.running, operator.process.failure("did not end")
    released = plane.kubectl.json("get", "lease", "-n", SYSTEM)["items"][0]["spec"].get("holderIdentity")
    assert not released, "the lease was not given back: the next pod waits until it runs out"
