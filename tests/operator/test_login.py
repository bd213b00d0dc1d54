"""Where Kopf finds the API server in a pod: at the address that the Kubernetes client uses too."""

from __future__ import annotations

import kopf
import pytest

from pertoken.kopf_bridge.login import LoginError, login_from


@pytest.fixture
def service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kopf's paths are fixed, so what it would read there is given."""
    info = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="t")
    monkeypatch.setattr(kopf, "login_with_service_account", lambda settings: info)  # noqa: ARG005 - Kopf's signature


@pytest.mark.usefixtures("service_account")
@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
def test_in_a_pod_the_kubelets_address_is_used_not_the_clusters_dns(host, server, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    login = login_from(None, None)(kopf.OperatorSettings())
    assert (login.server, login.token) == (server, "t")


@pytest.mark.usefixtures("service_account")
def test_without_the_kubelets_address_it_is_said(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(LoginError, match="KUBERNETES_SERVICE_HOST"):
        login_from(None, None)(kopf.OperatorSettings())
