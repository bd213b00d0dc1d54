"""Pods and nodes: Kubernetes objects to domain facts, each object parsed once per event and then dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pertoken.control.claims import uses_of
from pertoken.control.placement import node_taints, placement_rules
from pertoken.control.pod_end import finished, finished_at
from pertoken.control.quantities import epoch, whole_units
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import Json
from pertoken.raw.values import MOST_DIGITS, count

ENGINE_CONTAINER = "engine"
REVISION = "deployment.kubernetes.io/revision"
LWS_NAME_LABEL = "leaderworkerset.sigs.k8s.io/name"
LWS_GROUP_LABEL = "leaderworkerset.sigs.k8s.io/group-index"
LWS_API_VERSION = "leaderworkerset.x-k8s.io/v1"

# Reasons of a waiting container that do not pass by themselves; PodInitializing and ContainerCreating do.
BROKEN = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "PostStartHookError",
        "PreCreateHookError",
        "PreStartHookError",
        "RunContainerError",
        "StartError",
    }
)


@dataclass(frozen=True, slots=True)
class ReplicaSetFact:
    """The link between pods and the Deployment (or Rollout) above them.

    Attributes:
        owner: what controls it, None for a bare ReplicaSet.
        replicas: pods that it has or is asked to have, whichever is more.
        revision: rollout number; the highest one of a Deployment is its current template.
    """

    namespace: str
    name: str
    uid: str
    owner: WorkloadRef | None
    replicas: int
    revision: int


@dataclass(frozen=True, slots=True)
class NamespaceFact:
    """A namespace with its labels, for access rules and opt-ins."""

    name: str
    labels: Mapping[str, str]


ReplicaSets = Mapping[tuple[str, str], ReplicaSetFact]


def namespace_fact(obj: Json) -> NamespaceFact:
    """Name and labels of a Namespace."""
    meta = obj["metadata"]
    return NamespaceFact(meta["name"], dict(meta.get("labels") or {}))


def replicaset_fact(obj: Json) -> ReplicaSetFact:
    """What of a ReplicaSet is needed to resolve owners and to see rollouts."""
    meta = obj["metadata"]
    asked = count((obj.get("spec") or {}).get("replicas"), "spec.replicas", default=1)
    running = count((obj.get("status") or {}).get("replicas"), "status.replicas")
    return ReplicaSetFact(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        owner=controller_of(obj),
        replicas=max(asked, running),
        revision=count(
            (meta.get("annotations") or {}).get(REVISION), f"metadata.annotations[{REVISION}]", most=10**MOST_DIGITS
        ),
    )


def by_name(facts: Iterable[ReplicaSetFact]) -> dict[tuple[str, str], ReplicaSetFact]:
    """ReplicaSets by (namespace, name), as owner references name them."""
    return {(fact.namespace, fact.name): fact for fact in facts}


def controller_of(obj: Json) -> WorkloadRef | None:
    """The one owner that controls an object, None without one."""
    meta = obj["metadata"]
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return WorkloadRef(owner["apiVersion"], owner["kind"], meta.get("namespace", ""), owner["name"])
    return None


def resolve(workload: WorkloadRef | None, replicasets: ReplicaSets) -> WorkloadRef | None:
    """The scalable workload above a direct owner: a ReplicaSet is replaced by what controls it, if anything does."""
    if workload is None or workload.kind != "ReplicaSet":
        return workload
    link = replicasets.get((workload.namespace, workload.name))
    return link.owner if link is not None and link.owner is not None else workload


def resolve_pods(pods: Iterable[PodFact], replicasets: ReplicaSets) -> tuple[PodFact, ...]:
    """Pods with `workload` resolved; done per snapshot because events of pods and ReplicaSets come in any order."""
    return tuple(_resolved(pod, resolve(pod.workload, replicasets)) for pod in pods)


def _resolved(pod: PodFact, workload: WorkloadRef | None) -> PodFact:
    return pod if workload == pod.workload else replace(pod, workload=workload)


def pod_fact(obj: Json, replicasets: ReplicaSets | None = None) -> PodFact | None:
    """One pod, or None for a pod without extended resources or claims whose owner nobody scales (DaemonSet, Job, none).

    Args:
        obj: the Pod.
        replicasets: to resolve owners at once; without it `workload` may name a ReplicaSet (see `resolve_pods`).
    """
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    requests = pod_requests(spec)
    direct, claims = _workload_of(obj), uses_of(spec, status)
    if not requests and not claims and (direct is None or direct.kind in {"DaemonSet", "Job", "Node"}):
        return None
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    engine = _status_of(status, engine_container(spec))
    broken = _broken_words(engine, status.get("initContainerStatuses") or ())
    restarts = count(engine.get("restartCount"), "status.containerStatuses[].restartCount")
    created = epoch(meta.get("creationTimestamp")) or 0.0
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    node = spec.get("nodeName") or None
    return PodFact(
        key=PodKey(meta["namespace"], meta["name"]),
        uid=meta["uid"],
        requests=requests,
        labels=dict(meta.get("labels") or {}),
        workload=resolve(direct, replicasets or {}),
        node=node,
        created_at=created,
        bound_at=_bound_at(scheduled, status, created) if node else None,
        engine_started_at=epoch(((engine.get("state") or {}).get("running") or {}).get("startedAt")),
        ready_at=_true_since(conditions.get("Ready")),
        terminating="deletionTimestamp" in meta,
        finished=finished(obj),
        finished_at=finished_at(obj) if finished(obj) else None,
        unschedulable_since=epoch(scheduled.get("lastTransitionTime")) or created if unschedulable else None,
        crashed=bool(broken) or restarts > 0,
        restarts=restarts,
        message=broken or _words_of_last_end(engine) or _words_of_scheduler(scheduled, spec),
        placement=placement_rules(spec),
        claims=claims,
        group=str((meta.get("labels") or {}).get(LWS_GROUP_LABEL) or ""),
    )


def _workload_of(obj: Json) -> WorkloadRef | None:
    """The direct controller; pods of a LeaderWorkerSet hang under StatefulSets and pods, their label names the set."""
    group = (obj["metadata"].get("labels") or {}).get(LWS_NAME_LABEL)
    controller = controller_of(obj)
    if group and controller is not None and controller.kind == "StatefulSet":
        return WorkloadRef(LWS_API_VERSION, "LeaderWorkerSet", obj["metadata"]["namespace"], group)
    return controller


def _bound_at(scheduled: Mapping[str, Any], status: Json, created: float) -> float:
    # A pod created with a node name may lack the condition: the kubelet's start time is the next best.
    return _true_since(scheduled) or epoch(status.get("startTime")) or created


def _true_since(condition: Mapping[str, Any] | None) -> float | None:
    if not condition or condition.get("status") != "True":
        return None
    return epoch(condition.get("lastTransitionTime"))


def pod_requests(spec: Json) -> dict[str, int]:
    """Extended resources that a pod (or a template's pod spec) holds, whole units.

    As the scheduler counts: the larger of all containers plus sidecars together, and each init container together
    with the sidecars started before it (KEP-753). A limit without request is a request.
    """
    running: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        running.update(_container_requests(container))
    sidecars: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        wanted = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars.update(wanted)
            peak |= sidecars
        else:
            peak |= sidecars + Counter(wanted)
    return {name: units for name, units in ((running + sidecars) | peak).items() if units > 0}


def _container_requests(container: Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    return whole_units((resources.get("limits") or {}) | (resources.get("requests") or {}), up=True)


def engine_container(spec: Json) -> str:
    """Name of the serving container: ``engine``, else the first that requests extended resources, else the first."""
    containers = spec.get("containers") or []
    names = [container["name"] for container in containers]
    if ENGINE_CONTAINER in names:
        return ENGINE_CONTAINER
    holders = [container["name"] for container in containers if _container_requests(container)]
    return str((holders or names or [""])[0])


def _status_of(status: Json, container: str) -> Json:
    for entry in status.get("containerStatuses") or ():
        if entry["name"] == container:
            return dict(entry)
    return {}


def _broken_words(engine: Json, init_statuses: Iterable[Json]) -> str:
    """Words of the kubelet for what keeps the engine from running; empty when nothing does."""
    for entry in (engine, *init_statuses):
        state = entry.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in BROKEN:
            last = _words_of_last_end(entry)
            words = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
            return f"{words} (last end: {last})" if last else words
        ended = state.get("terminated") or {}
        if ended.get("exitCode", 0) != 0:
            return _words_of_end(ended)
    return ""


def _words_of_scheduler(scheduled: Json, spec: Json) -> str:
    """Why it places a pod on no node: none takes it, or a gate (of a queue with quotas, say) holds it back."""
    if scheduled.get("status") != "False" or scheduled.get("reason") not in {"Unschedulable", "SchedulingGated"}:
        return ""
    gates = ", ".join(str(gate.get("name", "")) for gate in spec.get("schedulingGates") or ())
    words = str(scheduled.get("message") or "")
    return f"{words} ({gates})".strip() if gates else words


def _words_of_last_end(entry: Json) -> str:
    ended = (entry.get("lastState") or {}).get("terminated")
    return _words_of_end(ended) if ended else ""


def _words_of_end(ended: Json) -> str:
    words = f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', 0)}"
    said = (ended.get("message") or "").strip()
    return f"{words}: {said}" if said else words


def node_fact(obj: Json) -> NodeFact:
    """One node. It is schedulable when it is Ready and not being deleted; the rest is for its taints to say."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions") or ()
    )
    return NodeFact(
        meta["name"],
        dict(meta.get("labels") or {}),
        whole_units(status.get("allocatable") or {}, up=False),
        schedulable=ready and "deletionTimestamp" not in meta,
        taints=node_taints(spec),
    )
