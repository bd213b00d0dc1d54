"""Keeping owned workloads in line with their templates, and batch caps in existence."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pertoken.api.batch_cap import CapDocument, cap_config_map, initial_cap, parse_cap
from pertoken.api.errors import Rejected
from pertoken.api.naming import cap_name
from pertoken.api.ownership import Claim
from pertoken.api.workloads import (
    OwnedWorkload,
    WorkloadRequest,
    build_workload,
    without_replicas_yet,
)
from pertoken.control.cap_manifest import cap_document
from pertoken.control.caps import claim_of
from pertoken.control.claims import uses_of
from pertoken.control.made import Looked, Maker, NameTaken, Wanted
from pertoken.control.objects import Refusal, ServiceObject
from pertoken.control.survey import Surveyed, faulty
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, VariantSpec
from pertoken.ports import AdapterError, Clock, ClusterReader, ClusterWriter, Json, Refused, Withheld
from pertoken.raw.values import Malformed

LOGGER = logging.getLogger(__name__)
CREATED_SECONDS = 30.0  # how long a new workload is expected to show up
LABEL = "app.kubernetes.io/managed-by"


@dataclass(slots=True)
class Keeper:
    """Creates and corrects what pertoken owns. Services that do not act are only checked, nothing is sent for them.

    Attributes:
        writer: fenced.
        refresh_seconds: an object that looks right is compared again after this time, which undoes foreign edits.
    """

    reader: ClusterReader
    writer: ClusterWriter
    clock: Clock
    read_only: bool = False
    refresh_seconds: float = 300.0
    _applied: dict[str, tuple[str, float]] = field(default_factory=dict)
    _created: dict[WorkloadRef, float] = field(default_factory=dict)

    def keep(self, surveyed: Surveyed) -> tuple[Refusal, ...]:
        """Bring every owned workload and every cap into being; returns the services that cannot have theirs."""
        pools = {pool.name: pool.spec for pool in surveyed.pools if pool.spec is not None}
        refusals = []
        for service in surveyed.services:
            if service.uid in surveyed.doubts:
                continue
            try:
                self._keep_service(service, surveyed, pools)
            except NameTaken as error:
                refusals.append(Refusal(service.uid, Reason.NAME_TAKEN, str(error)))
            except Refused as error:
                refusals.append(Refusal(service.uid, Reason.TEMPLATE_REJECTED, str(error)))
            except Withheld:
                continue
            except AdapterError as error:
                LOGGER.warning("%s: owned objects are not up to date: %s", service.key, error)
            except Exception as error:  # noqa: BLE001 - one bad service must not fail the cycle
                refusals.append(faulty(service, error))
        return tuple(refusals)

    def forget(self) -> None:
        """Compare everything anew: somebody else may have led meanwhile."""
        self._applied.clear()

    def awaits(self, surveyed: Surveyed) -> bool:
        """Whether a workload was just created whose first replicas can only be planned once it is seen."""
        now = self.clock.monotonic()
        self._created = {ref: at for ref, at in self._created.items() if now - at < CREATED_SECONDS}
        for ref in [ref for ref in self._created if ref in surveyed.scalables and surveyed.scalables[ref].observed]:
            del self._created[ref]
        return bool(self._created)

    def _keep_service(self, service: ServiceObject, surveyed: Surveyed, pools: Mapping[str, PoolSpec]) -> None:
        spec = service.spec
        if spec is None or spec.mode is Mode.OFF:
            return
        built = [
            (variant, _build(service, variant, pools[variant.pool], surveyed))
            for variant in spec.variants
            if variant.owned
        ]
        if self.read_only or spec.paused or spec.mode is not Mode.AUTO:
            return
        for variant in spec.variants:
            if not variant.owned:
                self._keep_adopted_cap(service, variant, surveyed)
        stale = [(variant, workload) for variant, workload in built if self._stale(variant, workload, surveyed)]
        maker = Maker(self.reader, self.writer)
        # All or nothing: every name must be free or ours, and the server accept every object, before one is written.
        looked = [
            (
                variant,
                workload,
                maker.look(self._objects(service, variant, workload)),
                self._cap(maker, service, variant, workload),
            )
            for variant, workload in stale
        ]
        changes = [
            (variant, workload, [*caps, *maker.rehearse(objects)]) for variant, workload, objects, caps in looked
        ]
        for variant, workload, objects in changes:
            for each in objects:
                maker.write(each)
                self._note(service, each)
            self._applied[str(variant.workload)] = (_digest(workload), self.clock.monotonic())

    def _note(self, service: ServiceObject, each: Looked) -> None:
        if each.live is None and each.wanted.first is not None:
            self._created[each.wanted.ref] = self.clock.monotonic()
        done = "created" if each.live is None else "corrected"
        LOGGER.info("%s %s", done, each.wanted.ref, extra={"service": str(service.key)})

    def _stale(self, variant: VariantSpec, built: OwnedWorkload, surveyed: Surveyed) -> bool:
        if variant.workload not in surveyed.scalables:
            return True
        key = (variant.workload.namespace, cap_name(variant.workload.name))
        if built.reads_cap and key not in surveyed.caps:
            return True
        digest, at = self._applied.get(str(variant.workload), ("", 0.0))
        return digest != _digest(built) or self.clock.monotonic() - at > self.refresh_seconds

    def _objects(self, service: ServiceObject, variant: VariantSpec, built: OwnedWorkload) -> list[Wanted]:
        claim = Claim(service.key, variant.name, service.uid)
        deployment = Wanted(built.deployment, claim, without_replicas_yet(built.deployment))
        return [deployment, Wanted(built.service, claim), Wanted(built.disruption_budget, claim)]

    def _cap(self, maker: Maker, service: ServiceObject, variant: VariantSpec, built: OwnedWorkload) -> list[Looked]:
        """The ConfigMap of an owned variant's cap if it has to be written: it must be there before the pods are."""
        if not built.reads_cap:
            return []
        document = cap_document(service, variant, initial_cap(variant.batching), "")
        claim = Claim(service.key, variant.name, service.uid)
        [cap_object] = maker.look([Wanted(cap_config_map(document), claim)])
        return _repaired(cap_object, document, claim)

    def _keep_adopted_cap(self, service: ServiceObject, variant: VariantSpec, surveyed: Surveyed) -> None:
        """An adopted workload that reads a ConfigMap of the name that pertoken gives gets it, if the name is free."""
        scalable = surveyed.scalables.get(variant.workload)
        if scalable is None or scalable.cap_key is None:
            return
        if scalable.cap_key.name != cap_name(variant.workload.name):
            return
        if (service.key.namespace, scalable.cap_key.name) in surveyed.caps:
            return
        document = cap_document(service, variant, initial_cap(variant.batching), scalable.uid)
        claim = claim_of(service, variant, scalable.uid)
        maker = Maker(self.reader, self.writer)
        try:
            [cap_object] = maker.look([Wanted(cap_config_map(document), claim)])
        except NameTaken:
            return  # a user's own cap: it is read and shown, and left alone
        for each in _repaired(cap_object, document, claim):
            maker.write(each)
            self._note(service, each)


def _build(service: ServiceObject, variant: VariantSpec, pool: PoolSpec, surveyed: Surveyed) -> OwnedWorkload:
    if service.spec is None:
        raise Refused("the spec was not accepted")
    template = service.templates[variant.name]
    claimed = _claimed(service, template, pool, surveyed)
    built = build_workload(WorkloadRequest(service.spec, variant, template, pool, service.orphan, claimed))
    if isinstance(built, Rejected):
        raise Refused(built.message)
    return built


def _claimed(service: ServiceObject, template: Json, pool: PoolSpec, surveyed: Surveyed) -> int | None:
    """Units of the pool that a template's claims stand for; None where that is not known."""
    accounts, pod = surveyed.accounts, template.get("spec")
    if accounts is None or not isinstance(pod, Mapping):
        return None
    nodes = [node.name for node in surveyed.snapshot.nodes if pool.selects(node.labels)]
    units = [accounts.of_use(service.key.namespace, use, pool.resource_name, nodes) for use in uses_of(pod)]
    known = [each for each in units if each is not None]
    return sum(known) if len(known) == len(units) else None


def _repaired(cap_object: Looked, document: CapDocument, claim: Claim) -> list[Looked]:
    """A cap that is not there, that lost its label or that holds no number; the value of one that does is kept."""
    if cap_object.live is None:
        return [cap_object]
    cap = _readable(cap_object.live)
    labelled = (cap_object.live["metadata"].get("labels") or {}).get(LABEL) == "pertoken"
    if cap is not None and labelled:
        return []
    return [Looked(Wanted(cap_config_map(replace(document, cap=cap or document.cap)), claim), cap_object.live)]


def _readable(config_map: Json) -> BatchCap | None:
    try:
        return parse_cap(config_map)
    except Malformed:
        return None


def _digest(built: OwnedWorkload) -> str:
    return hashlib.sha256(json.dumps(built.manifests, sort_keys=True).encode()).hexdigest()
