"""Kubeconfig files of the local cluster."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pertoken_sandbox.pki import KeyPair

CLUSTER_NAME = "pertoken-sandbox"


@dataclass(frozen=True)
class Endpoint:
    """Where an API server listens and the authority that signed its certificate (PEM; None: the system's)."""

    server: str
    authority: bytes | None


def write_client(path: Path, endpoint: Endpoint, pair: KeyPair) -> None:
    """Write a kubeconfig that authenticates with a client certificate."""
    user = {
        "client-certificate-data": _encoded(pair.certificate.read_bytes()),
        "client-key-data": _encoded(pair.key.read_bytes()),
    }
    _write(path, endpoint, user, namespace=None)


def write_token(path: Path, endpoint: Endpoint, token: str, namespace: str) -> None:
    """Write a kubeconfig that authenticates with a bearer token; `namespace` is its default namespace."""
    _write(path, endpoint, {"token": token}, namespace)


def read_endpoint(config: dict[str, Any]) -> Endpoint:
    """The endpoint of a flattened, minified kubeconfig (``kubectl config view --raw --minify --flatten -o json``)."""
    cluster = config["clusters"][0]["cluster"]
    encoded = cluster.get("certificate-authority-data")
    return Endpoint(cluster["server"], base64.b64decode(encoded) if encoded else None)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(path: Path, endpoint: Endpoint, user: dict[str, str], namespace: str | None) -> None:
    """Write the file in one step, readable by its owner alone: it holds a credential."""
    cluster = {"server": endpoint.server}
    if endpoint.authority is not None:
        cluster["certificate-authority-data"] = _encoded(endpoint.authority)
    context = {"cluster": CLUSTER_NAME, "user": "user", **({"namespace": namespace} if namespace else {})}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER_NAME, "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": CLUSTER_NAME, "context": context}],
        "current-context": CLUSTER_NAME,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.touch(mode=0o600)
    staged.write_text(yaml.safe_dump(document, sort_keys=False))
    staged.replace(path)
