"""The simulated cluster as an API server: objects with versions, lists, and a watch that tells at once what changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import Json, Listing, NotFound
from pertoken_bench.cluster import documents
from pertoken_bench.cluster.clock import SimulatedClock
from pertoken_bench.cluster.objects import SimulatedPod, SimulatedWorkload
from pertoken_bench.cluster.simulated import SimulatedCluster

# In the order in which they are told: a pod's owners before the pod.
WATCHED: Final = (
    "namespaces", "nodes", "configmaps", "horizontalpodautoscalers", "deployments", "replicasets", "pods",
)  # fmt: skip


class ChangeListener(Protocol):
    """Receives changes as a watch does: the operator's inventory."""

    def put(self, plural: str, obj: Json) -> None:
        """A new or changed object."""

    def drop(self, plural: str, obj: Json) -> None:
        """An object that is gone."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """One object: `face` tells one of its states from another, `document` renders it."""

    uid: str
    face: Hashable
    document: Callable[[], Json]


@dataclass(slots=True)
class ApiServer:
    """Implements `pertoken.ports.ClusterReader`; `pertoken_bench.cluster.writer` writes to it.

    Attributes:
        reads_cap, reads_chunk: the engines of all workloads take batch cap and prefill chunk from pertoken's ConfigMap.
        config_maps: by namespace and name, as stored.
        autoscalers: HorizontalPodAutoscalers.
    """

    cluster: SimulatedCluster
    clock: SimulatedClock
    reads_cap: bool = True
    reads_chunk: bool = True
    config_maps: dict[tuple[str, str], Json] = field(default_factory=dict)
    autoscalers: list[Json] = field(default_factory=list)
    _statuses: dict[str, documents.DeploymentStatus] = field(default_factory=dict)
    _versions: dict[str, tuple[Hashable, str]] = field(default_factory=dict)
    _told: dict[tuple[str, str], Hashable] = field(default_factory=dict)
    _counter: int = 0

    # -- reading ---------------------------------------------------------------------------------------------------

    def list(self, plural: str) -> Listing:
        """All objects of one kind; none of a kind that the simulation does not have."""
        return Listing([shown.document() for shown in self._shown(plural)], str(self._counter))

    def scale(self, target: WorkloadRef) -> Json:
        """The scale subresource."""
        workload = self.workload(target)
        return documents.scale_document(workload, self.version_of(workload))

    def get(self, target: WorkloadRef) -> Json:
        """A Deployment or a ConfigMap."""
        if target.kind != "ConfigMap":
            return self._deployment(self.workload(target))
        stored = self.config_maps.get((target.namespace, target.name))
        if stored is None:
            raise NotFound(f"{target} does not exist")
        return stored

    def workload(self, target: WorkloadRef) -> SimulatedWorkload:
        """The workload behind a reference.

        Raises:
            NotFound: there is none.
        """
        for workload in self.cluster.workloads:
            if workload.spec.workload == target:
                return workload
        raise NotFound(f"{target} does not exist")

    def pod(self, key: PodKey) -> SimulatedPod:
        """A living pod.

        Raises:
            NotFound: there is none.
        """
        for workload in self.cluster.workloads:
            for pod in workload.pods:
                if (workload.service.key.namespace, pod.name) == (key.namespace, key.name):
                    return pod
        raise NotFound(f"pod {key} does not exist")

    def version_of(self, workload: SimulatedWorkload) -> str:
        """Resource version of a Deployment: another one after every change of its spec or status."""
        uid = documents.uid_of(workload)
        face = (workload.version, self._statuses.get(uid))
        known, version = self._versions.get(uid, (None, ""))
        if known != face:
            version = self.next_version()
            self._versions[uid] = (face, version)
        return version

    def next_version(self) -> str:
        """A version that no object had before."""
        self._counter += 1
        return str(self._counter)

    # -- watching --------------------------------------------------------------------------------------------------

    def tell(self, watcher: ChangeListener) -> None:
        """Controllers write their statuses; then it is told what was made, changed or deleted since the last call.

        Between two calls no status changes: a real controller takes longer than the operator from write to write.
        """
        for workload in self.cluster.workloads:
            self._statuses[documents.uid_of(workload)] = documents.status_of(workload)
        gone = dict(self._told)
        for plural in WATCHED:
            for shown in self._shown(plural):
                key = (plural, shown.uid)
                if gone.pop(key, None) != shown.face:
                    self._told[key] = shown.face
                    watcher.put(plural, shown.document())
        for plural, uid in gone:
            del self._told[plural, uid]
            watcher.drop(plural, {"metadata": {"uid": uid}})

    # -- the objects -----------------------------------------------------------------------------------------------

    def _shown(self, plural: str) -> Iterable[_Shown]:
        kinds = {
            "namespaces": self._namespaces,
            "nodes": self._nodes,
            "configmaps": lambda: _stored(self.config_maps.values()),
            "horizontalpodautoscalers": lambda: _stored(self.autoscalers),
            "deployments": self._deployments,
            "replicasets": self._replicasets,
            "pods": self._pods,
        }
        return kinds[plural]() if plural in kinds else ()

    def _namespaces(self) -> Iterator[_Shown]:
        names = dict.fromkeys(workload.service.key.namespace for workload in self.cluster.workloads)
        return _stored(documents.namespace_document(name) for name in names)

    def _pods(self) -> Iterator[_Shown]:
        for workload in self.cluster.workloads:
            for pod in workload.pods:
                face = (pod.bound_at, pod.ready_at, pod.unschedulable_since, pod.terminating_since)
                yield _Shown(str(pod.uid), face, partial(documents.pod_document, pod))

    def _deployments(self) -> Iterator[_Shown]:
        for workload in self.cluster.workloads:
            version = self.version_of(workload)
            yield _Shown(documents.uid_of(workload), version, partial(self._deployment, workload))

    def _replicasets(self) -> Iterator[_Shown]:
        for workload in self.cluster.workloads:
            for replicaset in documents.replicasets(workload):
                yield _Shown(replicaset.uid, replicaset, partial(documents.replicaset_document, replicaset))

    def _nodes(self) -> Iterator[_Shown]:
        resources = {workload.pool.name: workload.pool.resource_name for workload in self.cluster.workloads}
        for node in self.cluster.nodes:
            if node.gone_at is None and node.ready_at <= self.clock.seconds and node.pool in resources:
                document = partial(documents.node_document, node, resources[node.pool])
                yield _Shown(documents.node_uid(node), "", document)

    def _deployment(self, workload: SimulatedWorkload) -> Json:
        launch = documents.EngineLaunch(
            self.cluster.fleet.config.kinds[workload.kind].budget, self.reads_cap, self.reads_cap and self.reads_chunk
        )
        status = self._statuses.get(documents.uid_of(workload), documents.DeploymentStatus())
        return documents.deployment_document(workload, self.version_of(workload), status, launch)


def _stored(objects: Iterable[Json]) -> Iterator[_Shown]:
    for stored in objects:
        meta = stored["metadata"]
        yield _Shown(meta["uid"], meta.get("resourceVersion", ""), partial(dict, stored))
