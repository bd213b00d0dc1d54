"""One real control plane for the whole run, a fresh namespace for each test, and every supported Prometheus."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusterlab.audit import audited
from hypothesis import settings

from pertoken_sandbox.binaries import debian_prometheus, ensure
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.kubectl import Kubectl

# Of laws that state no number of their own: four in ten of the usual examples. No law fails on wall-clock time.
settings.register_profile("suite", max_examples=40, deadline=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with end-to-end tests first: the longest work begins first, and lanes end together."""
    long = {item.path for item in items if item.get_closest_marker("e2e")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The run's control plane, started by the first test that asks for it; it logs the operator's writes."""
    folder = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(folder, audited(folder)) as started:
        yield started


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """``kubectl("get", "pods")`` as the administrator; ``.json(…)`` parses, ``.apply(…)`` takes objects."""
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own, deleted after it."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session", params=["3.16", "2.42"])
def prometheus_binary(request: pytest.FixtureRequest) -> Path:
    """Each supported Prometheus: the pinned one and, as the oldest, Debian's."""
    binary = ensure("prometheus") if request.param == "3.16" else debian_prometheus()
    if binary is None:
        pytest.skip("Debian's Prometheus needs apt")
    return binary
