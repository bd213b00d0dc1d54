"""The API server's audit log: every request of the operator's service accounts; of writes, what was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertoken_sandbox.controlplane_commands import ControlPlaneSettings

OPERATOR_NAMESPACE = "pertoken-system"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})

POLICY = f"""\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Request
    userGroups: ["system:serviceaccounts:{OPERATOR_NAMESPACE}"]
    verbs: [create, update, patch, delete, deletecollection]
  - level: Metadata
    userGroups: ["system:serviceaccounts:{OPERATOR_NAMESPACE}"]
  - level: None
"""


def audited(folder: Path) -> ControlPlaneSettings:
    """Settings of a control plane that keeps an audit log of the operator's writes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audit-policy.yaml").write_text(POLICY)
    return ControlPlaneSettings(
        extra_apiserver_args=(
            f"--audit-policy-file={folder / 'audit-policy.yaml'}",
            f"--audit-log-path={log_of(folder)}",
            "--audit-log-maxsize=500",
        )
    )


def log_of(folder: Path) -> Path:
    """Where the log of `audited` lies."""
    return folder / "audit.log"


@dataclass(frozen=True)
class Write:
    """One write as the API server took it.

    Attributes:
        at: time of the answer (RFC 3339).
        user: service account.
        verb: create, update, patch, delete, deletecollection.
        resource: plural, with its subresource: ``deployments/scale``.
        body: what was sent.
        code: HTTP status of the answer.
        dry_run: nothing was to be changed.
    """

    at: str
    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    body: Any
    code: int
    dry_run: bool

    @property
    def fenced(self) -> bool:
        """It names the version or the identity of the object that it changes."""
        body = self.body if isinstance(self.body, dict) else {}
        meta = body.get("metadata") or {}
        held = body.get("preconditions") or (body.get("deleteOptions") or {}).get("preconditions") or {}
        return any(part.get(key) for part in (meta, held) for key in ("resourceVersion", "uid"))


@dataclass(frozen=True)
class Used:
    """A request as RBAC sees it, and whether it was allowed; paths of no resource have an empty one."""

    user: str
    group: str
    resource: str
    verb: str
    namespace: str
    allowed: bool


class AuditLog:
    """Reads a log while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._writes: list[Write] = []
        self._used: set[Used] = set()

    def writes(self) -> list[Write]:
        """All writes so far, oldest first."""
        self._read()
        return list(self._writes)

    def used(self) -> set[Used]:
        """Every kind of request so far, reads included."""
        self._read()
        return set(self._used)

    def _read(self) -> None:
        if self._path.is_file():
            with self._path.open("rb") as log:
                log.seek(self._offset)
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    entry = json.loads(line)
                    self._used.add(_used(entry))
                    if entry["verb"] in WRITES:
                        self._writes.append(_write(entry))


def _used(entry: dict[str, Any]) -> Used:
    ref = entry.get("objectRef") or {}
    resource = "/".join(part for part in (ref.get("resource", ""), ref.get("subresource", "")) if part)
    allowed = (entry.get("annotations") or {}).get("authorization.k8s.io/decision") == "allow"
    name = entry["user"]["username"].rpartition(":")[2]
    return Used(name, ref.get("apiGroup", ""), resource, entry["verb"], ref.get("namespace", ""), allowed)


def _write(entry: dict[str, Any]) -> Write:
    ref = entry.get("objectRef") or {}
    resource = "/".join(part for part in (ref.get("resource", ""), ref.get("subresource", "")) if part)
    return Write(
        at=entry["stageTimestamp"],
        user=entry["user"]["username"],
        verb=entry["verb"],
        resource=resource,
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        body=entry.get("requestObject"),
        code=int((entry.get("responseStatus") or {}).get("code", 0)),
        dry_run="dryRun=All" in entry["requestURI"],
    )
