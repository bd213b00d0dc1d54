"""The shared stack and, for each test, a lab in a namespace of its own: see `clusterlab.lab`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from clusterlab import Lab, Stack, owned

from pertoken_sandbox.controlplane import ControlPlane


@pytest.fixture(scope="package")
def stack(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Chart, fleet, Prometheus and operator, started by the first test that asks."""
    with Stack(control_plane, tmp_path_factory.mktemp("blackbox")) as started:
        yield started


@pytest.fixture(scope="package", autouse=True)
def early(stack: Stack) -> Iterator[Lab]:
    """Services that have been under steady traffic since the laboratory started: what is learnt takes time.

    Each is of the one test that asks for it by name; others leave them alone.
    """
    lab = _lab(stack)
    pool = lab.pool(nodes=[8])
    lab.load("early-a", requests_per_second=6, output_tokens=200, step_seconds=0.03, batch=64)
    batching = {"minSequences": 16, "maxSequences": 96}
    lab.service("early", owned(pool, minReplicas=2, maxReplicas=4, batching=batching))
    lab.load("roll-a", requests_per_second=3, output_tokens=200, step_seconds=0.03, batch=64)
    batching = {"mode": "Fixed", "maxSequences": 64}
    lab.service("roll", owned(pool, minReplicas=1, maxReplicas=4, batching=batching))
    yield lab
    lab.close()


@pytest.fixture
def lab(stack: Stack) -> Iterator[Lab]:
    """A fresh namespace in which workloads may be owned."""
    lab = _lab(stack)
    yield lab
    lab.close()


def _lab(stack: Stack) -> Lab:
    name = f"bb-{secrets.token_hex(3)}"
    labels = {"pertoken.dev/owned-workloads": "enabled"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    stack.cluster.create(namespace, namespace="")
    return Lab(stack, name)
