"""What `Accepted` says of specs that are valid but cannot be right: engines, GPUs and objectives beside the spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pertoken.api.contradictions import argument_errors, foreign_gpus, impossible_objectives
from pertoken.catalog.lookup import Catalog
from pertoken.control.gpus import product_of
from pertoken.control.workloads import ScalableFact
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ServiceSpec
from pertoken.domain.world import SpecDoubt


@dataclass(frozen=True, slots=True)
class Evidence:
    """What specs are held against.

    Attributes:
        pods: resolved, by workload.
        nodes: all of them by name.
    """

    scalables: Mapping[WorkloadRef, ScalableFact]
    pools: Mapping[str, PoolSpec]
    pods: Mapping[WorkloadRef, Sequence[PodFact]]
    nodes: Mapping[str, NodeFact]
    catalog: Catalog


@dataclass(slots=True)
class Truth:
    """Judges specs; what depends on nothing but manifests is worked out once for each."""

    _kept: dict[str, tuple[tuple[Any, ...], tuple[SpecDoubt, ...]]] = field(default_factory=dict)

    def doubts(self, spec: ServiceSpec, evidence: Evidence) -> tuple[SpecDoubt, ...]:
        """The gravest first: on which GPUs pods run, what engines are told, which objectives nothing keeps."""
        # Of a target only what is read: its status changes with every pod.
        targets = [evidence.scalables.get(variant.workload) for variant in spec.variants]
        read = (
            spec,
            evidence.catalog,
            *(None if target is None else (target.ref, target.pods, target.serving) for target in targets),
            *(evidence.pools.get(variant.pool) for variant in spec.variants),
        )
        known = self._kept.get(spec.uid)
        if known is None or known[0] != read:
            known = self._kept[spec.uid] = (read, tuple(_of_manifests(spec, evidence)))
        return (*_of_pods(spec, evidence), *known[1])

    def keep(self, uids: set[str]) -> None:
        """Forget all services but these."""
        self._kept = {uid: known for uid, known in self._kept.items() if uid in uids}


def _of_manifests(spec: ServiceSpec, evidence: Evidence) -> Iterator[SpecDoubt]:
    for index, variant in enumerate(spec.variants):
        scalable, pool = evidence.scalables.get(variant.workload), evidence.pools.get(variant.pool)
        if scalable is None or pool is None:
            continue
        gpus = scalable.requests.get(pool.resource_name, 0)
        for error in argument_errors(spec, index, scalable.serving, gpus):
            yield SpecDoubt(Reason.ARGUMENTS_CONTRADICT, f"{scalable.ref}: {error}")
    for impossible in impossible_objectives(spec, evidence.pools, evidence.catalog):
        yield SpecDoubt(Reason.OBJECTIVE_IMPOSSIBLE, str(impossible.error))


def _of_pods(spec: ServiceSpec, evidence: Evidence) -> Iterator[SpecDoubt]:
    for variant in spec.variants:
        pool = evidence.pools.get(variant.pool)
        if pool is None:
            continue
        hosts = [evidence.nodes.get(pod.node or "") for pod in evidence.pods.get(variant.workload, ()) if not pod.ended]
        products = Counter(product for node in hosts if node is not None and (product := product_of(node.labels)))
        words = foreign_gpus(pool, products, evidence.catalog)
        if words:
            yield SpecDoubt(Reason.GPU_MISMATCH, f"variant {variant.name}: {words}")
