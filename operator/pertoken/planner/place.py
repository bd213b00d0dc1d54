"""Where GPUs are free: per node, with every pod's requests counted, whoever owns it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pertoken.domain.cluster import PodFact, WorkloadFact
from pertoken.domain.plan import PoolFigures
from pertoken.domain.pool import AccessRule, PoolSpec
from pertoken.domain.world import PoolView, ServiceView, VariantView, World


@dataclass(slots=True)
class PoolState:
    """Scratch of one cycle: what is left of a pool while replicas are being given out.

    Attributes:
        free: free units by node name, schedulable nodes only; one nameless node for a pool without nodes.
        committed: units held or promised by access rule (index, -1 without rules): these count against ceilings.
        unplaced: units of pods and promised replicas that found no room.
    """

    spec: PoolSpec
    total: int
    used: int
    free: dict[str, int]
    committed: dict[int, int] = field(default_factory=dict)
    pending: int = 0
    unplaced: int = 0
    held: int = 0
    largest: int = 1

    def rule_of(self, labels: Mapping[str, str]) -> int | None:
        """Index of the access rule for a namespace, -1 if the pool is open to all, None if it has no access."""
        if not self.spec.access:
            return -1
        for index, rule in enumerate(self.spec.access):
            if all(labels.get(key) == value for key, value in rule.namespace_labels):
                return index
        return None

    def rule(self, index: int) -> AccessRule:
        """The rule of an index that `rule_of` gave."""
        return AccessRule() if index < 0 else self.spec.access[index]

    def refusal(self, gpus: int, rule: int) -> str:
        """Why `gpus` more units cannot be given to a service under this rule; empty if they can."""
        spec = self.spec
        committed = sum(self.committed.values())
        if spec.max_gpus is not None and committed + gpus > spec.max_gpus:
            return f"maxGPUs {spec.max_gpus} of pool {spec.name} is reached ({committed} in use)"
        limit = self.rule(rule).max_gpus
        mine = self.committed.get(rule, 0)
        if limit is not None and mine + gpus > limit:
            return f"the namespace may use {limit} GPUs of pool {spec.name} ({mine} in use)"
        free = sum(self.free.values())
        if max(self.free.values(), default=0) < gpus:
            return f"pool {spec.name} has no node with {gpus} free GPUs ({free} of {self.total} free)"
        if free - gpus < self._guaranteed_to_others(rule, mine + gpus):
            return f"the remaining GPUs of pool {spec.name} are guaranteed to other namespaces"
        return ""

    def _guaranteed_to_others(self, rule: int, mine: int) -> int:
        if rule >= 0 and mine <= self.spec.access[rule].guaranteed_gpus:
            return 0
        return sum(
            max(0, other.guaranteed_gpus - self.committed.get(index, 0))
            for index, other in enumerate(self.spec.access)
            if index != rule
        )

    def take(self, gpus: int, rule: int) -> bool:
        """Reserve room for one replica on the fullest node that still fits it; False if there is none."""
        self.committed[rule] = self.committed.get(rule, 0) + gpus
        return self.fit(gpus)

    def fit(self, gpus: int) -> bool:
        """Use up room on the fullest node that still fits; False if there is none."""
        fitting = [(left, name) for name, left in self.free.items() if left >= gpus]
        if not fitting:
            self.unplaced += gpus
            return False
        _, name = min(fitting)
        self.free[name] -= gpus
        return True

    def figures(self) -> PoolFigures:
        """For reports; call before anything is given out."""
        price = self.spec.price_per_gpu_hour
        spend = None if price is None else float(price * self.spec.gpu_fraction) * self.held
        placeable = sum(left // self.largest * self.largest for left in self.free.values())
        free = max(0, self.total - self.used)
        return PoolFigures(self.spec.name, self.total, self.used, free, placeable, self.pending, spend)


def alive(pods: Iterable[PodFact]) -> list[PodFact]:
    """Pods that exist and are to stay."""
    return [pod for pod in pods if pod.deleted_at is None and not pod.terminating and not pod.finished]


def pool_states(world: World) -> dict[str, PoolState]:
    """The pools as they stand, pods still to be placed included."""
    pods = {pod.uid: pod for service in world.services for variant in service.variants for pod in variant.pods}
    ours = frozenset(pods)
    pods.update((pod.uid, pod) for pod in world.pods)
    by_node: dict[str, list[PodFact]] = {}
    waiting: list[PodFact] = []
    for pod in pods.values():
        if pod.deleted_at is not None or pod.finished:
            continue
        if pod.node is not None:
            by_node.setdefault(pod.node, []).append(pod)
        elif pod.uid not in ours and pod.unschedulable_since is None and not pod.terminating:
            waiting.append(pod)
    states = {view.spec.name: _state(view, by_node) for view in world.pools}
    for service in sorted(world.services, key=lambda view: view.spec.key):
        for variant in service.variants:
            state = states.get(variant.spec.pool)
            if state is not None:
                _commit(state, service, variant)
    for pod in sorted(waiting, key=lambda pod: pod.key):
        _place_foreign(states, pod)
    return states


def _state(view: PoolView, by_node: Mapping[str, list[PodFact]]) -> PoolState:
    resource = view.spec.resource_name
    if not view.nodes:
        capacity = view.spec.capacity_gpus or 0
        return PoolState(view.spec, capacity, 0, {"": capacity})
    total = used = 0
    free: dict[str, int] = {}
    for node in sorted(view.nodes, key=lambda node: node.name):
        units = node.allocatable.get(resource, 0)
        busy = sum(pod.requests.get(resource, 0) for pod in by_node.get(node.name, ()))
        total += units
        used += busy
        if node.schedulable and units:
            free[node.name] = max(0, units - busy)
    state = PoolState(view.spec, total, used, free)
    if view.spec.capacity_gpus is not None and view.spec.capacity_gpus < total:
        _shrink(state, total - view.spec.capacity_gpus)
    return state


def _shrink(state: PoolState, surplus: int) -> None:
    """The pool may use fewer GPUs than its nodes have: take the surplus from the emptiest nodes."""
    state.total -= surplus
    for _, name in sorted(((left, name) for name, left in state.free.items()), reverse=True):
        cut = min(state.free[name], surplus)
        state.free[name] -= cut
        surplus -= cut


def _commit(state: PoolState, service: ServiceView, variant: VariantView) -> None:
    """Count a variant's pods against the pool and keep room for those that are still to come."""
    resource = state.spec.resource_name
    rule = state.rule_of(service.namespace_labels)
    rule = -1 if rule is None else rule
    existing = [pod for pod in variant.pods if pod.deleted_at is None and not pod.finished]
    living = alive(existing)
    for pod in existing:
        units = pod.requests.get(resource, 0)
        state.committed[rule] = state.committed.get(rule, 0) + units
        if pod.node is not None:
            state.held += units
            if "" in state.free:
                state.used += units
                state.free[""] = max(0, state.free[""] - units)
        elif not pod.terminating:
            state.pending += units
            state.fit(units)
    if isinstance(variant.workload, WorkloadFact):
        gpus = variant.workload.gpus_per_replica
        state.largest = max(state.largest, gpus)
        for _ in range(max(0, min(variant.workload.replicas - len(living), 10_000))):
            state.take(gpus, rule)


def _place_foreign(states: Mapping[str, PoolState], pod: PodFact) -> None:
    """A pod of somebody else that waits for the scheduler may take room in any pool that has it."""
    for name in sorted(states):
        state = states[name]
        units = pod.requests.get(state.spec.resource_name, 0)
        if units and max(state.free.values(), default=0) >= units:
            state.fit(units)
            return
