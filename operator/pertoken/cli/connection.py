"""The user's own connection to a cluster, for commands that look at services or annotate them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pertoken.adapters.kube.client import MERGE_PATCH, ApiRequest, ClientOptions, KubeClient
from pertoken.adapters.kube.reader import WATCHED, KubeReader
from pertoken.api.translate import PAUSED_ANNOTATION
from pertoken.cli.rendering import NO, refuse
from pertoken.ports import AdapterError, Json, NotFound

PLURAL = "inferenceservices"

Kubeconfig = Annotated[
    Path | None, typer.Option(help="Kubeconfig file; by default $KUBECONFIG, else ~/.kube/config.", dir_okay=False)
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; by default that of the context, else `default`.")
]


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where to look, as given on the command line."""

    kubeconfig: Path | None
    context: str | None
    namespace: str | None

    @property
    def file(self) -> Path:
        """The kubeconfig in use."""
        if self.kubeconfig is not None:
            return self.kubeconfig
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        return Path(named) if named else Path.home() / ".kube" / "config"

    @property
    def own_namespace(self) -> str:
        """The namespace asked for, or the context's."""
        if self.namespace:
            return self.namespace
        try:
            raw = yaml.safe_load(self.file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError):
            return "default"
        chosen = self.context or raw.get("current-context")
        for entry in raw.get("contexts") or ():
            if entry.get("name") == chosen:
                return str((entry.get("context") or {}).get("namespace") or "default")
        return "default"


def client(access: ConnectionOptions) -> KubeClient:
    """A connection; without usable credentials one line and exit code 2."""
    if not access.file.is_file():
        refuse(f"--kubeconfig: {access.file}: no such file; give --kubeconfig or set KUBECONFIG")
    try:
        return KubeClient(ClientOptions(access.file, access.context))
    except AdapterError as error:
        refuse(f"--kubeconfig: {access.file}: {error}")


def services(access: ConnectionOptions, *, everywhere: bool) -> list[Json]:
    """All services of the namespace or of the cluster, by namespace and name."""
    reader = KubeReader(client(access), () if everywhere else (access.own_namespace,))
    try:
        items = reader.list(PLURAL).items
    except NotFound:
        refuse("the cluster has no InferenceService of serving.pertoken.dev: install the chart or apply crds/")
    except AdapterError as error:
        refuse(str(error))
    return sorted(items, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))


def service(access: ConnectionOptions, name: str) -> Json:
    """One service; exit code 1 when there is none of this name."""
    path = WATCHED[PLURAL].resource.path(access.own_namespace, name)
    try:
        return client(access).call(ApiRequest("GET", path))
    except NotFound:
        typer.echo(f"no InferenceService {access.own_namespace}/{name}", err=True)
        raise typer.Exit(NO) from None
    except AdapterError as error:
        refuse(str(error))


def set_paused(access: ConnectionOptions, name: str, *, paused: bool) -> None:
    """Write or remove the annotation; nothing else of the object is touched."""
    path = WATCHED[PLURAL].resource.path(access.own_namespace, name)
    body: dict[str, Any] = {"metadata": {"annotations": {PAUSED_ANNOTATION: "true" if paused else None}}}
    query = {"fieldManager": "pertoken-cli"}
    try:
        client(access).call(ApiRequest("PATCH", path, query=query, body=body, content_type=MERGE_PATCH))
    except NotFound:
        typer.echo(f"no InferenceService {access.own_namespace}/{name}", err=True)
        raise typer.Exit(NO) from None
    except AdapterError as error:
        refuse(str(error))
