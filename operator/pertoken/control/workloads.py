"""Scale targets: Deployments, StatefulSets, LeaderWorkerSets and their kin, to domain facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pertoken.api.launch import CAP_VARIABLE, CHUNK_VARIABLE, Launch, read_launch
from pertoken.api.naming import CAP_SUFFIX
from pertoken.api.ownership import SERVICE_LABEL
from pertoken.api.serving import NOT_READ, Serving, read_serving
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.releases import Release
from pertoken.control.claims import uses_of
from pertoken.control.creation import failure_of
from pertoken.control.facts import ReplicaSetFact, engine_container, pod_requests
from pertoken.control.placement import placement_rules
from pertoken.control.quantities import epoch
from pertoken.domain.cluster import BatchCap, ClaimUse, PodFact, WorkloadFact
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.ports import Json
from pertoken.raw.values import MOST_DIGITS, count, whole_number

KEDA_LABEL = "scaledobject.keda.sh/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
MOST_PODS = 4096  # of one replica; a larger number is taken for a mistake


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key of a ConfigMap in the workload's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class ScalableFact:
    """A scale target by itself, before pods, ReplicaSets and autoscalers are looked at.

    Attributes:
        replicas: spec.replicas (1 when unset, as the API server defaults it).
        pods: extended resources of every pod of one replica by its template (leader first); empty without a template.
        claims: of devices, of every pod of one replica, in the same order.
        observed: the controller has seen the newest generation.
        rolled: by its own status, all existing pods are of the newest template.
        cap_key: ConfigMap key from which the engine reads its batch cap; None if it does not.
        chunk_key: the same of its prefill chunk.
        launch: how the engine is started.
        replicas_manager: field manager that last set spec.replicas.
        placement: on which nodes its pods may run, by its template.
        failure: the controller's words for pods that it could not create, empty if it could.
        failed_at: when that was, where an event tells it; a pod that was made later shows that it is over.
        waits: fewer of its replicas are ready than it is asked for, by its own status.
        serving: what its engine's arguments say of model, parallelism and formats.
        made_for: name of the InferenceService for which pertoken made it, empty for others.
        maker: uid of the InferenceService that controls it; empty for others, and for those that outlive theirs.
        deleting: deletion was asked for.
    """

    ref: WorkloadRef
    uid: str
    replicas: int
    pods: tuple[Mapping[str, int], ...]
    observed: bool
    rolled: bool
    cap_key: ConfigKey | None
    launch: Launch
    replicas_manager: str
    resource_version: str
    placement: PlacementRules = ANYWHERE
    failure: str = ""
    made_for: str = ""
    failed_at: float | None = None
    waits: bool = False
    claims: tuple[tuple[ClaimUse, ...], ...] = ()
    chunk_key: ConfigKey | None = None
    serving: Serving = NOT_READ
    maker: str = ""
    deleting: bool = False

    @property
    def requests(self) -> Mapping[str, int]:
        """Extended resources of one replica by its template, all its pods together."""
        total: Counter[str] = Counter()
        for pod in self.pods:
            total.update(pod)
        return dict(total)


@dataclass(frozen=True, slots=True)
class AutoscalerFact:
    """An HPA with its target. `name` is how to call it: ``HorizontalPodAutoscaler ns/x`` or ``ScaledObject ns/x``."""

    name: str
    namespace: str
    target_group: str
    target_kind: str
    target_name: str

    def targets(self, ref: WorkloadRef) -> bool:
        """Whether it scales this workload; an HPA without apiVersion matches by kind and name."""
        same = (self.namespace, self.target_kind, self.target_name) == (ref.namespace, ref.kind, ref.name)
        return same and self.target_group in {"", group_of(ref.api_version)}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a scale target.

    Attributes:
        pods: with resolved owners (others than the target's are ignored).
        replicasets: all known; only Deployments have some.
        autoscalers: all known HPAs.
        cap: the batch cap read from pertoken's ConfigMap, None if the template reads none.
        resource: extended resource that `gpus_per_replica` counts.
        gpu: on which the pods run, if they have whole ones; None if that is not known.
        release: of the engine, as the user states it; None where the image is to tell.
        claimed: units of `resource` that every pod of a replica claims; empty where none claims any.
    """

    pods: Iterable[PodFact] = ()
    replicasets: Iterable[ReplicaSetFact] = ()
    autoscalers: Iterable[AutoscalerFact] = ()
    cap: BatchCap | None = None
    resource: str = "nvidia.com/gpu"
    gpu: Gpu | None = None
    release: Release | None = None
    claimed: tuple[int, ...] = ()


def group_of(api_version: str) -> str:
    """API group of an apiVersion, empty for the core group."""
    group, slash, _ = api_version.partition("/")
    return group if slash else ""


def scalable_fact(obj: Json) -> ScalableFact:
    """Parse any kind with spec.replicas and a pod template (or a LeaderWorkerSet's two)."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    pods = _pods_of_a_replica(spec)
    container = _engine_container(_engine_pod_spec(spec))
    launch = read_launch(container)
    return ScalableFact(
        ref=WorkloadRef(obj["apiVersion"], obj["kind"], meta["namespace"], meta["name"]),
        uid=meta["uid"],
        replicas=count(spec.get("replicas"), "spec.replicas", default=1),
        pods=tuple(pod_requests(pod) for pod in pods),
        observed=_observed(obj),
        rolled=_rolled(obj),
        cap_key=_key_of(CAP_VARIABLE, container) if launch.reads_cap else None,
        chunk_key=_key_of(CHUNK_VARIABLE, container) if launch.reads_chunk else None,
        launch=launch,
        replicas_manager=replicas_manager(meta.get("managedFields") or ()),
        resource_version=meta.get("resourceVersion", ""),
        placement=placement_rules(_engine_pod_spec(spec), claims=bool(spec.get("volumeClaimTemplates"))),
        failure=failure_of((obj.get("status") or {}).get("conditions") or ()),
        made_for=_made_for(meta.get("labels") or {}),
        waits=_waits(obj),
        claims=tuple(uses_of(pod) for pod in pods) if any("resourceClaims" in pod for pod in pods) else (),
        serving=read_serving(container),
        maker=_maker(meta),
        deleting="deletionTimestamp" in meta,
    )


def autoscaler_fact(obj: Json) -> AutoscalerFact:
    """Parse a HorizontalPodAutoscaler; one that KEDA made is called by its ScaledObject."""
    meta, target = obj["metadata"], obj["spec"]["scaleTargetRef"]
    scaled_object = (meta.get("labels") or {}).get(KEDA_LABEL)
    kind, name = ("ScaledObject", scaled_object) if scaled_object else ("HorizontalPodAutoscaler", meta["name"])
    return AutoscalerFact(
        name=f"{kind} {meta['namespace']}/{name}",
        namespace=meta["namespace"],
        target_group=group_of(target.get("apiVersion", "")),
        target_kind=target["kind"],
        target_name=target["name"],
    )


def workload_fact(target: ScalableFact, around: Surroundings) -> WorkloadFact:
    """A scale target with everything that decides whether it may be scaled, and by how many GPUs."""
    rivals = sorted(autoscaler.name for autoscaler in around.autoscalers if autoscaler.targets(target.ref))
    pod_gpus = _pod_gpus(target, around)
    return WorkloadFact(
        ref=target.ref,
        uid=target.uid,
        replicas=target.replicas,
        gpus_per_replica=sum(pod_gpus),
        settled=target.observed and target.rolled and not _old_replicasets_hold_pods(target.ref, around.replicasets),
        cap=around.cap,
        replicas_manager=target.replicas_manager,
        foreign_autoscaler=rivals[0] if rivals else "",
        resource_version=target.resource_version,
        engine=target.launch.settings(around.gpu, around.cap, around.release),
        placement=target.placement,
        failure=_failure(target, around.pods),
        pod_gpus=pod_gpus if target.pods or len(pod_gpus) > 1 else (),
        cap_certain=target.launch.certain,
        deleting=target.deleting,
    )


def replicas_manager(managed_fields: Iterable[Mapping[str, Any]]) -> str:
    """Field manager that last wrote spec.replicas (also through the scale subresource), empty if unknown.

    A write that changes the value takes the field from its other owners, so several owners agree on the value. Entries
    of the scale subresource carry no time.
    """
    newest, manager = float("-inf"), ""
    for entry in managed_fields:
        owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        at = epoch(entry.get("time")) or 0.0
        if "f:replicas" in owned and at >= newest:
            newest, manager = at, entry.get("manager", "")
    return manager


def _pod_gpus(target: ScalableFact, around: Surroundings) -> tuple[int, ...]:
    """GPUs of every pod of a replica, by the template: that is what the next replica asks for.

    Injected requests show only in living pods: then the largest replica among those tells.
    """
    claimed = around.claimed or (0,) * len(target.pods)
    planned = tuple(pod.get(around.resource, 0) + more for pod, more in zip(target.pods, claimed, strict=True))
    if any(planned):
        return planned
    living = [pod for pod in around.pods if pod.workload == target.ref and not pod.ended]
    replicas: dict[str, list[int]] = {}
    for pod in living:
        replicas.setdefault(pod.group or pod.uid, []).append(pod.requests.get(around.resource, 0))
    largest = sorted(max(replicas.values(), key=sum, default=[]), reverse=True)
    return tuple(largest) + (0,) * (len(target.pods) - len(largest))


def _pods_of_a_replica(spec: Json) -> tuple[Json, ...]:
    """Pod specs of one replica, the leader's first; none where the template does not tell them."""
    group = spec.get("leaderWorkerTemplate")
    if group is None and spec.get("worker"):
        return ()  # an LLMInferenceService over several nodes: its controller works out how many pods that are
    if group is None:
        return (_pod_spec(spec["template"]),) if spec.get("template") else ()
    worker = _pod_spec(group.get("workerTemplate"))
    leader = _pod_spec(group.get("leaderTemplate")) if group.get("leaderTemplate") else worker
    size = count(group.get("size"), "spec.leaderWorkerTemplate.size", default=1, most=MOST_PODS)
    return (leader, *[worker] * (max(1, size) - 1))


def _engine_pod_spec(spec: Json) -> Json:
    """Pod spec of the pods that answer requests: the leaders of a LeaderWorkerSet, else the template's."""
    group = spec.get("leaderWorkerTemplate")
    if group is None:
        return _pod_spec(spec.get("template"))
    return _pod_spec(group.get("leaderTemplate") or group.get("workerTemplate"))


def _pod_spec(template: Json | None) -> Json:
    """Of a template with a `spec`, or of one that is a pod spec itself (LLMInferenceService)."""
    template = template or {}
    return dict((template if "containers" in template else template.get("spec")) or {})


def _engine_container(pod_spec: Json) -> Json:
    name = engine_container(pod_spec)
    return next((dict(each) for each in pod_spec.get("containers") or () if each["name"] == name), {})


def _key_of(variable: str, container: Json) -> ConfigKey | None:
    """Of two entries of one name the kubelet takes the last, and any entry before whole ConfigMaps (envFrom)."""
    entries = [entry for entry in container.get("env") or () if entry["name"] == variable]
    if not entries:
        return _key_of_whole_maps(variable, container)
    source = (entries[-1].get("valueFrom") or {}).get("configMapKeyRef")
    return ConfigKey(source["name"], source["key"]) if source else None


def _key_of_whole_maps(variable: str, container: Json) -> ConfigKey | None:
    """The key under which whole ConfigMaps (envFrom) give the variable; None where it is not known which one does.

    The kubelet takes the last ConfigMap that holds the key. That is known of those named as pertoken names its own, and
    of an only one.
    """
    keys = [
        ConfigKey(reference["name"], variable.removeprefix(prefix))
        for source in container.get("envFrom") or ()
        if (reference := source.get("configMapRef")) and reference.get("name")
        if variable.startswith(prefix := source.get("prefix") or "")
    ]
    ours = [key for key in keys if key.name.endswith(CAP_SUFFIX)]
    if ours:
        return ours[-1]
    return keys[0] if len(keys) == 1 else None


def _made_for(labels: Json) -> str:
    return str(labels.get(SERVICE_LABEL, "")) if labels.get(MANAGED_BY) == "pertoken" else ""


def _maker(meta: Json) -> str:
    owners = meta.get("ownerReferences") or ()
    return next((str(o["uid"]) for o in owners if o.get("controller") and o.get("kind") == "InferenceService"), "")


def _waits(obj: Json) -> bool:
    ready = whole_number((obj.get("status") or {}).get("readyReplicas") or 0)
    return ready is None or ready < count((obj.get("spec") or {}).get("replicas"), "spec.replicas", default=1)


def _failure(target: ScalableFact, pods: Iterable[PodFact]) -> str:
    """The controller's words for pods that it cannot make; empty once a later pod was made."""
    since = target.failed_at
    over = since is not None and any(pod.workload == target.ref and pod.created_at > since for pod in pods)
    return "" if over else target.failure


def _observed(obj: Json) -> bool:
    seen = (obj.get("status") or {}).get("observedGeneration")
    generation = obj["metadata"].get("generation")
    if generation is None:
        return True
    if seen is None:
        # Built-in controllers always report it; other kinds need not.
        return obj["kind"] not in {"Deployment", "StatefulSet", "ReplicaSet"}
    most = 10**MOST_DIGITS
    return count(seen, "status.observedGeneration", most=most) >= count(generation, "metadata.generation", most=most)


def _rolled(obj: Json) -> bool:
    """No rollout by the object's own status. Pods that cannot be created or started yet are no rollout."""
    status = obj.get("status") or {}
    match obj["kind"]:
        case "Deployment":
            return bool(status.get("updatedReplicas", 0) == status.get("replicas", 0))
        case "StatefulSet":
            return _statefulset_rolled(obj.get("spec") or {}, status)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "UpdateInProgress" and condition.get("status") == "True":
            return False
    return bool(status.get("updatedReplicas", status.get("replicas", 0)) == status.get("replicas", 0))


def _statefulset_rolled(spec: Json, status: Json) -> bool:
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete" or status.get("currentRevision") == status.get("updateRevision"):
        return True
    # Pods below the partition stay on the old revision for as long as the user wants.
    partition = count(
        (strategy.get("rollingUpdate") or {}).get("partition"), "spec.updateStrategy.rollingUpdate.partition"
    )
    return bool(status.get("updatedReplicas", 0) >= max(status.get("replicas", 0) - partition, 0))


def _old_replicasets_hold_pods(ref: WorkloadRef, replicasets: Iterable[ReplicaSetFact]) -> bool:
    own = [fact for fact in replicasets if fact.owner == ref]
    newest = max((fact.revision for fact in own), default=0)
    return any(fact.revision < newest and fact.replicas > 0 for fact in own)
