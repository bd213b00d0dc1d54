"""Writes to the simulated API server, refused where a real one would refuse them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pertoken.api.batch_cap import parse_cap
from pertoken.api.naming import cap_name
from pertoken.api.ownership import SCALE_MANAGER, SERVICE_LABEL
from pertoken.control.fence import Fence
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import AlreadyExists, Conflict, EventNote, Json, NotFound, Refused
from pertoken_bench.cluster.api_server import ApiServer


@dataclass(slots=True)
class Writer:
    """Implements `pertoken.ports.ClusterWriter`.

    Of whole objects it writes ConfigMaps alone: every workload of a scenario is there already, and adopted.
    """

    server: ApiServer
    fence: Fence

    def set_replicas(self, target: WorkloadRef, replicas: int, resource_version: str) -> None:
        """Set spec.replicas, if the object is at this version."""
        self.fence.check()
        workload = self.server.workload(target)
        current = self.server.version_of(workload)
        if resource_version not in {"", current}:
            raise Conflict(f"{target} is at version {current}, not {resource_version}")
        self.server.cluster.scale(workload, replicas, self.server.clock.seconds, SCALE_MANAGER)

    def evict(self, pod: PodKey, uid: str) -> None:
        """Evict exactly this pod, if its workload's disruption budget allows it."""
        self.fence.check()
        running = self.server.pod(pod)
        if str(running.uid) != uid:
            raise Conflict(f"pod {pod} has been replaced: its uid is {running.uid}, not {uid}")
        workload = running.workload
        ready = sum(each.ready_at is not None for each in workload.staying())
        if running.ready_at is not None and ready <= workload.least_available:
            raise Refused(f"pod {pod}: its disruption budget keeps {workload.least_available} pods available")
        self.server.cluster.evict(workload, [pod.name], self.server.clock.seconds)

    def create(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Make a new ConfigMap."""
        self.fence.check()
        key = _address(manifest)
        if key in self.server.config_maps:
            raise AlreadyExists(f"ConfigMap {'/'.join(key)} exists")
        created = self._stored(manifest, f"configmap-{'-'.join(key)}", field_manager, "Update")
        return created if dry_run else self._keep(created)

    def apply(self, manifest: Json, field_manager: str, *, dry_run: bool = False) -> Json:
        """Apply over one ConfigMap of exactly this uid and version."""
        self.fence.check()
        stands = self._at(manifest)
        applied = self._stored(manifest, stands["metadata"]["uid"], field_manager, "Apply")
        return applied if dry_run else self._keep(applied)

    def own_fields(self, live: Json, managed_fields: Sequence[Json]) -> Json:
        """Replace the record of who owns which field."""
        self.fence.check()
        stands = self._at(live)
        meta = {**stands["metadata"], "managedFields": list(managed_fields)}
        return self._keep({**stands, "metadata": {**meta, "resourceVersion": self.server.next_version()}})

    def apply_status(self, manifest: Json, field_manager: str) -> Json:  # noqa: ARG002 - nobody reads it here
        """Statuses are not kept."""
        return manifest

    def delete(self, manifest: Json, *, foreground: bool = False) -> None:  # noqa: ARG002 - nothing depends on it
        """Delete one ConfigMap."""
        self.fence.check()
        self.server.config_maps.pop(_address(manifest), None)

    def record(self, note: EventNote) -> None:
        """Events are not kept."""

    def _at(self, manifest: Json) -> Json:
        """The ConfigMap that stands there.

        Raises:
            Conflict: it is not the one that the manifest names by uid and version.
        """
        key, meta = _address(manifest), manifest["metadata"]
        stands = self.server.config_maps.get(key)
        if stands is None:
            raise NotFound(f"ConfigMap {'/'.join(key)} does not exist")
        for name in ("uid", "resourceVersion"):
            if stands["metadata"][name] != meta[name]:
                raise Conflict(f"ConfigMap {'/'.join(key)}: {name} is {stands['metadata'][name]}, not {meta[name]}")
        return stands

    def _stored(self, manifest: Json, uid: str, field_manager: str, operation: str) -> Json:
        fields: dict[str, Any] = {"f:metadata": {"f:labels": {f"f:{SERVICE_LABEL}": {}}}, "f:data": {}}
        meta = {
            **manifest["metadata"],
            "uid": uid,
            "resourceVersion": self.server.next_version(),
            "managedFields": [{"manager": field_manager, "operation": operation, "fieldsV1": fields}],
        }
        return {**manifest, "metadata": meta}

    def _keep(self, config_map: Json) -> Json:
        """Store it; engines that start from now on read the cap that it holds."""
        namespace, name = key = _address(config_map)
        self.server.config_maps[key] = config_map
        cap = parse_cap(config_map)
        for workload in self.server.cluster.workloads:
            ref = workload.spec.workload
            if cap is not None and (ref.namespace, cap_name(ref.name)) == (namespace, name):
                self.server.cluster.set_cap(workload, cap, self.server.clock.seconds)
        return config_map


def _address(manifest: Json) -> tuple[str, str]:
    if manifest["kind"] != "ConfigMap":
        raise Refused(f"the simulation keeps no objects of kind {manifest['kind']}")
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]
