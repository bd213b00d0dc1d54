"""Workloads that pertoken made for variants which a service no longer has: which are to go, which are left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pertoken.api.naming import workload_name
from pertoken.api.ownership import SERVICE_LABEL, VARIANT_LABEL
from pertoken.control.objects import ServiceObject
from pertoken.control.workloads import MANAGED_BY, ScalableFact, Surroundings, workload_fact
from pertoken.domain.cluster import PodFact, WorkloadFact
from pertoken.domain.identity import WorkloadRef


@dataclass(frozen=True, slots=True)
class RetiredTarget:
    """One of them.

    Attributes:
        fact: None where the workload itself is gone and only pods of it are left, or were lately.
        pods: those that no longer have a workload.
    """

    ref: WorkloadRef
    fact: ScalableFact | None = None
    pods: tuple[PodFact, ...] = ()


def unowned_by(pod: PodFact, scalables: Mapping[WorkloadRef, ScalableFact]) -> tuple[str, str] | None:
    """Namespace and name of the service for which a pod was made whose Deployment is gone; None for all others.

    The labels are the template's. They are believed only of pods of a ReplicaSet that is named after the workload.
    """
    name, variant = pod.labels.get(SERVICE_LABEL), pod.labels.get(VARIANT_LABEL)
    if not name or not variant or pod.labels.get(MANAGED_BY) != "pertoken" or pod.workload is None:
        return None
    namespace, made = pod.key.namespace, workload_name(name, variant)
    if WorkloadRef("apps/v1", "Deployment", namespace, made) in scalables:
        return None
    maker = pod.workload.name if pod.workload.kind == "Deployment" else pod.workload.name.rpartition("-")[0]
    return (namespace, name) if maker == made else None


def retired_targets(
    service: ServiceObject, made: Iterable[ScalableFact], unowned: Iterable[PodFact]
) -> tuple[RetiredTarget, ...]:
    """What is to be removed, by name: controlled by this very InferenceService, and of no variant of it."""
    if service.spec is None:
        return ()
    targets = {variant.workload for variant in service.spec.variants}
    there = [RetiredTarget(fact.ref, fact) for fact in made if fact.ref not in targets and fact.maker == service.uid]
    gone: dict[WorkloadRef, list[PodFact]] = {}
    for pod in unowned:
        name = workload_name(pod.labels[SERVICE_LABEL], pod.labels[VARIANT_LABEL])
        ref = WorkloadRef("apps/v1", "Deployment", pod.key.namespace, name)
        if ref not in targets:
            gone.setdefault(ref, []).append(pod)
    there += [RetiredTarget(ref, pods=tuple(pods)) for ref, pods in gone.items()]
    return tuple(sorted(there, key=lambda target: str(target.ref)))


def retired_fact(target: RetiredTarget, around: Surroundings) -> WorkloadFact:
    """The workload with its replicas and GPUs; one that is gone as what is being deleted."""
    if target.fact is not None:
        return workload_fact(target.fact, around)
    gpus = max((pod.requests.get(around.resource, 0) for pod in target.pods), default=0)
    return WorkloadFact(target.ref, "", 0, gpus, deleting=True)


def left_behind(service: ServiceObject, made: Iterable[ScalableFact]) -> tuple[str, ...]:
    """Workloads of such variants that still ask for replicas and that the service does not control (Orphan)."""
    targets = {variant.workload for variant in service.spec.variants} if service.spec else set()
    return tuple(
        sorted(
            f"{fact.ref} ({fact.replicas} replicas)"
            for fact in made
            if fact.ref not in targets and fact.replicas > 0 and fact.maker != service.uid
        )
    )
