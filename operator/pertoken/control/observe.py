"""From the inventory's snapshot and the metrics to the world that the planner sees. Pure."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pertoken.api.launch import CAP_VARIABLE
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Unknown, find_gpu
from pertoken.control.facts import NamespaceFact, ReplicaSets, by_name, resolve_pods
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import CapObject, PoolObject, Refusal, ServiceObject
from pertoken.control.unreadable import in_doubt, without_room, words
from pertoken.control.workloads import (
    ScalableFact,
    Surroundings,
    group_of,
    workload_fact,
)
from pertoken.domain.cluster import BatchCap, NodeFact, PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, VariantView, World

LOGGER = logging.getLogger(__name__)

OWNED_LABEL = "pertoken.dev/owned-workloads"
OWNED_VALUE = "enabled"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the administrator allows.

    Attributes:
        target_kinds: kinds that scaleTargetRef may name, as ``Kind.group``.
        owned_everywhere: podTemplate needs no opt-in of the namespace.
    """

    target_kinds: frozenset[str]
    owned_everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A snapshot made sense of: who takes part, who is refused and why.

    Attributes:
        doubts: accepted services, by uid, of whose objects one cannot be read: they are planned, and nothing of them is
            changed.
    """

    services: tuple[ServiceObject, ...]
    pools: tuple[PoolObject, ...]
    refusals: Mapping[str, Refusal]
    namespaces: Mapping[str, Mapping[str, str]]
    scalables: Mapping[WorkloadRef, ScalableFact]
    caps: Mapping[tuple[str, str], BatchCap]
    doubts: Mapping[str, Doubt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a service is held as it is: something that belongs to it is not known."""

    reason: Reason
    message: str


def survey(snapshot: Snapshot, rules: Rules, extra: Iterable[ScalableFact] = ()) -> Surveyed:
    """Accept or refuse every service and pool.

    Args:
        snapshot: of the inventory.
        rules: of the administrator.
        extra: scale targets of kinds that are not watched.
    """
    namespaces = {fact.name: fact.labels for fact in snapshot.of("namespaces") if isinstance(fact, NamespaceFact)}
    nodes = snapshot.of("nodes")
    pools, pool_refusals = _pools(sorted(snapshot.of("acceleratorpools"), key=lambda pool: pool.name), nodes)
    known = {pool.name for pool in pools}
    services: list[ServiceObject] = []
    refusals = dict(pool_refusals)
    for service in sorted(snapshot.of("inferenceservices"), key=lambda service: service.key):
        if service.deleting:
            continue
        try:
            refusal = _refuse_service(service, known, rules, namespaces)
        except Exception as error:
            LOGGER.exception("%s could not be judged", service.key)
            refusal = Refusal(service.uid, Reason.INVALID_SPEC, f"the spec cannot be judged: {words(error)}")
        if refusal is None:
            services.append(service)
        else:
            refusals[service.uid] = refusal
    scalables = {fact.ref: fact for fact in (*snapshot.of("deployments"), *extra)}
    caps = {(cap.namespace, cap.name): cap.cap for cap in snapshot.of("configmaps") if isinstance(cap, CapObject)}
    doubts = _doubts(services, snapshot)
    return Surveyed(tuple(services), pools, refusals, namespaces, scalables, caps, doubts)


def _doubts(services: Iterable[ServiceObject], snapshot: Snapshot) -> dict[str, Doubt]:
    targets = {service.uid: [v.workload for v in service.spec.variants] if service.spec else [] for service in services}
    found = in_doubt(snapshot.unreadable, {ref for refs in targets.values() for ref in refs}, _links(snapshot))
    doubts = {}
    for uid, refs in targets.items():
        blamed = next((found[ref] for ref in refs if ref in found), None)
        if blamed is not None:
            message = f"{blamed}; nothing is changed until it can be read"
            doubts[uid] = Doubt(Reason.OBJECT_UNREADABLE, message)
    return doubts


def _links(snapshot: Snapshot) -> ReplicaSets:
    return by_name(snapshot.of("replicasets"))


def _pools(found: Iterable[PoolObject], nodes: Iterable[NodeFact]) -> tuple[tuple[PoolObject, ...], dict[str, Refusal]]:
    accepted: list[PoolObject] = []
    refusals: dict[str, Refusal] = {}
    taken: dict[tuple[str, str], str] = {}  # (node, resource) -> pool
    # The older pool keeps its nodes, so that a new one cannot push out what is in use.
    for pool in sorted(found, key=lambda pool: (pool.created_at, pool.name)):
        if pool.spec is None:
            refusals[pool.uid] = Refusal(pool.uid, Reason.INVALID_SPEC, "; ".join(pool.refusals))
            continue
        own = [(node.name, pool.spec.resource_name) for node in nodes if pool.spec.selects(node.labels)]
        rivals = sorted({taken[key] for key in own if key in taken})
        if rivals:
            message = f"selects nodes that pool {', '.join(rivals)} already selects; give each node to one pool"
            refusals[pool.uid] = Refusal(pool.uid, Reason.POOLS_OVERLAP, message)
            continue
        taken.update(dict.fromkeys(own, pool.name))
        accepted.append(pool)
    return tuple(sorted(accepted, key=lambda pool: pool.name)), refusals


def _refuse_service(
    service: ServiceObject, pools: set[str], rules: Rules, namespaces: Mapping[str, Mapping[str, str]]
) -> Refusal | None:
    if service.spec is None:
        return Refusal(service.uid, Reason.INVALID_SPEC, "; ".join(service.refusals))
    missing = sorted({variant.pool for variant in service.spec.variants} - pools)
    if missing:
        names = ", ".join(missing)
        return Refusal(service.uid, Reason.POOL_NOT_FOUND, f"no accepted AcceleratorPool is named {names}")
    labels = namespaces.get(service.key.namespace, {})
    owned = any(variant.owned for variant in service.spec.variants)
    if owned and not rules.owned_everywhere and labels.get(OWNED_LABEL) != OWNED_VALUE:
        message = (
            f"podTemplate is not enabled in namespace {service.key.namespace}: "
            f"label it {OWNED_LABEL}={OWNED_VALUE}, or use scaleTargetRef"
        )
        return Refusal(service.uid, Reason.NAMESPACE_NOT_ENABLED, message)
    for variant in service.spec.variants:
        kind = f"{variant.workload.kind}.{group_of(variant.workload.api_version)}"
        if not variant.owned and kind not in rules.target_kinds:
            allowed = ", ".join(sorted(rules.target_kinds))
            message = f"variant {variant.name}: kind {kind} is not among the allowed targets ({allowed})"
            return Refusal(service.uid, Reason.KIND_NOT_ALLOWED, message)
    return None


@dataclass(slots=True)
class _Index:
    pods: dict[WorkloadRef, list[PodFact]] = field(default_factory=lambda: defaultdict(list))


def build_world(
    snapshot: Snapshot,
    surveyed: Surveyed,
    metrics: Mapping[str, MetricsSnapshot],
    settings: PlannerSettings,
) -> World:
    """The world of one cycle: accepted services and pools, every pod that holds a device, and the metrics."""
    replicasets = _links(snapshot)
    pods = resolve_pods(snapshot.of("pods"), replicasets)
    vanished = resolve_pods(snapshot.vanished_pods, replicasets)
    index = _Index()
    for pod in (*pods, *vanished):
        if pod.workload is not None:
            index.pods[pod.workload].append(pod)
    nodes = without_room(sorted(snapshot.of("nodes"), key=lambda node: node.name), snapshot.unreadable)
    pools = {pool.name: pool.spec for pool in surveyed.pools if pool.spec is not None}
    autoscalers = tuple(snapshot.of("horizontalpodautoscalers"))
    around = Surroundings(pods=pods, replicasets=snapshot.of("replicasets"), autoscalers=autoscalers)
    views = (_view(service, surveyed, pools, around, index) for service in surveyed.services)
    services = tuple(view for view in views if view is not None)
    return World(
        services=services,
        pools=tuple(PoolView(spec, tuple(n for n in nodes if spec.selects(n.labels))) for spec in pools.values()),
        pods=tuple(sorted((pod for pod in (*pods, *vanished) if pod.requests), key=lambda pod: (pod.key, pod.uid))),
        metrics=dict(metrics),
        settings=settings,
    )


def _view(
    service: ServiceObject, surveyed: Surveyed, pools: Mapping[str, PoolSpec], around: Surroundings, index: _Index
) -> ServiceView | None:
    spec = service.spec
    if spec is None:
        return None
    doubt = surveyed.doubts.get(service.uid)
    workloads: list[WorkloadFact | WorkloadMissing] = []
    if doubt is None:
        try:
            workloads = [_workload(spec, variant, surveyed, pools, around) for variant in spec.variants]
        except Exception as error:
            LOGGER.exception("%s could not be looked at", service.key)
            doubt = Doubt(Reason.OBJECT_UNREADABLE, f"its workloads cannot be looked at: {words(error)}")
    if doubt is not None:
        workloads = [_held(variant, doubt, surveyed) for variant in spec.variants]
    return ServiceView(
        spec=spec,
        variants=tuple(
            _variant_view(variant, workload, index) for variant, workload in zip(spec.variants, workloads, strict=True)
        ),
        namespace_labels=surveyed.namespaces.get(service.key.namespace, {}),
    )


def _held(variant: VariantSpec, doubt: Doubt, surveyed: Surveyed) -> WorkloadMissing:
    """Another variant of a service in doubt must not make up for the one that cannot be counted."""
    known = surveyed.scalables.get(variant.workload)
    return WorkloadMissing(variant.workload, doubt.message, doubt.reason, 0 if known is None else known.replicas)


def _own_pods(variant: VariantSpec, index: _Index) -> tuple[PodFact, ...]:
    return tuple(sorted(index.pods.get(variant.workload, ()), key=lambda pod: (pod.key, pod.uid)))


def _variant_view(variant: VariantSpec, workload: WorkloadFact | WorkloadMissing, index: _Index) -> VariantView:
    """A variant with its pods. What admission adds to their tolerations, the next pod will get, too."""
    pods = _own_pods(variant, index)
    if isinstance(workload, WorkloadFact):
        living = {pod.placement for pod in pods if pod.deleted_at is None and not pod.finished}
        added = {toleration for rules in living for toleration in rules.tolerations}
        added -= set(workload.placement.tolerations)
        if added:
            tolerations = (*workload.placement.tolerations, *sorted(added, key=str))
            workload = replace(workload, placement=replace(workload.placement, tolerations=tolerations))
    return VariantView(variant, workload, pods)


def _workload(
    service: ServiceSpec,
    variant: VariantSpec,
    surveyed: Surveyed,
    pools: Mapping[str, PoolSpec],
    around: Surroundings,
) -> WorkloadFact | WorkloadMissing:
    scalable = surveyed.scalables.get(variant.workload)
    if scalable is None:
        return WorkloadMissing(variant.workload, f"{variant.workload} does not exist")
    here = Surroundings(
        pods=around.pods,
        replicasets=around.replicasets,
        autoscalers=around.autoscalers,
        cap=_cap(scalable, service, surveyed.caps),
        resource=pools[variant.pool].resource_name,
        gpu=_whole_gpu(pools[variant.pool]),
    )
    return workload_fact(scalable, here)


def _whole_gpu(pool: PoolSpec) -> Gpu | None:
    """The pool's GPU where one unit of its resource is a whole one; a slice has another memory."""
    gpu = find_gpu(pool.accelerator)
    return None if isinstance(gpu, Unknown) or pool.gpu_fraction != 1 or "mig" in pool.resource_name else gpu


def _cap(scalable: ScalableFact, service: ServiceSpec, caps: Mapping[tuple[str, str], BatchCap]) -> BatchCap | None:
    key = scalable.cap_key
    if key is None or key.key != CAP_VARIABLE:
        return None
    return caps.get((service.key.namespace, key.name))
