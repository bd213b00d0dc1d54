"""`pertoken adopt --apply`: server-side apply of the proposals, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pertoken.adapters.kube.client import APPLY_PATCH, ApiRequest, KubeClient
from pertoken.adapters.kube.resources import WATCHED
from pertoken.api.kinds import ACCELERATOR_POOL, INFERENCE_SERVICE
from pertoken.ports import AdapterError, Json, NotFound

MANAGER: Final = "pertoken-adopt"
_PLURALS: Final = {INFERENCE_SERVICE.kind: "inferenceservices", ACCELERATOR_POOL.kind: "acceleratorpools"}


@dataclass(frozen=True, slots=True)
class Applied:
    """One object that was applied.

    Attributes:
        outcome: `created`, `configured`, `unchanged`, or `failed`.
        why: of a failure.
    """

    title: str
    outcome: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.title}: {self.outcome}{f': {self.why}' if self.why else ''}"


def apply(client: KubeClient, manifest: Json) -> Applied:
    """Apply one proposal under the field manager `pertoken-adopt`; fields of others are never taken over."""
    meta: dict[str, Any] = manifest["metadata"]
    path = WATCHED[_PLURALS[manifest["kind"]]].resource.path(meta.get("namespace", ""), meta["name"])
    place = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])
    title = f"{manifest['kind']} {place}"
    try:
        before = _version(client, path)
        query: dict[str, str | int | bool] = {"fieldManager": MANAGER, "force": False}
        after = client.call(ApiRequest("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH))
    except NotFound:
        return Applied(title, "failed", "the cluster does not serve this kind: install the chart, or apply crds/")
    except AdapterError as error:
        return Applied(title, "failed", str(error))
    if before is None:
        return Applied(title, "created")
    return Applied(title, "unchanged" if before == after["metadata"].get("resourceVersion") else "configured")


def _version(client: KubeClient, path: str) -> str | None:
    try:
        return str(client.call(ApiRequest("GET", path))["metadata"].get("resourceVersion"))
    except NotFound:
        return None
