"""The shared stack and, for each test, a lab in a namespace of its own: see `clusterlab.lab`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from clusterlab import Lab, Stack

from pertoken_sandbox.controlplane import ControlPlane


@pytest.fixture(scope="package")
def stack(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Chart, fleet, Prometheus and operator, started by the first test that asks."""
    with Stack(control_plane, tmp_path_factory.mktemp("blackbox")) as started:
        yield started


@pytest.fixture
def lab(stack: Stack) -> Iterator[Lab]:
    """A fresh namespace in which workloads may be owned."""
    name = f"bb-{secrets.token_hex(3)}"
    labels = {"pertoken.dev/owned-workloads": "enabled"}
    stack.cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}, namespace=""
    )
    made = Lab(stack, name)
    yield made
    made.close()
