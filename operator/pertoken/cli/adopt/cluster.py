"""What `pertoken adopt` and `pertoken doctor` read of a cluster: whole lists, parsed as the operator parses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pertoken.adapters.kube.reader import KubeReader
from pertoken.api.errors import Rejected
from pertoken.api.translate import translate_pool
from pertoken.control.facts import by_name, node_fact, pod_fact, replicaset_fact, resolve_pods
from pertoken.control.targets import Target, target_of
from pertoken.control.workloads import AutoscalerFact, autoscaler_fact
from pertoken.domain.cluster import NodeFact, PodFact
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.ports import AdapterError, Json, NotFound

WORKLOADS: Final = ("deployments", "statefulsets", "leaderworkersets")
# Without these nothing can be said at all; of the others it is told what was not seen.
NEEDED: Final = frozenset({"pods", "deployments"})
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What runs, and what of pertoken's is there already.

    Attributes:
        workloads: raw objects of the kinds that may be adopted.
        adopted: InferenceService by the workload that one of its variants names.
        services, pools: names that are taken, as `namespace/name` and as `name`.
        limits: replicas at least and at most by autoscaler's name.
        unseen: what could not be read, one line each.
    """

    workloads: tuple[Json, ...] = ()
    pods: tuple[PodFact, ...] = ()
    nodes: tuple[NodeFact, ...] = ()
    autoscalers: tuple[AutoscalerFact, ...] = ()
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    adopted: Mapping[Target, str] = field(default_factory=dict)
    services: frozenset[str] = frozenset()
    pools: tuple[PoolSpec, ...] = ()
    pool_names: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()


def read_view(reader: KubeReader) -> ClusterView:
    """Everything in the reader's namespaces.

    Raises:
        AdapterError: pods or Deployments cannot be listed.
    """
    unseen: list[str] = []

    def listed(plural: str) -> Sequence[Json]:
        try:
            return reader.list(plural).items
        except NotFound:  # not installed
            return ()
        except AdapterError as error:
            if plural in NEEDED:
                raise
            unseen.append(f"{plural} cannot be listed: {error}")
            return ()

    replicasets = by_name(_parsed(listed("replicasets"), replicaset_fact, unseen))
    pods = [pod for pod in _parsed(listed("pods"), pod_fact, unseen) if pod is not None]
    autoscalers = listed("horizontalpodautoscalers")
    services, pools = listed("inferenceservices"), listed("acceleratorpools")
    accepted = [translate_pool(pool) for pool in pools]
    facts = [(item, fact) for item in autoscalers for fact in _parsed([item], autoscaler_fact, unseen)]
    return ClusterView(
        workloads=tuple(item for plural in WORKLOADS for item in listed(plural)),
        pods=resolve_pods(pods, replicasets),
        nodes=tuple(_parsed(listed("nodes"), node_fact, unseen)),
        autoscalers=tuple(fact for _, fact in facts),
        limits={fact.name: _limits(item) for item, fact in facts},
        adopted=_adopted(services),
        services=frozenset(f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in services),
        pools=tuple(pool.spec for pool in accepted if not isinstance(pool, Rejected)),
        pool_names=frozenset(pool["metadata"]["name"] for pool in pools),
        unseen=tuple(dict.fromkeys(unseen)),
    )


def _parsed(items: Iterable[Json], parse: Callable[[Json], Parsed], unseen: list[str]) -> list[Parsed]:
    """Objects as facts; one that cannot be read is told and left out."""
    facts = []
    for item in items:
        try:
            facts.append(parse(item))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            meta: Mapping[str, Any] = item.get("metadata") or {}
            unseen.append(f"{item.get('kind')} {meta.get('namespace', '')}/{meta.get('name')} cannot be read: {error}")
    return facts


def _limits(autoscaler: Json) -> tuple[int, int]:
    spec = autoscaler.get("spec") or {}
    return int(spec.get("minReplicas") or 1), int(spec.get("maxReplicas") or 1)


def _adopted(services: Iterable[Json]) -> dict[Target, str]:
    """Which service holds a workload: what its variants name, read without the checks that a spec has to pass."""
    holders: dict[Target, str] = {}
    for service in services:
        meta = service["metadata"]
        for variant in (service.get("spec") or {}).get("variants") or ():
            ref = variant.get("scaleTargetRef")
            if not ref:
                continue
            workload = WorkloadRef(
                ref.get("apiVersion", "apps/v1"), ref.get("kind", "Deployment"), meta["namespace"], ref["name"]
            )
            holders.setdefault(target_of(workload), f"{meta['namespace']}/{meta['name']}")
    return holders
