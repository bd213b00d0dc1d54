"""Kopf's credentials, from the same place as those of the Kubernetes adapter."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class LoginError(Exception):
    """No usable credentials; the message says what was looked for."""


def login_from(kubeconfig: Path | None, context: str | None) -> Callable[[kopf.OperatorSettings], kopf.ConnectionInfo]:
    """A login function for one kubeconfig and context, or for the pod's service account.

    It is called again by Kopf when credentials are refused, so rotated tokens are read anew.

    Raises:
        LoginError: when called, if there are no credentials.
    """

    def login(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
        return _in_cluster(settings) if kubeconfig is None else _from_file(kubeconfig, context)

    return login


def _in_cluster(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    info = kopf.login_with_service_account(settings=settings)
    if info is None:
        raise LoginError(
            f"no kubeconfig given (PERTOKEN_KUBECONFIG) and no service account token under {SERVICE_ACCOUNT}"
        )
    # Kopf takes the cluster's DNS name for the API server, the Kubernetes client the address that the kubelet tells.
    # Both must be the same server, and neither should wait for the cluster's DNS.
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise LoginError("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set, which every pod has")
    return replace(info, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


def _from_file(path: Path, context: str | None) -> kopf.ConnectionInfo:
    config = yaml.safe_load(path.read_text())
    name = context or config.get("current-context")
    chosen = _named(config, "contexts", name)["context"]
    cluster = _named(config, "clusters", chosen["cluster"])["cluster"]
    user = _named(config, "users", chosen["user"])["user"]
    token = user.get("token")
    if token is None and user.get("tokenFile"):
        token = Path(user["tokenFile"]).read_text().strip()
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        insecure=cluster.get("insecure-skip-tls-verify"),
        certificate_path=user.get("client-certificate"),
        certificate_data=user.get("client-certificate-data"),
        private_key_path=user.get("client-key"),
        private_key_data=user.get("client-key-data"),
        username=user.get("username"),
        password=user.get("password"),
        token=token,
        default_namespace=chosen.get("namespace"),
    )


def _named(config: dict[str, Any], section: str, name: str | None) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return dict(entry)
    raise LoginError(f"the kubeconfig has no entry {name!r} under {section}")
