"""`pertoken plan --from-cluster`: the question from the cluster, the answer into the plan's status."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import typer

from pertoken.adapters.clock import SystemClock
from pertoken.adapters.kube.client import APPLY_PATCH, ApiRequest, ClientOptions, KubeClient
from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.resources import GROUP, Resource
from pertoken.adapters.prometheus.demand import read_demand
from pertoken.adapters.prometheus.history import HistoryUnavailable
from pertoken.adapters.prometheus.profile import ProfileError
from pertoken.api.capacityplan import translate_plan
from pertoken.api.check import Checked
from pertoken.api.errors import Rejected
from pertoken.api.kinds import CAPACITY_PLAN
from pertoken.api.plan_status import Planned, failed_plan_status, plan_status
from pertoken.api.translate import translate_pool, translate_service
from pertoken.api.v1alpha1 import API_VERSION
from pertoken.capacity.answer import Answer
from pertoken.capacity.gpus.needs import Nodes
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.spec import PlanSpec
from pertoken.cli.connection import ConnectionOptions, client
from pertoken.cli.rendering import NO, refuse
from pertoken.control.facts import node_fact
from pertoken.domain.cluster import NodeFact
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken.ports import AdapterError, Json, NotFound
from pertoken.settings import Settings

MANAGER: Final = "pertoken-plan"
_RESOURCE: Final = Resource(GROUP, "v1alpha1", CAPACITY_PLAN.plural, CAPACITY_PLAN.kind, namespaced=False)
Accepted = TypeVar("Accepted")


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """A CapacityPlan of the cluster with what it is about.

    Attributes:
        nodes: GPUs by pool: of the nodes that its labels select.
        left_out: objects that cannot be read, one line each.
        write: whether the answer goes into the plan's status.
    """

    connection: KubeClient
    checked: Checked
    stored: Json
    nodes: Mapping[str, Nodes]
    left_out: tuple[str, ...]
    write: bool

    @property
    def spec(self) -> PlanSpec:
        """What is asked."""
        return self.checked.plans[0].spec

    def stop(self, *mistakes: str) -> NoReturn:
        """Tell mistakes, in the status too where it is written; exit code 2."""
        if self.write:
            generation = int(self.stored["metadata"].get("generation", 0))
            self._apply(failed_plan_status(generation, _now(), "; ".join(mistakes), self.stored.get("status") or {}))
        refuse(*mistakes)

    def write_status(self, answered: Answer) -> None:
        """Show the answer in the plan's status."""
        bought = answered.plan
        planned = Planned(
            spec=self.spec,
            planned_s=_now(),
            start_s=bought.planned.futures.start_s,
            services=len(bought.planned.services),
            unplanned=len(bought.planned.unplanned) + len(self.left_out),
            shortfalls=bought.shortfalls,
            purchase=bought.purchase,
            budget=bought.budget,
            advice=answered.advice,
        )
        self._apply(plan_status(planned, self.stored.get("status") or {}))

    def _apply(self, status: Json) -> None:
        name = self.stored["metadata"]["name"]
        body = {"apiVersion": API_VERSION, "kind": CAPACITY_PLAN.kind, "metadata": {"name": name}, "status": status}
        query: dict[str, str | int | bool] = {"fieldManager": MANAGER}
        path = _RESOURCE.path(name=name, subresource="status")
        try:
            self.connection.call(ApiRequest("PATCH", path, query=query, body=body, content_type=APPLY_PATCH))
        except AdapterError as error:
            refuse(f"CapacityPlan {name}: its status cannot be written: {error}")


def _now() -> int:
    return int(SystemClock().now())


def read_cluster(access: ConnectionOptions, name: str, *, write: bool) -> ClusterPlan:
    """The plan of this name, all services and pools, and the nodes' GPUs; exit code 1 where there is no such plan."""
    connection = _connection(access)
    reader = KubeReader(connection)
    try:
        stored = connection.call(ApiRequest("GET", _RESOURCE.path(name=name)))
        services, pools, nodes = (
            reader.list(each).items for each in ("inferenceservices", "acceleratorpools", "nodes")
        )
    except NotFound:
        typer.echo(f"no CapacityPlan {name}", err=True)
        raise typer.Exit(NO) from None
    except AdapterError as error:
        refuse(str(error))
    left_out: list[str] = []
    plan = translate_plan(stored)
    if isinstance(plan, Rejected):
        refuse(f"CapacityPlan {name}: {plan.message}")
    accepted_pools = _accepted(pools, translate_pool, left_out)
    checked = Checked((), tuple(_accepted(services, translate_service, left_out)), tuple(accepted_pools), (plan,))
    facts = [node_fact(node) for node in nodes]
    counted = {pool.spec.name: _nodes(pool.spec, plan.spec, facts) for pool in accepted_pools}
    return ClusterPlan(connection, checked, stored, counted, tuple(left_out), write)


def _connection(access: ConnectionOptions) -> KubeClient:
    """The user's, or the pod's own where there is no kubeconfig."""
    if access.kubeconfig is None and not access.file.is_file() and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            return KubeClient(ClientOptions())
        except AdapterError as error:
            refuse(str(error))
    return client(access)


def _accepted(
    objects: Sequence[Json], translate: Callable[[Json], Accepted | Rejected], left_out: list[str]
) -> list[Accepted]:
    accepted = []
    for obj in objects:
        result = translate(obj)
        if isinstance(result, Rejected):
            metadata: Mapping[str, Any] = obj.get("metadata") or {}
            left_out.append(f"{obj.get('kind')} {metadata.get('name')}: left out: {result.message}")
        else:
            accepted.append(result)
    return accepted


def _nodes(pool: PoolSpec, plan: PlanSpec, nodes: Sequence[NodeFact]) -> Nodes:
    """GPUs of the pool's nodes, and of one node: what the plan says, else what most of them have."""
    sizes = [node.allocatable.get(pool.resource_name, 0) for node in nodes if pool.selects(node.labels)]
    sizes = [size for size in sizes if size]
    usual = Counter(sizes).most_common(1)
    existing = pool.capacity_gpus if pool.capacity_gpus is not None else sum(sizes)
    return Nodes(plan.gpus_per_node(pool.name) or (usual[0][0] if usual else None), existing)


def past_of(cluster: ClusterPlan, services: Sequence[ServiceSpec]) -> tuple[History, dict[str, ServiceHistory]]:
    """Demand of the last weeks, whole and by service, out of the Prometheus of the plan's metrics profile.

    Profiles are set by environment variables, as for the operator.
    """
    spec = cluster.spec
    try:
        profiles = Settings().all_metrics_profiles()
        if spec.metrics_profile not in profiles:
            cluster.stop(f"spec.history.profile: {spec.metrics_profile!r}: expected one of {', '.join(profiles)}")
        past = read_demand(profiles[spec.metrics_profile], services, spec.history_days)
    except (ProfileError, HistoryUnavailable) as error:
        cluster.stop(f"history: {error}")
    return past, {each.name: each for each in past.services}
