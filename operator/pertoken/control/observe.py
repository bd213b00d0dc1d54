"""From the inventory's snapshot and the metrics to the world that the planner sees. Talks to nobody but the log."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.control.caps import Address, cap_in_use, own_cap
from pertoken.control.facts import NamespaceFact, ReplicaSets, by_name, resolve_pods
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import CapObject, PoolObject, Refusal, ServiceObject
from pertoken.control.targets import taken_targets
from pertoken.control.unreadable import in_doubt, without_room, words
from pertoken.control.workloads import (
    ScalableFact,
    Surroundings,
    group_of,
    workload_fact,
)
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, ServiceSpec, VariantSpec
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
        caps: ConfigMaps that say that they are pertoken's, by namespace and name.
        read_caps: caps that engines read from other people's ConfigMaps.
        doubts: accepted services, by uid, of whose objects one cannot be read: they are planned, and nothing of them is
            changed.
    """

    services: tuple[ServiceObject, ...]
    pools: tuple[PoolObject, ...]
    refusals: Mapping[str, Refusal]
    namespaces: Mapping[str, Mapping[str, str]]
    scalables: Mapping[WorkloadRef, ScalableFact]
    caps: Mapping[tuple[str, str], CapObject]
    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    read_caps: Mapping[Address, int] = field(default_factory=dict)

    def foreign_caps(self) -> list[Address]:
        """Keys of ConfigMaps that are not pertoken's, from which engines of the accepted services read their cap."""
        return [
            (service.key.namespace, scalable.cap_key)
            for service in self.services
            for variant in (service.spec.variants if service.spec else ())
            if (scalable := self.scalables.get(variant.workload)) is not None
            and scalable.cap_key is not None
            and own_cap(service, variant, scalable, self.caps) is None
        ]

    def without(self, refused: Iterable[Refusal]) -> Surveyed:
        """The same with further services refused."""
        more = {refusal.uid: refusal for refusal in refused}
        kept = tuple(service for service in self.services if service.uid not in more)
        return replace(self, services=kept, refusals={**self.refusals, **more})


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
    known = {pool.name: pool.spec for pool in pools if pool.spec is not None}
    services: list[ServiceObject] = []
    refusals = dict(pool_refusals)
    taken = taken_targets(snapshot.of("inferenceservices"))
    for service in sorted(snapshot.of("inferenceservices"), key=lambda service: service.key):
        if service.deleting:
            continue
        try:
            refusal = _refuse_service(service, known, rules, namespaces) or taken.get(service.uid)
        except Exception as error:
            LOGGER.exception("%s could not be judged", service.key)
            refusal = Refusal(service.uid, Reason.INVALID_SPEC, f"the spec cannot be judged: {words(error)}")
        if refusal is None:
            services.append(service)
        else:
            refusals[service.uid] = refusal
    scalables = {fact.ref: fact for fact in (*snapshot.of("deployments"), *extra)}
    caps = {(cap.namespace, cap.name): cap for cap in snapshot.of("configmaps") if isinstance(cap, CapObject)}
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


def faulty(service: ServiceObject, error: Exception) -> Refusal:
    """The refusal of a service that hit a fault of pertoken's own."""
    LOGGER.error("%s cannot be dealt with", service.key, exc_info=error)
    words = "a fault of pertoken, told in the operator's log: nothing is changed for this service; please report it"
    return Refusal(service.uid, Reason.PLANNING_FAILED, words)


def _refuse_service(
    service: ServiceObject, pools: Mapping[str, PoolSpec], rules: Rules, namespaces: Mapping[str, Mapping[str, str]]
) -> Refusal | None:
    if service.spec is None:
        return Refusal(service.uid, Reason.INVALID_SPEC, "; ".join(service.refusals))
    missing = sorted({variant.pool for variant in service.spec.variants} - pools.keys())
    if missing:
        names = ", ".join(missing)
        return Refusal(service.uid, Reason.POOL_NOT_FOUND, f"no accepted AcceleratorPool is named {names}")
    labels = namespaces.get(service.key.namespace, {})
    shut = sorted({variant.pool for variant in service.spec.variants if pools[variant.pool].rule_of(labels) is None})
    if shut:
        message = (
            f"namespace {service.key.namespace} has no access to pool {', '.join(shut)}: no rule of its spec.access "
            "selects the namespace's labels; what runs is left as it is"
        )
        return Refusal(service.uid, Reason.ACCESS_DENIED, message)
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


@dataclass(frozen=True, slots=True)
class _Device:
    """What one unit of a pool's extended resource is; `gpu` is None where it is no whole one, or an unknown one."""

    resource: str
    gpu: Gpu | None


@dataclass(slots=True)
class _Index:
    pods: dict[WorkloadRef, list[PodFact]] = field(default_factory=lambda: defaultdict(list))


def build_world(
    snapshot: Snapshot,
    surveyed: Surveyed,
    metrics: Mapping[str, MetricsSnapshot],
    catalog: Catalog,
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
    devices = {name: _device(pool, catalog) for name, pool in pools.items()}
    views = (_view(service, surveyed, devices, around, index) for service in surveyed.services)
    services = tuple(view for view in views if view is not None)
    return World(
        services=services,
        pools=tuple(PoolView(spec, tuple(n for n in nodes if spec.selects(n.labels))) for spec in pools.values()),
        pods=tuple(sorted((pod for pod in (*pods, *vanished) if pod.requests), key=lambda pod: (pod.key, pod.uid))),
        metrics=dict(metrics),
        catalog=catalog,
        settings=settings,
    )


def _view(
    service: ServiceObject, surveyed: Surveyed, devices: Mapping[str, _Device], around: Surroundings, index: _Index
) -> ServiceView | None:
    spec = service.spec
    if spec is None:
        return None
    doubt = surveyed.doubts.get(service.uid)
    workloads: list[WorkloadFact | WorkloadMissing] = []
    if doubt is None:
        try:
            workloads = [
                _workload(service, variant, surveyed, devices[variant.pool], around) for variant in spec.variants
            ]
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
        left_behind=_left_behind(spec, surveyed.scalables.values()),
    )


def _held(variant: VariantSpec, doubt: Doubt, surveyed: Surveyed) -> WorkloadMissing:
    """Another variant of a service in doubt must not make up for the one that cannot be counted."""
    known = surveyed.scalables.get(variant.workload)
    return WorkloadMissing(variant.workload, doubt.message, doubt.reason, 0 if known is None else known.replicas)


def _left_behind(service: ServiceSpec, scalables: Iterable[ScalableFact]) -> tuple[str, ...]:
    """Workloads that pertoken made for variants which the service no longer has, and that still ask for replicas."""
    targets = {variant.workload for variant in service.variants}
    return tuple(
        sorted(
            f"{fact.ref} ({fact.replicas} replicas)"
            for fact in scalables
            if (fact.made_for, fact.ref.namespace) == (service.key.name, service.key.namespace)
            and fact.ref not in targets
            and fact.replicas > 0
        )
    )


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
    service: ServiceObject,
    variant: VariantSpec,
    surveyed: Surveyed,
    device: _Device,
    around: Surroundings,
) -> WorkloadFact | WorkloadMissing:
    scalable = surveyed.scalables.get(variant.workload)
    if scalable is None:
        return WorkloadMissing(variant.workload, _missing(service.spec, variant))
    address = None if scalable.cap_key is None else (service.key.namespace, scalable.cap_key)
    here = Surroundings(
        pods=around.pods,
        replicasets=around.replicasets,
        autoscalers=around.autoscalers,
        cap=cap_in_use(own_cap(service, variant, scalable, surveyed.caps), address, surveyed.read_caps),
        resource=device.resource,
        gpu=device.gpu,
    )
    return workload_fact(scalable, here)


def _device(pool: PoolSpec, catalog: Catalog) -> _Device:
    """A slice of a GPU has another memory than the whole one."""
    whole = pool.gpu_fraction == 1 and "mig" not in pool.resource_name
    return _Device(pool.resource_name, catalog.known_gpu(pool.accelerator) if whole else None)


def _missing(spec: ServiceSpec | None, variant: VariantSpec) -> str:
    words = f"{variant.workload} does not exist"
    if spec is None or not variant.owned:
        return words
    if spec.paused:
        return f"{words}; while paused nothing is made"
    return words if spec.mode is Mode.AUTO else f"{words}; in mode {spec.mode.value} nothing is made"
