"""Keeping owned workloads in line with their templates, and batch caps in existence."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pertoken.api.batch_cap import CapDocument, cap_after, cap_config_map, initial_cap
from pertoken.api.errors import Rejected
from pertoken.api.naming import cap_name
from pertoken.api.workloads import (
    OwnedWorkload,
    WorkloadRequest,
    build_workload,
    replicas_claim,
    service_owner,
    workload_owner,
)
from pertoken.control.objects import Refusal, ServiceObject
from pertoken.control.observe import Surveyed
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import CompleteBatchCap, SetBatchCap
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, VariantSpec
from pertoken.ports import AdapterError, Clock, ClusterWriter, Json, Leadership, Refused

LOGGER = logging.getLogger(__name__)
FIELD_MANAGER = "pertoken"
SCALE_MANAGER = "pertoken-scaler"


@dataclass(slots=True)
class Keeper:
    """Creates and corrects what pertoken owns. Every write is fenced by the lease.

    Attributes:
        refresh_seconds: an object that looks right is applied again after this time, which undoes foreign edits.
    """

    writer: ClusterWriter
    leadership: Leadership
    clock: Clock
    read_only: bool = False
    refresh_seconds: float = 300.0
    _applied: dict[str, tuple[str, float]] = field(default_factory=dict)
    _known: dict[tuple[ServiceKey, str], tuple[ServiceObject, BatchCap | None, str]] = field(default_factory=dict)

    def keep(self, surveyed: Surveyed) -> tuple[Refusal, ...]:
        """Bring every owned workload and every cap into being; returns the services whose template is refused."""
        pools = {pool.name: pool.spec for pool in surveyed.pools if pool.spec is not None}
        self._known.clear()
        refusals = []
        for service in surveyed.services:
            self._remember(service, surveyed)
            if (
                service.uid in surveyed.doubts
                or service.spec is None
                or service.spec.mode is Mode.OFF
                or self.read_only
            ):
                continue
            if not self.leadership.valid():
                continue
            try:
                self._keep_service(service, surveyed, pools)
            except Refused as error:
                refusals.append(Refusal(service.uid, Reason.TEMPLATE_REJECTED, str(error)))
            except AdapterError as error:
                LOGGER.warning("%s: owned objects are not up to date: %s", service.key, error)
        return tuple(refusals)

    def cap_manifest(self, action: SetBatchCap | CompleteBatchCap) -> Json:
        """The ConfigMap after a batch action; uses what the last `keep` saw."""
        service, cap, uid = self._known[action.service, action.variant]
        after = cap_after(action, cap, self.clock.now())
        return cap_config_map(_document(service, action.variant, action.target, after, uid))

    def _remember(self, service: ServiceObject, surveyed: Surveyed) -> None:
        for variant in service.spec.variants if service.spec else ():
            scalable = surveyed.scalables.get(variant.workload)
            cap = surveyed.caps.get((service.key.namespace, cap_name(variant.workload.name)))
            self._known[service.key, variant.name] = (service, cap, scalable.uid if scalable else "")

    def _keep_service(self, service: ServiceObject, surveyed: Surveyed, pools: Mapping[str, PoolSpec]) -> None:
        spec = service.spec
        if spec is None:
            return
        wanted: list[tuple[VariantSpec, OwnedWorkload]] = []
        for variant in spec.variants:
            if not variant.owned:
                self._keep_adopted_cap(service, variant, surveyed)
                continue
            template = service.templates[variant.name]
            built = build_workload(WorkloadRequest(spec, variant, template, pools[variant.pool], service.orphan))
            if isinstance(built, Rejected):
                raise Refused(built.message)
            wanted.append((variant, built))
        stale = [(variant, built) for variant, built in wanted if self._stale(variant, built, surveyed)]
        # All or nothing: the server must accept every object before one of them is written.
        for _, built in stale:
            for manifest in built.manifests:
                self.writer.apply(manifest, FIELD_MANAGER, dry_run=True)
        for variant, built in stale:
            self._write(service, variant, built, surveyed)

    def _stale(self, variant: VariantSpec, built: OwnedWorkload, surveyed: Surveyed) -> bool:
        if variant.workload not in surveyed.scalables:
            return True
        digest, at = self._applied.get(str(variant.workload), ("", 0.0))
        return digest != _digest(built) or self.clock.monotonic() - at > self.refresh_seconds

    def _write(self, service: ServiceObject, variant: VariantSpec, built: OwnedWorkload, surveyed: Surveyed) -> None:
        namespace, ref = service.key.namespace, variant.workload
        if built.reads_cap and (namespace, cap_name(ref.name)) not in surveyed.caps:
            first = _document(service, variant.name, ref, initial_cap(variant.batching), "")
            self.writer.apply(cap_config_map(first), FIELD_MANAGER)
        creating = ref not in surveyed.scalables
        if creating:
            # The scaler owns the replicas from the first moment, so that later applies may leave them out.
            self.writer.apply(_with_replicas(built.deployment, _first_replicas(service, variant)), FIELD_MANAGER)
            self.writer.apply(replicas_claim(ref, _first_replicas(service, variant)), SCALE_MANAGER)
        for manifest in built.manifests:
            self.writer.apply(manifest, FIELD_MANAGER)
        if creating:
            LOGGER.info("created %s", ref, extra={"service": str(service.key)})
        self._applied[str(ref)] = (_digest(built), self.clock.monotonic())

    def _keep_adopted_cap(self, service: ServiceObject, variant: VariantSpec, surveyed: Surveyed) -> None:
        scalable = surveyed.scalables.get(variant.workload)
        if scalable is None or scalable.cap_key is None:
            return
        if scalable.cap_key.name != cap_name(variant.workload.name):
            return
        if (service.key.namespace, scalable.cap_key.name) in surveyed.caps:
            return
        cap = initial_cap(variant.batching)
        document = _document(service, variant.name, variant.workload, cap, scalable.uid)
        self.writer.apply(cap_config_map(document), FIELD_MANAGER)


def _document(service: ServiceObject, variant: str, target: WorkloadRef, cap: BatchCap, uid: str) -> CapDocument:
    """The cap's owner is the service for owned workloads, else the workload, whose pods need it for ever."""
    spec = service.spec
    owned = spec is not None and any(each.name == variant and each.owned for each in spec.variants)
    owner: Json | None = None
    if owned and spec is not None and not service.orphan:
        owner = service_owner(spec)
    elif not owned and uid:
        owner = workload_owner(target, uid)
    return CapDocument(service.key, variant, target, cap, owner)


def _first_replicas(service: ServiceObject, variant: VariantSpec) -> int:
    floor = service.spec.min_replicas if service.spec else 0
    first = service.spec is not None and service.spec.variants[0].name == variant.name
    return max(variant.min_replicas, floor if first else 0)


def _with_replicas(deployment: Json, replicas: int) -> Json:
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}


def _digest(built: OwnedWorkload) -> str:
    return hashlib.sha256(json.dumps(list(_manifests(built)), sort_keys=True).encode()).hexdigest()


def _manifests(built: OwnedWorkload) -> Iterator[Json]:
    yield from built.manifests
