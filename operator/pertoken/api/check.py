"""Everything that can be said of manifests without a cluster, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from pertoken.api.capacityplan import AcceptedPlan, translate_plan
from pertoken.api.contradictions import argument_errors, impossible_objectives
from pertoken.api.errors import FieldError, Rejected, nearest
from pertoken.api.modelroute import AcceptedRoute, translate_route
from pertoken.api.serving import read_serving
from pertoken.api.source import Document, NotYaml, read_documents
from pertoken.api.translate import AcceptedPool, AcceptedService, translate_pool, translate_service
from pertoken.api.v1alpha1 import (
    ACCELERATOR_POOL_KIND,
    API_VERSION,
    CAPACITY_PLAN_KIND,
    GROUP,
    INFERENCE_SERVICE_KIND,
    KIND_NAMES,
    MODEL_ROUTE_KIND,
)
from pertoken.api.workloads import WorkloadRequest, build_workload, requested
from pertoken.capacity.spec import PlanSpec
from pertoken.catalog.architecture import Incomplete, read_facts
from pertoken.catalog.lookup import HIDDEN_QUANTIZATION, Catalog, Unknown, hides_quantization
from pertoken.catalog.models import Model
from pertoken.domain.pool import PoolSpec
from pertoken.domain.route import RouteSpec
from pertoken.domain.service import ModelSpec, ServiceSpec
from pertoken.raw.values import shown, whole_number

# Stands in for a pool that is not in the files: nothing is known of its nodes and resource.
_UNKNOWN_POOL: Final = PoolSpec(name="", accelerator="", resource_name="")
Accepted = AcceptedService | AcceptedPool | AcceptedPlan | AcceptedRoute
_TRANSLATORS: Final[Mapping[str, Callable[[Mapping[str, Any]], Accepted | Rejected]]] = {
    INFERENCE_SERVICE_KIND: translate_service,
    ACCELERATOR_POOL_KIND: translate_pool,
    CAPACITY_PLAN_KIND: translate_plan,
    MODEL_ROUTE_KIND: translate_route,
}


class Severity(StrEnum):
    """An error makes the answer "no"; a warning is worth knowing; a note says what was not looked at."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    severity: Severity
    file: str
    line: int
    object: str
    field: str
    value: Any
    expectation: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        mark = "" if self.severity is Severity.ERROR else f"{self.severity.value}: "
        parts = [where, mark + self.object]
        if self.field:
            parts += [self.field, shown(self.value)]
        return ": ".join([*(part for part in parts if part), self.expectation])


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a set of files, the accepted objects, and raw objects of other projects' kinds."""

    findings: tuple[Finding, ...]
    services: tuple[AcceptedService, ...]
    pools: tuple[AcceptedPool, ...]
    plans: tuple[AcceptedPlan, ...] = ()
    others: tuple[Mapping[str, Any], ...] = ()
    routes: tuple[AcceptedRoute, ...] = ()

    @property
    def ok(self) -> bool:
        """No errors."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def check(sources: Mapping[str, str], catalog: Catalog) -> Checked:
    """Check manifest texts, by file name, as one set; GPUs and models are looked up in the catalog."""
    findings: list[Finding] = []
    services: list[tuple[Document, AcceptedService]] = []
    pools: list[tuple[Document, AcceptedPool]] = []
    plans: list[tuple[Document, AcceptedPlan]] = []
    routes: list[tuple[Document, AcceptedRoute]] = []
    others: list[Mapping[str, Any]] = []
    for document in (each for file, text in sources.items() for each in read_documents(file, text)):
        if isinstance(document, NotYaml):
            findings.append(Finding(Severity.ERROR, document.file, document.line, "", "", None, document.why))
            continue
        accepted = _read(document, findings)
        if isinstance(accepted, AcceptedService):
            services.append((document, accepted))
        elif isinstance(accepted, AcceptedPool):
            pools.append((document, accepted))
        elif isinstance(accepted, AcceptedPlan):
            plans.append((document, accepted))
        elif isinstance(accepted, AcceptedRoute):
            routes.append((document, accepted))
        elif not _ours(document.obj):
            others.append(document.obj)
    findings += _together(services, pools, plans, routes, catalog)
    findings += _twice([document for document, _ in (*services, *pools, *plans, *routes)])
    order = {file: number for number, file in enumerate(sources)}
    findings.sort(key=lambda finding: (order[finding.file], finding.line, finding.field))
    return Checked(
        tuple(findings),
        tuple(accepted for _, accepted in services),
        tuple(accepted for _, accepted in pools),
        tuple(accepted for _, accepted in plans),
        tuple(others),
        tuple(accepted for _, accepted in routes),
    )


def _together(
    services: Sequence[tuple[Document, AcceptedService]],
    pools: Sequence[tuple[Document, AcceptedPool]],
    plans: Sequence[tuple[Document, AcceptedPlan]],
    routes: Sequence[tuple[Document, AcceptedRoute]],
    catalog: Catalog,
) -> Iterator[Finding]:
    """What is to be said of accepted objects beside each other."""
    pool_specs = [pool.spec for _, pool in pools]
    for pool_document, pool in pools:
        yield from _pool_findings(pool_document, pool, catalog)
    for service_document, service in services:
        yield from _model_findings(service_document, service.spec.model, catalog)
        yield from _contradictions(service_document, service, pool_specs, catalog)
        yield from _service_findings(service_document, service, pool_specs)
    for plan_document, plan in plans:
        yield from _plan_findings(plan_document, plan.spec, pool_specs)
    for route_document, route in routes:
        yield from _route_findings(route_document, route.spec, [service.spec for _, service in services])


def _read(document: Document, findings: list[Finding]) -> Accepted | None:
    findings += [_finding(document, error) for error in document.duplicates]
    wrong = _header_error(document.obj)
    if wrong is not None:
        findings.append(_finding(document, wrong))
        return None
    kind = document.obj.get("kind")
    translate = _TRANSLATORS.get(str(kind)) if _ours(document.obj) else None
    if translate is None:
        findings.append(_note(document, f"not checked: no kind of {GROUP}"))
        return None
    result = translate(document.obj)
    if isinstance(result, Rejected):
        findings += [_finding(document, error) for error in result.errors]
        return None
    return result


def _ours(obj: Mapping[str, Any]) -> bool:
    return bool(obj.get("apiVersion") == API_VERSION)


def _header_error(obj: Mapping[str, Any]) -> FieldError | None:
    """A wrong apiVersion or kind of an object that is meant to be ours."""
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(version, str) or not version:
        return FieldError("apiVersion", version, f"required, {API_VERSION} for {' and '.join(KIND_NAMES)}")
    if not isinstance(kind, str) or not kind:
        return FieldError("kind", kind, f"required, one of {', '.join(KIND_NAMES)}")
    if _ours(obj):
        if kind in KIND_NAMES:
            return None
        near = nearest(kind, KIND_NAMES)
        return FieldError(
            "kind", kind, f"unknown kind; did you mean {near}?" if near else f"one of {', '.join(KIND_NAMES)}"
        )
    misspelt = "pertoken" in version or (kind in KIND_NAMES and "kserve" not in version)
    return FieldError("apiVersion", version, API_VERSION) if misspelt else None


def _finding(document: Document, error: FieldError, severity: Severity = Severity.ERROR) -> Finding:
    line = document.line(error.path)
    return Finding(severity, document.file, line, document.title, error.path, error.value, error.expectation)


def _note(document: Document, text: str) -> Finding:
    return Finding(Severity.NOTE, document.file, document.line(), document.title, "", None, text)


def _warning(document: Document, path: str, value: Any, text: str) -> Finding:
    return _finding(document, FieldError(path, value, text), Severity.WARNING)


def _inert(document: Document, paths: Sequence[str]) -> Iterator[Finding]:
    for path in paths:
        yield _warning(document, path, "set", "taken, but this version does not act on it")


def _pool_findings(document: Document, pool: AcceptedPool, catalog: Catalog) -> Iterator[Finding]:
    gpu = catalog.gpu(pool.spec.accelerator)
    if isinstance(gpu, Unknown):
        yield _warning(document, "spec.accelerator", pool.spec.accelerator, f"{gpu}; the administrator may add it")
    if pool.spec.price_per_gpu_hour is None:
        yield _warning(document, "spec.pricePerGPUHour", None, "without a price no cost is known")
    yield from _inert(document, pool.not_acted_on)


def _plan_findings(document: Document, plan: PlanSpec, pools: Sequence[PoolSpec]) -> Iterator[Finding]:
    by_name = {pool.name: pool for pool in pools}
    for index, entry in enumerate(plan.offers):
        path, pool = f"spec.pools[{index}]", by_name.get(entry.pool)
        if pool is None:
            yield _warning(document, f"{path}.pool", entry.pool, "an AcceleratorPool; the files hold none of this name")
        own = None if pool is None else pool.price_per_gpu_hour
        hourly = own if entry.on_demand_usd is None else entry.on_demand_usd
        if hourly is None:
            yield _warning(document, f"{path}.onDemand", None, "without a price by the hour nothing can be bought")
            continue
        dear = f"below the price by the hour, {hourly}: it is never bought"
        for number, (offer, _) in enumerate(entry.reserved):
            if offer.usd_per_gpu_hour >= hourly:
                where = f"{path}.reserved[{number}].pricePerGPUHour"
                yield _warning(document, where, str(offer.usd_per_gpu_hour), dear)
        if entry.spot is not None and entry.spot.usd_per_gpu_hour >= hourly:
            yield _warning(document, f"{path}.spot.pricePerGPUHour", str(entry.spot.usd_per_gpu_hour), dear)


def _route_findings(document: Document, route: RouteSpec, services: Sequence[ServiceSpec]) -> Iterator[Finding]:
    by_key = {service.key: service for service in services}
    for index, tier in enumerate(route.tiers):
        if tier.service is None:
            continue
        path, service = f"spec.tiers[{index}]", by_key.get(tier.service)
        if service is None:
            words = "an InferenceService of its namespace; the files hold none of this name"
            yield _warning(document, f"{path}.service", tier.service.name, words)
            continue
        if route.served_name and service.model.served_name != route.served_name:
            words = (
                f"{tier.service.name} must answer to this name, but its model.servedName is {service.model.served_name}"
            )
            yield _finding(document, FieldError("spec.servedModelName", route.served_name, words))
        names = [variant.name for variant in service.variants]
        for place, backend in enumerate(tier.backends):
            if backend.variant and backend.variant not in names:
                words = f"a variant of {tier.service.name}: {', '.join(names)}"
                yield _finding(document, FieldError(f"{path}.backends[{place}].variant", backend.variant, words))


def _model_findings(document: Document, model: ModelSpec, catalog: Catalog) -> Iterator[Finding]:
    if model.architecture is not None:
        yield from _architecture_findings(document, read_facts(model.id or model.served_name, model.architecture))
    if model.id and model.architecture is None:
        known = catalog.model(model.id)
        if isinstance(known, Unknown):
            yield _warning(document, "spec.model.id", model.id, f"{known}; give model.architecture")
        elif hides_quantization(model.id):
            yield _warning(document, "spec.model.id", model.id, HIDDEN_QUANTIZATION)


def _architecture_findings(document: Document, row: Model | Incomplete) -> Iterator[Finding]:
    path = "spec.model.architecture"
    if isinstance(row, Incomplete):
        yield _warning(document, path, None, f"{row.why}; until then replicas follow the engines' saturation")
        return
    for doubt in row.doubts:
        yield _warning(document, path, None, doubt)


def _service_findings(document: Document, service: AcceptedService, pools: Sequence[PoolSpec]) -> Iterator[Finding]:
    spec = service.spec
    by_name = {pool.name: pool for pool in pools}
    for index, variant in enumerate(spec.variants):
        if variant.pool not in by_name:
            path = f"spec.variants[{index}].pool"
            yield _warning(document, path, variant.pool, "an AcceleratorPool; the files hold none of this name")
    yield from _inert(document, service.not_acted_on)
    yield from (_finding(document, error) for error in _template_errors(spec, service, by_name))


def _template_errors(
    spec: ServiceSpec, service: AcceptedService, pools: Mapping[str, PoolSpec]
) -> Iterator[FieldError]:
    for variant in spec.variants:
        if not variant.owned:
            continue
        pool = pools.get(variant.pool, replace(_UNKNOWN_POOL, name=variant.pool))
        built = build_workload(WorkloadRequest(spec, variant, service.templates[variant.name], pool))
        if isinstance(built, Rejected):
            yield from built.errors


def _contradictions(
    document: Document, service: AcceptedService, pools: Sequence[PoolSpec], catalog: Catalog
) -> Iterator[Finding]:
    """What a template's engine is told otherwise than the spec, and objectives that nothing keeps."""
    spec, by_name = service.spec, {pool.name: pool for pool in pools}
    for index, variant in enumerate(spec.variants):
        template = service.templates.get(variant.name)
        if template is None:
            continue
        pod = template.get("spec") or {}
        container: Mapping[str, Any] = next(
            (each for each in pod.get("containers") or () if each.get("name") == "engine"), {}
        )
        serving = read_serving(container, template.get("metadata") or {})
        pool = by_name.get(variant.pool)
        gpus = 0 if pool is None else _gpus(pod, pool.resource_name)
        yield from (_finding(document, error) for error in argument_errors(spec, index, serving, gpus))
    for impossible in impossible_objectives(spec, by_name, catalog):
        severity = Severity.ERROR if impossible.certain else Severity.WARNING
        yield _finding(document, impossible.error, severity)


def _gpus(pod: Mapping[str, Any], resource: str) -> int:
    """Of a template's pod; amounts that are no counts are told elsewhere."""
    asked = (whole_number(requested(dict(container), resource)) for container in pod.get("containers") or ())
    return sum(count or 0 for count in asked)


def _twice(documents: Sequence[Document]) -> Iterator[Finding]:
    first: dict[str, Document] = {}
    for document in documents:
        before = first.setdefault(document.title, document)
        if before is not document:
            error = FieldError("metadata.name", None, f"once: also in {before.file}:{before.line()}")
            yield _finding(document, replace(error, value=document.obj["metadata"]["name"]))
