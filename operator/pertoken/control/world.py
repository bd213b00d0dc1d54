"""From what was surveyed and measured to the world that the planner sees. No I/O but the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.catalog.releases import stated_release
from pertoken.control.caps import cap_in_use, own_cap
from pertoken.control.claims import Accounts, counted_nodes, counted_pods, placed
from pertoken.control.facts import ReplicaSetFact, by_name, resolve_pods
from pertoken.control.gpus import whole_gpu
from pertoken.control.objects import ServiceObject
from pertoken.control.retired import RetiredTarget, left_behind, retired_fact, retired_targets, unowned_by
from pertoken.control.survey import Doubt, Surveyed
from pertoken.control.truth import Evidence, Truth
from pertoken.control.unreadable import without_room, words
from pertoken.control.workloads import AutoscalerFact, ScalableFact, Surroundings, workload_fact
from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, ServiceSpec, VariantSpec
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, VariantView, World

LOGGER = logging.getLogger(__name__)
# As KServe labels the pods of an LLMInferenceService, which Deployments and LeaderWorkerSets of its own make.
LLM_SERVICE = "LLMInferenceService"
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
LLM_WORKLOADS = frozenset(
    {
        "llminferenceservice-workload",
        "llminferenceservice-workload-leader",
        "llminferenceservice-workload-worker",
    }
)


@dataclass(frozen=True, slots=True)
class _Device:
    """What one unit of a pool's extended resource is.

    Attributes:
        gpu: None where it is no whole one, or an unknown one.
        nodes: names of the pool's.
    """

    resource: str
    gpu: Gpu | None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Index:
    """What belongs to each scale target, so that no target has to look through everything.

    Attributes:
        pods: of which the API server tells, resolved, by workload.
        vanished: pods whose object is gone, likewise.
        replicasets: by what controls them.
        autoscalers: by namespace, kind and name of what they scale.
        made: scale targets that pertoken made, by namespace and name of the service.
        unowned: pods of a made workload that is gone, by namespace and name of the service.
    """

    pods: Mapping[WorkloadRef, Sequence[PodFact]]
    vanished: Mapping[WorkloadRef, Sequence[PodFact]]
    replicasets: Mapping[WorkloadRef, Sequence[ReplicaSetFact]]
    autoscalers: Mapping[tuple[str, str, str], Sequence[AutoscalerFact]]
    made: Mapping[tuple[str, str], Sequence[ScalableFact]]
    unowned: Mapping[tuple[str, str], Sequence[PodFact]]

    def around(self, ref: WorkloadRef) -> Surroundings:
        """What stands around one scale target."""
        return Surroundings(
            pods=self.pods.get(ref, ()),
            replicasets=self.replicasets.get(ref, ()),
            autoscalers=self.autoscalers.get((ref.namespace, ref.kind, ref.name), ()),
        )


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _grouped(values: Iterable[_Value], key: Callable[[_Value], _Key | None]) -> dict[_Key, list[_Value]]:
    """Values by their key, in their order; those without a key are left out."""
    groups: dict[_Key, list[_Value]] = {}
    for value in values:
        group = key(value)
        if group is not None:
            groups.setdefault(group, []).append(value)
    return groups


def build_world(
    surveyed: Surveyed,
    metrics: Mapping[str, MetricsSnapshot],
    catalog: Catalog,
    settings: PlannerSettings,
    truth: Truth | None = None,
) -> World:
    """The world of one cycle: accepted services and pools, every pod that holds a device, and the metrics.

    Args:
        surveyed: who takes part.
        metrics: one snapshot per profile.
        catalog: of now.
        settings: of the administrator.
        truth: judges specs, and remembers what it has judged.
    """
    snapshot = surveyed.snapshot
    replicasets = by_name(snapshot.replicasets)
    makers = _labelled_targets(surveyed.services)
    pods = tuple(_relabelled(pod, makers) for pod in resolve_pods(snapshot.pods, replicasets))
    vanished = tuple(_relabelled(pod, makers) for pod in resolve_pods(snapshot.vanished_pods, replicasets))
    pools = {pool.name: pool.spec for pool in surveyed.pools if pool.spec is not None}
    all_nodes = snapshot.nodes
    if surveyed.accounts is not None:
        resources = {spec.resource_name for spec in pools.values()}
        names = [node.name for node in all_nodes]
        all_nodes = counted_nodes(all_nodes, surveyed.accounts, resources)
        pods = counted_pods(pods, surveyed.accounts, resources, names)
        vanished = counted_pods(vanished, surveyed.accounts, resources, names)
    index = _Index(
        pods=_grouped(pods, lambda pod: pod.workload),
        vanished=_grouped(vanished, lambda pod: pod.workload),
        replicasets=_grouped(snapshot.replicasets, lambda fact: fact.owner),
        autoscalers=_grouped(snapshot.autoscalers, lambda fact: (fact.namespace, fact.target_kind, fact.target_name)),
        made=_grouped(
            surveyed.scalables.values(),
            lambda fact: (fact.ref.namespace, fact.made_for) if fact.made_for else None,
        ),
        unowned=_grouped((*pods, *vanished), lambda pod: unowned_by(pod, surveyed.scalables)),
    )
    nodes = without_room(sorted(all_nodes, key=lambda node: node.name), snapshot.unreadable)
    devices = {name: _device(pool, catalog, nodes) for name, pool in pools.items()}
    views = (_view(service, surveyed, devices, index) for service in surveyed.services)
    evidence = Evidence(surveyed.scalables, pools, index.pods, {node.name: node for node in all_nodes}, catalog)
    judge = Truth() if truth is None else truth
    judge.keep({service.uid for service in surveyed.services})
    services = tuple(_judged(view, judge, evidence) for view in views if view is not None)
    return World(
        services=services,
        pools=tuple(PoolView(spec, tuple(n for n in nodes if spec.selects(n.labels))) for spec in pools.values()),
        pods=tuple(sorted((pod for pod in (*pods, *vanished) if pod.requests), key=lambda pod: (pod.key, pod.uid))),
        metrics=dict(metrics),
        catalog=catalog,
        settings=settings,
    )


def _judged(view: ServiceView, judge: Truth, evidence: Evidence) -> ServiceView:
    """With what is to be said of its spec; a fault of that never keeps a service from being planned."""
    try:
        doubts = judge.doubts(view.spec, evidence)
    except Exception:
        LOGGER.exception("the spec of %s could not be held against its engines", view.spec.key)
        return view
    return replace(view, doubts=doubts) if doubts else view


def _labelled_targets(services: Iterable[ServiceObject]) -> dict[tuple[str, str], WorkloadRef]:
    """Targets whose pods are made by objects in between and tell by labels to whom they belong."""
    targets = (variant.workload for service in services if service.spec for variant in service.spec.variants)
    return {(ref.namespace, ref.name): ref for ref in targets if ref.kind == LLM_SERVICE}


def _relabelled(pod: PodFact, targets: Mapping[tuple[str, str], WorkloadRef]) -> PodFact:
    """A pod of such a target with its workload; those that only prefill, route or schedule are not its replicas."""
    if not targets or pod.labels.get(COMPONENT_LABEL) not in LLM_WORKLOADS:
        return pod
    target = targets.get((pod.key.namespace, pod.labels.get(NAME_LABEL, "")))
    return pod if target is None else replace(pod, workload=target)


def _view(
    service: ServiceObject, surveyed: Surveyed, devices: Mapping[str, _Device], index: _Index
) -> ServiceView | None:
    spec = service.spec
    if spec is None:
        return None
    doubt = surveyed.doubts.get(service.uid)
    workloads: list[WorkloadFact | WorkloadMissing] = []
    if doubt is None:
        try:
            workloads = [
                _workload(service, variant, surveyed, devices[variant.pool], index.around(variant.workload))
                for variant in spec.variants
            ]
        except Exception as error:
            LOGGER.exception("%s could not be looked at", service.key)
            doubt = Doubt(Reason.OBJECT_UNREADABLE, f"its workloads cannot be looked at: {words(error)}")
    if doubt is not None:
        workloads = [_held(variant, doubt, surveyed) for variant in spec.variants]
    name = (service.key.namespace, service.key.name)
    made, unowned = index.made.get(name, ()), index.unowned.get(name, ())
    return ServiceView(
        spec=spec,
        variants=tuple(
            _variant_view(variant, workload, index) for variant, workload in zip(spec.variants, workloads, strict=True)
        ),
        namespace_labels=surveyed.namespaces.get(service.key.namespace, {}),
        left_behind=left_behind(service, made),
        retired=tuple(_retired(service, target, devices, index) for target in retired_targets(service, made, unowned)),
    )


def _held(variant: VariantSpec, doubt: Doubt, surveyed: Surveyed) -> WorkloadMissing:
    """A variant of a service in doubt, held at its replicas: none may make up for one that cannot be counted."""
    known = surveyed.scalables.get(variant.workload)
    return WorkloadMissing(variant.workload, doubt.message, doubt.reason, 0 if known is None else known.replicas)


def _retired(
    service: ServiceObject, target: RetiredTarget, devices: Mapping[str, _Device], index: _Index
) -> VariantView:
    """What is still there of a variant that is no more, as a variant that may have no replica."""
    ref = target.ref
    own = (*index.pods.get(ref, ()), *index.vanished.get(ref, ()), *target.pods)
    pods = tuple(sorted(own, key=lambda pod: (pod.key, pod.uid)))
    nodes = {pod.node for pod in pods if pod.node is not None}
    of_nodes = (name for name, device in devices.items() if nodes.intersection(device.nodes))
    pool = next(of_nodes, "") or next((v.pool for v in (service.spec.variants if service.spec else ())), "")
    around = index.around(ref)
    around = around if pool not in devices else replace(around, resource=devices[pool].resource)
    spec = VariantSpec(ref.name, pool, ref, owned=True, max_replicas=0)
    return VariantView(spec, retired_fact(target, around), pods)


def _own_pods(variant: VariantSpec, index: _Index) -> tuple[PodFact, ...]:
    ref = variant.workload
    own = (*index.pods.get(ref, ()), *index.vanished.get(ref, ()))
    return tuple(sorted(own, key=lambda pod: (pod.key, pod.uid)))


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
    claimed = _claimed(scalable, device, surveyed.accounts)
    if claimed and surveyed.accounts is not None:
        doubts = surveyed.accounts.doubts(service.key.namespace, [use for uses in scalable.claims for use in uses])
        scalable = replace(scalable, placement=placed(scalable.placement, doubts))
    here = Surroundings(
        pods=around.pods,
        replicasets=around.replicasets,
        autoscalers=around.autoscalers,
        cap=cap_in_use(own_cap(service, variant, scalable, surveyed.caps), address, surveyed.read_caps),
        resource=device.resource,
        gpu=device.gpu,
        release=stated_release(variant.engine.value, variant.engine_version),
        claimed=claimed or (),
    )
    return workload_fact(scalable, here)


def _device(pool: PoolSpec, catalog: Catalog, nodes: Iterable[NodeFact]) -> _Device:
    names = tuple(node.name for node in nodes if pool.selects(node.labels))
    return _Device(pool.resource_name, whole_gpu(pool, catalog), names)


def _claimed(scalable: ScalableFact, device: _Device, accounts: Accounts | None) -> tuple[int, ...] | None:
    """Units that every pod of a replica claims; None where that is not known."""
    if not scalable.claims:
        return ()
    if accounts is None:
        return None
    claimed = []
    for uses in scalable.claims:
        units = [accounts.of_use(scalable.ref.namespace, use, device.resource, device.nodes) for use in uses]
        known = [each for each in units if each is not None]
        if len(known) < len(units):
            return None
        claimed.append(sum(known))
    return tuple(claimed)


def _missing(spec: ServiceSpec | None, variant: VariantSpec) -> str:
    words = f"{variant.workload} does not exist"
    if spec is None or not variant.owned:
        return words
    if spec.paused:
        return f"{words}; while paused nothing is made"
    return words if spec.mode is Mode.AUTO else f"{words}; in mode {spec.mode.value} nothing is made"
