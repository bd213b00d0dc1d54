"""Writes to the cluster: scale, eviction, new objects, server-side apply, delete, events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pertoken.adapters.kube.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, ApiRequest, Caller
from pertoken.adapters.kube.events import EventRecorder
from pertoken.adapters.kube.resources import WATCHED, Discovery
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import Clock, Conflict, EventNote, Json, NotFound, Refused

SCALE_MANAGER = "pertoken-scaler"


class KubeWriter:
    """Implements `pertoken.ports.ClusterWriter` and `pertoken.ports.ObjectPatcher`."""

    def __init__(
        self, client: Caller, clock: Clock, *, instance: str = "pertoken", discovery: Discovery | None = None
    ) -> None:
        """Write in the name of `instance` (the pod's name), which Events show as their reporter."""
        self._client = client
        self._discovery = discovery or Discovery(client)
        self._events = EventRecorder(client, clock, instance)

    def set_replicas(self, target: WorkloadRef, replicas: int, resource_version: str) -> None:
        """Set the replicas through the scale subresource.

        Raises:
            Conflict: the object is no longer at `resource_version`; an empty one writes unconditionally.
            NotFound: the object is gone.
            Refused: its kind has no scale subresource.
        """
        path = self._discovery.resource(target.api_version, target.kind).path(target.namespace, target.name, "scale")
        body: Json = {"spec": {"replicas": replicas}}
        if resource_version:
            body["metadata"] = {"resourceVersion": resource_version}
        query = {"fieldManager": SCALE_MANAGER}
        try:
            self._client.call(ApiRequest("PATCH", path, query=query, body=body, content_type=MERGE_PATCH))
        except NotFound as error:
            if self._discovery.scales(target.api_version, target.kind):
                raise
            words = f"{target.kind} of {target.api_version} has no scale subresource in this cluster"
            raise Refused(f"{words}: name a workload that has one, or a version of the kind that does") from error

    def evict(self, pod: PodKey, uid: str) -> None:
        """Ask for the eviction of exactly this pod.

        Raises:
            Refused: a disruption budget forbids it now, or several budgets cover the pod.
            Conflict: a pod of the same name but another uid stands there.
            NotFound: the pod is gone.
        """
        pods = WATCHED["pods"].resource
        # A uid that does not match would be answered only after 10 s of the server's own retries, which is longer than
        # a write may take; pods of a StatefulSet keep their names, so this is no rare case.
        stands = self._client.call(ApiRequest("GET", pods.path(pod.namespace, pod.name)))["metadata"]["uid"]
        if stands != uid:
            raise Conflict(f"pod {pod} has been replaced: its uid is {stands}, not {uid}")
        body: Json = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": pod.namespace, "name": pod.name},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        path = pods.path(pod.namespace, pod.name, "eviction")
        self._client.call(ApiRequest("POST", path, body=body))

    def create(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Make a new object; returns it as the server stored (or would store) it.

        Raises:
            AlreadyExists: the name is taken.
            Refused: schema, admission or quota say no; the message says why.
        """
        meta = manifest["metadata"]
        path = self._discovery.resource(manifest["apiVersion"], manifest["kind"]).path(meta.get("namespace", ""))
        # A misspelt field of a pod template is to be refused here as it is by an apply.
        query: dict[str, Any] = {"fieldManager": field_manager, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._client.call(ApiRequest("POST", path, query=query, body=manifest))

    def apply(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Server-side apply over an object that is known to be ours; returns it as stored (or as it would be).

        Raises:
            Refused: schema, admission or quota say no; the message says why.
            Conflict: the object is not the one of this uid and resourceVersion any more.
        """
        missing = {"uid", "resourceVersion"} - manifest["metadata"].keys()
        if missing:
            raise ValueError(f"apply of {manifest['kind']} without {', '.join(sorted(missing))} could hit any object")
        return self._apply(manifest, field_manager, dry_run=dry_run)

    def own_fields(self, live: Json, managed_fields: Sequence[Json]) -> Json:
        """Replace an object's managedFields, as `kubectl` does when it moves a client-side applied object over.

        Raises:
            Conflict: the object changed since `live` was read.
        """
        identity = {key: live["metadata"][key] for key in ("uid", "resourceVersion")}
        body: Json = {"metadata": {**identity, "managedFields": list(managed_fields)}}
        return self._client.call(ApiRequest("PATCH", self._path(live), body=body, content_type=MERGE_PATCH))

    def apply_status(self, manifest: Json, field_manager: str) -> Json:
        """Server-side apply of the status; conditions of other managers stay.

        Raises:
            Conflict: another object of this name stands there (the manifest's uid does not match).
        """
        return self._apply(manifest, field_manager, subresource="status")

    def patch(self, target: WorkloadRef, operations: Sequence[Json], field_manager: str) -> None:
        """JSON patch of one object: all operations or none.

        Raises:
            Refused: a ``test`` among them does not hold any more, or the server does not take the result.
            NotFound: the object is gone.
        """
        path = self._discovery.resource(target.api_version, target.kind).path(target.namespace, target.name)
        query = {"fieldManager": field_manager}
        request = ApiRequest("PATCH", path, query=query, body=list(operations), content_type=JSON_PATCH)
        self._client.call(request)

    def delete(self, manifest: Json, *, foreground: bool = False) -> None:
        """Delete one object, its dependents after it or (`foreground`) before. A uid in the manifest is a precondition.

        Raises:
            Conflict: another object of this name stands there.
        """
        policy = "Foreground" if foreground else "Background"
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        uid = manifest["metadata"].get("uid")
        if uid:
            options["preconditions"] = {"uid": uid}
        with suppress(NotFound):
            self._client.call(ApiRequest("DELETE", self._path(manifest), body=options))

    def record(self, note: EventNote) -> None:
        """Post an Event, or count it where the same was posted within the last ten minutes."""
        self._events.record(note)

    def _apply(self, manifest: Json, field_manager: str, *, dry_run: bool = False, subresource: str = "") -> Json:
        query: dict[str, Any] = {"fieldManager": field_manager, "force": True}
        if dry_run:
            query["dryRun"] = "All"
        path = self._path(manifest, subresource)
        return self._client.call(ApiRequest("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH))

    def _path(self, manifest: Json, subresource: str = "") -> str:
        meta = manifest["metadata"]
        resource = self._discovery.resource(manifest["apiVersion"], manifest["kind"])
        return resource.path(meta.get("namespace", ""), meta["name"], subresource)
