"""Keeping owned workloads in line with their templates, and batch caps in existence."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pertoken.api.batch_cap import CapDocument, cap_config_map, initial_cap, parse_cap
from pertoken.api.errors import Rejected
from pertoken.api.launch import CHUNK_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.api.ownership import OwnershipClaim
from pertoken.api.workloads import (
    OwnedWorkload,
    WorkloadRequest,
    build_workload,
    without_replicas_yet,
)
from pertoken.catalog.engines import DEFAULT_BATCHED_TOKENS
from pertoken.catalog.releases import batch_defaults, stated_release
from pertoken.control.cap_manifest import cap_document
from pertoken.control.caps import claim_of
from pertoken.control.claims import uses_of
from pertoken.control.gpus import whole_gpu
from pertoken.control.made import Looked, Maker, NameTaken, Wanted
from pertoken.control.objects import Refusal, ServiceObject
from pertoken.control.survey import Surveyed, faulty
from pertoken.control.workloads import ConfigKey, ScalableFact
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, VariantSpec
from pertoken.ports import (
    AdapterError,
    CatalogSource,
    Clock,
    ClusterReader,
    ClusterWriter,
    Forbidden,
    Json,
    Refused,
    Withheld,
)
from pertoken.raw.values import Malformed

LOGGER = logging.getLogger(__name__)
CREATED_SECONDS = 30.0  # how long a new workload is expected to show up
LABEL = "app.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class _Built:
    """An owned variant's objects with what they were made from; `digest` is of the manifests."""

    request: WorkloadRequest
    workload: OwnedWorkload
    digest: str


@dataclass(frozen=True, slots=True)
class _Form:
    """One owned variant's objects.

    Attributes:
        newest: as this version makes them.
        form: as they shall be now.
    """

    variant: VariantSpec
    newest: _Built
    form: OwnedWorkload


@dataclass(slots=True)
class Keeper:
    """Creates and corrects what pertoken owns. Services that do not act are only checked, nothing is sent for them.

    Attributes:
        writer: fenced.
        catalog: knows the pools' GPUs, and so what engines run with by default.
        refresh_seconds: an object that looks right is compared again after this time, which undoes foreign edits.
    """

    reader: ClusterReader
    writer: ClusterWriter
    clock: Clock
    catalog: CatalogSource
    read_only: bool = False
    refresh_seconds: float = 300.0
    _applied: dict[str, tuple[str, float]] = field(default_factory=dict)
    _created: dict[WorkloadRef, float] = field(default_factory=dict)
    _built: dict[WorkloadRef, _Built] = field(default_factory=dict)

    def keep(self, surveyed: Surveyed) -> tuple[Refusal, ...]:
        """Bring every owned workload and every cap into being; returns the services that cannot have theirs."""
        refusals = []
        owned = {each.workload for service in surveyed.services if service.spec for each in service.spec.variants}
        self._built = {ref: built for ref, built in self._built.items() if ref in owned}
        for service in surveyed.services:
            if service.uid in surveyed.doubts:
                continue
            try:
                self._keep_service(service, surveyed)
            except NameTaken as error:
                refusals.append(Refusal(service.uid, Reason.NAME_TAKEN, str(error)))
            except Refused as error:
                refusals.append(Refusal(service.uid, Reason.TEMPLATE_REJECTED, str(error)))
            except Forbidden as error:
                refusals += self._forbidden(service, surveyed, error)
            except Withheld:
                continue
            except AdapterError as error:
                LOGGER.warning("%s: owned objects are not up to date: %s", service.key, error)
            except Exception as error:  # noqa: BLE001 - one bad service must not fail the cycle
                refusals.append(faulty(service, error))
        return tuple(refusals)

    @staticmethod
    def _forbidden(service: ServiceObject, surveyed: Surveyed, error: Forbidden) -> list[Refusal]:
        """What is there goes on being scaled; what cannot be made is told."""
        variants = service.spec.variants if service.spec else ()
        if all(variant.workload in surveyed.scalables for variant in variants if variant.owned):
            LOGGER.warning("%s: owned objects are not up to date: %s", service.key, error)
            return []
        namespace = service.key.namespace
        words = (
            f"pertoken may not make workloads in namespace {namespace}: bind the chart's ClusterRole pertoken-owned to "
            f"its service account there (ownedNamespaces of the chart, or a RoleBinding); {error}"
        )
        return [Refusal(service.uid, Reason.NAMESPACE_NOT_ENABLED, words)]

    def released(self, surveyed: Surveyed) -> frozenset[str]:
        """Uids of the services that may be deleted without what they own: nothing made for them has them as its owner.

        Asked for by deletionPolicy Orphan; an admission policy refuses the deletion until it is told. Of a service that
        does not act nothing is written, so that only what its Deployments show counts; so it is for one that cannot be
        read.
        """
        controlled = {fact.maker for fact in surveyed.scalables.values()}
        accepted = {service.uid for service in surveyed.services}
        return frozenset(
            service.uid
            for service in surveyed.snapshot.services
            if (service.orphan or service.spec is None)
            and service.uid not in controlled
            and (service.uid not in accepted or self._written(service))
        )

    def _written(self, service: ServiceObject) -> bool:
        spec = service.spec
        if spec is None or self.read_only or spec.paused or spec.mode is not Mode.AUTO:
            return True
        refs = [variant.workload for variant in spec.variants if variant.owned]
        return all(
            ref in self._built and self._applied.get(str(ref), ("", 0.0))[0] == self._built[ref].digest for ref in refs
        )

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

    def _keep_service(self, service: ServiceObject, surveyed: Surveyed) -> None:
        spec = service.spec
        if spec is None or spec.mode is Mode.OFF:
            return
        built = [(variant, self._newest(service, variant, surveyed)) for variant in spec.variants if variant.owned]
        if self.read_only or spec.paused or spec.mode is not Mode.AUTO:
            return
        for variant in spec.variants:
            if not variant.owned:
                self._keep_adopted_cap(service, variant, surveyed)
        maker = Maker(self.reader, self.writer)
        forms = [
            self._form(maker, service, _Form(variant, newest, newest.workload), surveyed)
            for variant, newest in built
            if self._stale(variant, newest, surveyed)
        ]
        # All or nothing: every name must be free or ours, and the server accept every object, before one is written.
        looked = [(form, maker.look(_objects(service, form)), _cap(maker, service, form)) for form in forms]
        changes = [(form, [*caps, *maker.rehearse(objects)]) for form, objects, caps in looked]
        for form, objects in changes:
            for each in objects:
                maker.write(each)
                self._note(service, each)
            self._applied[str(form.variant.workload)] = (form.newest.digest, self.clock.monotonic())

    def _note(self, service: ServiceObject, each: Looked) -> None:
        if each.live is None and each.wanted.first is not None:
            self._created[each.wanted.ref] = self.clock.monotonic()
        done = "created" if each.live is None else "corrected"
        LOGGER.info("%s %s", done, each.wanted.ref, extra={"service": str(service.key)})

    def _stale(self, variant: VariantSpec, built: _Built, surveyed: Surveyed) -> bool:
        if variant.workload not in surveyed.scalables:
            return True
        key = (variant.workload.namespace, cap_name(variant.workload.name))
        if built.workload.reads_cap and key not in surveyed.caps:
            return True
        digest, at = self._applied.get(str(variant.workload), ("", 0.0))
        return digest != built.digest or self.clock.monotonic() - at > self.refresh_seconds

    def _form(self, maker: Maker, service: ServiceObject, form: _Form, surveyed: Surveyed) -> _Form:
        """With the form of an earlier version while nothing else has changed: no restart for an upgrade's sake."""
        scalable, newest = surveyed.scalables.get(form.variant.workload), form.newest.workload
        if scalable is None:
            return form
        chunked = newest.chunk is None or scalable.launch.reads_chunk
        if chunked and (newest.allocated is None or scalable.launch.admits):
            return form
        claim = OwnershipClaim(service.key, form.variant.name, service.uid)
        for chunk in (True, False):
            older = _build(replace(form.newest.request, chunk=chunk, admission=False))
            [looked] = maker.look([Wanted(older.deployment, claim)])
            if not maker.would_roll(looked):
                return replace(form, form=older)
        return form

    def _newest(self, service: ServiceObject, variant: VariantSpec, surveyed: Surveyed) -> _Built:
        """The variant's objects as this version makes them: those of the last time while nothing in them changed."""
        if service.spec is None:
            raise Refused("the spec was not accepted")
        template, pool = service.templates[variant.name], _pool(variant, surveyed)
        claimed = _claimed(service, template, pool, surveyed)
        gpu = whole_gpu(pool, self.catalog.catalog())
        request = WorkloadRequest(service.spec, variant, template, pool, service.orphan, claimed, gpu)
        built = self._built.get(variant.workload)
        if built is None or built.request != request:
            workload = _build(request)
            built = self._built[variant.workload] = _Built(request, workload, _digest(workload))
        return built

    def _keep_adopted_cap(self, service: ServiceObject, variant: VariantSpec, surveyed: Surveyed) -> None:
        """An adopted workload that reads a ConfigMap of the name that pertoken gives gets it, if the name is free."""
        scalable = surveyed.scalables.get(variant.workload)
        if scalable is None or scalable.cap_key is None:
            return
        if scalable.cap_key.name != cap_name(variant.workload.name):
            return
        chunk = self._first_chunk(variant, scalable, surveyed)
        there = surveyed.caps.get((service.key.namespace, scalable.cap_key.name))
        if there is not None and (chunk is None or there.cap.chunk is not None):
            return
        document = cap_document(service, variant, initial_cap(variant.batching, chunk), scalable.uid)
        claim = claim_of(service, variant, scalable.uid)
        maker = Maker(self.reader, self.writer)
        try:
            [looked] = maker.look([Wanted(cap_config_map(document), claim)])
        except NameTaken:
            return  # a user's own cap: it is read and shown, and left alone
        for each in _repaired(looked, document, claim):
            maker.write(each)
            self._note(service, each)

    def _first_chunk(self, variant: VariantSpec, scalable: ScalableFact, surveyed: Surveyed) -> int | None:
        """Tokens per step for engines that ask pertoken's ConfigMap for them; None if they do not."""
        if scalable.cap_key is None or scalable.chunk_key != ConfigKey(scalable.cap_key.name, CHUNK_VARIABLE):
            return None
        release = stated_release(variant.engine.value, variant.engine_version) or scalable.launch.release
        gpu = whole_gpu(_pool(variant, surveyed), self.catalog.catalog())
        row = None if release is None else batch_defaults(release, gpu)
        usual = None if row is None else row.batched_tokens
        return variant.batching.max_batched_tokens or usual or DEFAULT_BATCHED_TOKENS


def _build(request: WorkloadRequest) -> OwnedWorkload:
    workload = build_workload(request)
    if isinstance(workload, Rejected):
        raise Refused(workload.message)
    return workload


def _pool(variant: VariantSpec, surveyed: Surveyed) -> PoolSpec:
    return next(pool.spec for pool in surveyed.pools if pool.name == variant.pool and pool.spec is not None)


def _objects(service: ServiceObject, form: _Form) -> list[Wanted]:
    claim, workload = OwnershipClaim(service.key, form.variant.name, service.uid), form.form
    deployment = Wanted(workload.deployment, claim, without_replicas_yet(workload.deployment))
    return [deployment, Wanted(workload.service, claim), Wanted(workload.disruption_budget, claim)]


def _cap(maker: Maker, service: ServiceObject, form: _Form) -> list[Looked]:
    """The ConfigMap of an owned variant's cap if it has to be written: it must be there before the pods are."""
    if not form.form.reads_cap:
        return []
    first = initial_cap(form.variant.batching, form.form.chunk)
    document = cap_document(service, form.variant, first, "")
    claim = OwnershipClaim(service.key, form.variant.name, service.uid)
    [looked] = maker.look([Wanted(cap_config_map(document), claim)])
    return _repaired(looked, document, claim, form.form.allocated)


def _claimed(service: ServiceObject, template: Json, pool: PoolSpec, surveyed: Surveyed) -> int | None:
    """Units of the pool that a template's claims stand for; None where that is not known."""
    accounts, pod = surveyed.accounts, template.get("spec")
    if accounts is None or not isinstance(pod, Mapping):
        return None
    uses = list(uses_of(pod))
    if not uses:
        return 0
    nodes = [node.name for node in surveyed.snapshot.nodes if pool.selects(node.labels)]
    units = [accounts.of_use(service.key.namespace, use, pool.resource_name, nodes) for use in uses]
    known = [each for each in units if each is not None]
    return sum(known) if len(known) == len(units) else None


def _repaired(
    cap_object: Looked, document: CapDocument, claim: OwnershipClaim, allocated: int | None = None
) -> list[Looked]:
    """A cap that is not there, that lost its label, or lacks a number; the numbers that are there are kept.

    But an engine starts neither with a cap above the sequences that it makes buffers for, nor with a chunk below.
    """
    if cap_object.live is None:
        return [cap_object]
    cap = _readable(cap_object.live)
    labelled = (cap_object.live["metadata"].get("labels") or {}).get(LABEL) == "pertoken"
    first = document.cap.chunk
    if cap is not None and cap.chunk is None and first is not None:
        cap, labelled = replace(cap, chunk=max(first, cap.value)), False
    if cap is not None and allocated is not None:
        chunk = None if cap.chunk is None else max(cap.chunk, allocated)
        fitting = replace(cap, value=min(cap.value, allocated), chunk=chunk)
        cap, labelled = fitting, labelled and fitting == cap
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
