"""The real client on the run's control plane."""

import time
from collections.abc import Iterator

import pytest

from pertoken.adapters.kube.client import ClientOptions, KubeClient


class RealClock:
    def now(self) -> float:
        return time.time()  # noqa: TID251 - a real clock for a real server

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock() -> RealClock:
    return RealClock()


@pytest.fixture
def client(control_plane) -> Iterator[KubeClient]:
    client = KubeClient(ClientOptions(kubeconfig=control_plane.kubeconfig))
    yield client
    client.close()
