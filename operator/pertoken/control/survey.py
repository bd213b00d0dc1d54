"""Who takes part in a cycle: services and pools are accepted or refused. No I/O but the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pertoken.control.caps import Address, own_cap
from pertoken.control.claims import Accounts
from pertoken.control.facts import by_name
from pertoken.control.inventory import Snapshot
from pertoken.control.objects import CapObject, PoolObject, Refusal, ServiceObject
from pertoken.control.targets import taken_targets
from pertoken.control.unreadable import in_doubt, words
from pertoken.control.workloads import ScalableFact, group_of
from pertoken.domain.cluster import NodeFact
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason

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
        snapshot: what was looked at.
        caps: ConfigMaps that say that they are pertoken's, by namespace and name.
        read_caps: caps that engines read from other people's ConfigMaps.
        accounts: what counts claims of devices; None where nobody claims any, or that cannot be read.
        doubts: accepted services, by uid, of whose objects one cannot be read: they are planned, and nothing of them is
            changed.
    """

    snapshot: Snapshot
    services: tuple[ServiceObject, ...]
    pools: tuple[PoolObject, ...]
    refusals: Mapping[str, Refusal]
    namespaces: Mapping[str, Mapping[str, str]]
    scalables: Mapping[WorkloadRef, ScalableFact]
    caps: Mapping[tuple[str, str], CapObject]
    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    read_caps: Mapping[Address, int] = field(default_factory=dict)
    accounts: Accounts | None = None

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

    def claims_devices(self) -> bool:
        """Whether devices may be claimed: a pod or a template does, or a pool's node tells no device by a plugin."""
        snapshot = self.snapshot
        pools = [pool.spec for pool in self.pools if pool.spec is not None]
        return (
            any(pod.claims for pod in snapshot.pods)
            or any(fact.claims for fact in self.scalables.values())
            or any(_claims(template) for service in self.services for template in service.templates.values())
            or any(
                not node.allocatable.get(pool.resource_name)
                for pool in pools
                for node in snapshot.nodes
                if pool.selects(node.labels)
            )
        )

    def without(self, refused: Iterable[Refusal]) -> Surveyed:
        """The same with further services refused."""
        more = {refusal.uid: refusal for refusal in refused}
        kept = tuple(service for service in self.services if service.uid not in more)
        return replace(self, services=kept, refusals={**self.refusals, **more})


def _claims(template: Any) -> bool:
    spec = template.get("spec") if isinstance(template, Mapping) else None
    return isinstance(spec, Mapping) and bool(spec.get("resourceClaims"))


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
    namespaces = {fact.name: fact.labels for fact in snapshot.namespaces}
    pools, pool_refusals = _pools(sorted(snapshot.pools, key=lambda pool: pool.name), snapshot.nodes)
    known = {pool.name: pool.spec for pool in pools if pool.spec is not None}
    services: list[ServiceObject] = []
    refusals = dict(pool_refusals)
    taken = taken_targets(snapshot.services)
    for service in sorted(snapshot.services, key=lambda service: service.key):
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
    scalables = {fact.ref: fact for fact in (*snapshot.deployments, *extra)}
    caps = {(cap.namespace, cap.name): cap for cap in snapshot.caps}
    doubts = _doubts(services, snapshot)
    return Surveyed(snapshot, tuple(services), pools, refusals, namespaces, scalables, caps, doubts)


def _doubts(services: Iterable[ServiceObject], snapshot: Snapshot) -> dict[str, Doubt]:
    targets = {service.uid: [v.workload for v in service.spec.variants] if service.spec else [] for service in services}
    all_targets = {ref for refs in targets.values() for ref in refs}
    blamed_for = in_doubt(snapshot.unreadable, all_targets, by_name(snapshot.replicasets))
    doubts = {}
    for uid, refs in targets.items():
        blamed = next((blamed_for[ref] for ref in refs if ref in blamed_for), None)
        if blamed is not None:
            message = f"{blamed}; nothing is changed until it can be read"
            doubts[uid] = Doubt(Reason.OBJECT_UNREADABLE, message)
    return doubts


def _pools(pools: Iterable[PoolObject], nodes: Iterable[NodeFact]) -> tuple[tuple[PoolObject, ...], dict[str, Refusal]]:
    accepted: list[PoolObject] = []
    refusals: dict[str, Refusal] = {}
    taken: dict[tuple[str, str], str] = {}  # (node, resource) -> pool
    # The older pool keeps its nodes, so that a new one cannot push out what is in use.
    for pool in sorted(pools, key=lambda pool: (pool.created_at, pool.name)):
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
