"""Where GPUs are free: per node, with every pod's requests counted, whoever owns it, and for whom a node is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field

from pertoken.domain.cluster import NodeFact, PodFact, WorkloadFact, pods_per_replica, whole_replicas
from pertoken.domain.identity import ServiceKey
from pertoken.domain.placement import ANYWHERE, PlacementRules
from pertoken.domain.plan import PoolFigures
from pertoken.domain.pool import AccessRule, PoolSpec
from pertoken.domain.world import PoolView, ServiceView, VariantView, World
from pertoken.frozen import dataclass, replace
from pertoken.planner.placement import obstacle
from pertoken.planner.tuning import MOST_PROMISED

TOLD_OBSTACLES = 2  # kinds of closed nodes that a refusal names


@dataclass(frozen=True, slots=True)
class Seat:
    """Units that one pod (or a promised replica) of a service holds.

    Attributes:
        node: where; None when it waits and no node has room for it.
        leaving: it is on its way out.
        bound: it has a node by the scheduler's word; otherwise only the count has kept room for it.
    """

    node: str | None
    units: int
    leaving: bool = False
    bound: bool = False


@dataclass(slots=True)
class PoolState:
    """Scratch of one cycle: what is left of a pool while replicas are being given out.

    Attributes:
        free: free units by node name, Ready nodes only; one nameless node for a pool without nodes.
        committed: units held or promised by access rule (index, -1 without rules): these count against ceilings.
        unplaced: units of pods and promised replicas that found no room.
        nodes: what the names in `free` stand for; a nameless one is open to all.
        leaving: units of terminating pods by node, whoever owns them: soon free.
        seats: what each variant (service, name) holds.
        users: placement rules of the variants that use the pool.
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
    nodes: Mapping[str, NodeFact] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)
    seats: dict[tuple[ServiceKey, str], list[Seat]] = field(default_factory=dict)
    users: set[PlacementRules] = field(default_factory=set)
    _open: dict[PlacementRules, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    def rule_of(self, labels: Mapping[str, str]) -> int | None:
        """Index of the access rule for a namespace, -1 if the pool is open to all, None if it has no access."""
        return self.spec.rule_of(labels)

    def no_access(self, service: ServiceKey) -> str:
        """In words, that no access rule of the pool is about the service's namespace."""
        name = self.spec.name
        return f"namespace {service.namespace} has no access to pool {name}: no entry of its `access` selects it"

    def rule(self, index: int) -> AccessRule:
        """The rule of an index that `rule_of` gave."""
        return AccessRule() if index < 0 else self.spec.access[index]

    def priority(self, labels: Mapping[str, str], priority: int) -> int:
        """What a service's priority counts in this pool: at most its namespace's `maxPriority`."""
        index = self.rule_of(labels)
        most = None if index is None else self.rule(index).max_priority
        return priority if most is None else min(priority, most)

    def open_to(self, where: PlacementRules) -> tuple[str, ...]:
        """Nodes that take pods with these rules, full ones included."""
        nodes = self._open.get(where)
        if nodes is None:
            nodes = tuple(n for n in self.free if n not in self.nodes or not obstacle(self.nodes[n], where))
            self._open[where] = nodes
        return nodes

    def refusal(self, gpus: int, rule: int, where: PlacementRules = ANYWHERE, pods: tuple[int, ...] = ()) -> str:
        """Why `gpus` more units cannot be given to a service under this rule; empty if they can.

        Pods of which nothing is known are not refused by a count of free GPUs: that is left to their scheduler.

        Args:
            gpus: of one replica.
            rule: of the service's namespace.
            where: its pods may run.
            pods: units of each of its pods, which may run on different nodes; empty for a replica of one pod.
        """
        why = self.ceiling(gpus, rule)
        if why or where.unknown:
            return why
        free = sum(self.free.values())
        usable = [self.free[name] for name in self.open_to(where)]
        parts = _parts(gpus, pods)
        if not _all_fit(parts, usable):
            numbers = f"{sum(usable)} of {self.total} free{self._closed(where)}"
            if len(parts) > 1:
                return f"pool {self.spec.name} has no room for pods of {_each(parts)} GPUs ({numbers})"
            return f"pool {self.spec.name} has no node with {gpus} free GPUs ({numbers})"
        if free - gpus < self._guaranteed_to_others(rule, self.committed.get(rule, 0) + gpus):
            return f"the remaining GPUs of pool {self.spec.name} are guaranteed to other namespaces"
        return ""

    def ceiling(self, gpus: int, rule: int) -> str:
        """Which ceiling `gpus` more units would exceed, whatever is free; empty if none."""
        spec = self.spec
        committed = sum(self.committed.values())
        if spec.max_gpus is not None and committed + gpus > spec.max_gpus:
            return f"maxGPUs {spec.max_gpus} of pool {spec.name} is reached ({committed} in use)"
        limit = self.rule(rule).max_gpus
        mine = self.committed.get(rule, 0)
        if limit is not None and mine + gpus > limit:
            return f"the namespace may use {limit} GPUs of pool {spec.name} ({mine} in use)"
        return ""

    def _closed(self, where: PlacementRules) -> str:
        """Nodes that are closed to these pods, and what closes them."""
        reasons = Counter(why for node in self.nodes.values() if (why := obstacle(node, where)))
        if not reasons:
            return ""
        told = ", ".join(f"{count} ({why})" for why, count in reasons.most_common(TOLD_OBSTACLES))
        more = sum(reasons.values()) - sum(count for _, count in reasons.most_common(TOLD_OBSTACLES))
        return f"; nodes closed to these pods: {told}{f' and {more} others' if more else ''}"

    def _guaranteed_to_others(self, rule: int, mine: int) -> int:
        if rule >= 0 and mine <= self.spec.access[rule].guaranteed_gpus:
            return 0
        return sum(
            max(0, other.guaranteed_gpus - self.committed.get(index, 0))
            for index, other in enumerate(self.spec.access)
            if index != rule
        )

    def take(
        self, gpus: int, rule: int, where: PlacementRules = ANYWHERE, pods: tuple[int, ...] = ()
    ) -> tuple[Seat, ...]:
        """Reserve room for one replica, every pod on the fullest node that still fits it."""
        self.committed[rule] = self.committed.get(rule, 0) + gpus
        return tuple(Seat(self.fit(units, where), units) for units in _parts(gpus, pods))

    def fit(self, gpus: int, where: PlacementRules = ANYWHERE) -> str | None:
        """Use up room on the fullest node that still fits; None if there is none."""
        fitting = [(self.free[name], name) for name in self.open_to(where) if self.free[name] >= gpus]
        if not fitting:
            self.unplaced += gpus
            return None
        _, name = min(fitting)
        self.free[name] -= gpus
        return name

    def copied(self) -> PoolState:
        """The same pool, of which replicas can be given out without using this one up."""
        return replace(self, free=dict(self.free), committed=dict(self.committed))

    def figures(self) -> PoolFigures:
        """For reports; call before anything is given out."""
        price = self.spec.price_per_gpu_hour
        spend = None if price is None else float(price * self.spec.gpu_fraction) * self.held
        usable = {name for where in self.users or {ANYWHERE} for name in self.open_to(where)}
        placeable = sum(self.free[name] // self.largest * self.largest for name in usable)
        free = max(0, self.total - self.used)
        return PoolFigures(self.spec.name, self.total, self.used, free, placeable, self.pending, spend)


def alive(pods: Iterable[PodFact]) -> list[PodFact]:
    """Pods that exist and are to stay."""
    return [pod for pod in pods if pod.deleted_at is None and not pod.terminating and not pod.finished]


def pool_states(world: World, absent: Collection[tuple[str, str]] = ()) -> dict[str, PoolState]:
    """The pools as they stand, pods still to be placed included.

    Args:
        world: the snapshot.
        absent: variants (``namespace/service``, name) for whose missing replicas nobody has made pods for long.
    """
    pods = {pod.uid: pod for service in world.services for variant in service.all_variants for pod in variant.pods}
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
    for _, service, variant, state in sorted(_by_priority(world, states), key=lambda entry: entry[0]):
        _commit(state, service, variant, refused=(str(service.spec.key), variant.spec.name) in absent)
    for pod in sorted(waiting, key=lambda pod: pod.key):
        _place_foreign(states, pod)
    return states


def _by_priority(
    world: World, states: Mapping[str, PoolState]
) -> Iterable[tuple[tuple[int, ServiceKey, int], ServiceView, VariantView, PoolState]]:
    """Every variant with its pool and its place in the order in which room is kept for what still waits."""
    for service in world.services:
        for index, variant in enumerate(service.all_variants):
            state = states.get(variant.spec.pool)
            if state is not None:
                priority = state.priority(service.namespace_labels, service.spec.priority)
                yield (-priority, service.spec.key, index), service, variant, state


def _state(view: PoolView, by_node: Mapping[str, list[PodFact]]) -> PoolState:
    resource = view.spec.resource_name
    if not view.nodes:
        capacity = view.spec.capacity_gpus or 0
        return PoolState(view.spec, capacity, 0, {"": capacity})
    total = used = 0
    free: dict[str, int] = {}
    leaving: dict[str, int] = {}
    for node in sorted(view.nodes, key=lambda node: node.name):
        units = node.allocatable.get(resource, 0)
        pods = by_node.get(node.name, ())
        busy = sum(pod.requests.get(resource, 0) for pod in pods)
        leaving[node.name] = sum(pod.requests.get(resource, 0) for pod in pods if pod.terminating)
        total += units
        used += busy
        if node.schedulable and units:
            free[node.name] = max(0, units - busy)
    nodes = {node.name: node for node in view.nodes if node.allocatable.get(resource, 0)}
    state = PoolState(view.spec, total, used, free, nodes=nodes, leaving=leaving)
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


def _commit(state: PoolState, service: ServiceView, variant: VariantView, *, refused: bool) -> None:
    """Count a variant's pods against the pool and keep room for those that are still to come."""
    resource = state.spec.resource_name
    rule = state.rule_of(service.namespace_labels)
    rule = -1 if rule is None else rule
    workload = variant.workload
    where = workload.placement if isinstance(workload, WorkloadFact) else ANYWHERE
    seats = state.seats.setdefault((service.spec.key, variant.spec.name), [])
    existing = [pod for pod in variant.pods if pod.deleted_at is None and not pod.finished]
    for pod in existing:
        units = pod.requests.get(resource, 0)
        state.committed[rule] = state.committed.get(rule, 0) + units
        seats.append(_seat(state, pod, units, where))
    if isinstance(workload, WorkloadFact):
        gpus = workload.gpus_per_replica
        state.largest = max(state.largest, *_parts(gpus, workload.pod_gpus))
        state.users.add(where)
        # Replicas that Kubernetes refuses to create take no room.
        living = alive(existing)
        there = whole_replicas(living, pods_per_replica(workload, living, resource))
        missing = 0 if workload.failure or refused else workload.replicas - there
        for _ in range(max(0, min(missing, MOST_PROMISED))):
            seats.extend(state.take(gpus, rule, where, workload.pod_gpus))


def _parts(gpus: int, pods: tuple[int, ...]) -> tuple[int, ...]:
    """Units of every pod of a replica that needs some, the largest first; one of none for a replica without any."""
    return tuple(sorted((units for units in pods or (gpus,) if units > 0), reverse=True)) or (0,)


def _all_fit(parts: Iterable[int], free: Iterable[int]) -> bool:
    """Whether pods fit together, the largest first, each on the fullest node that still takes it."""
    left = list(free)
    for units in parts:
        if not units:
            continue
        fitting = [index for index, room in enumerate(left) if room >= units]
        if not fitting:
            return False
        left[min(fitting, key=left.__getitem__)] -= units
    return True


def _each(parts: Iterable[int]) -> str:
    """``2 x 8 + 4``."""
    return " + ".join(f"{number} x {units}" if number > 1 else str(units) for units, number in Counter(parts).items())


def _seat(state: PoolState, pod: PodFact, units: int, where: PlacementRules) -> Seat:
    if pod.node is not None:
        state.held += units
        node = pod.node
        if "" in state.free:
            node = ""
            state.used += units
            state.free[""] = max(0, state.free[""] - units)
            state.leaving[""] = state.leaving.get("", 0) + (units if pod.terminating else 0)
        return Seat(node, units, leaving=pod.terminating, bound=True)
    if pod.terminating:
        return Seat(None, units, leaving=True)
    state.pending += units
    return Seat(state.fit(units, where), units)


def _place_foreign(states: Mapping[str, PoolState], pod: PodFact) -> None:
    """A pod of somebody else that waits for the scheduler may take room in any pool that has it."""
    for name in sorted(states):
        state = states[name]
        units = pod.requests.get(state.spec.resource_name, 0)
        if units and max((state.free[node] for node in state.open_to(pod.placement)), default=0) >= units:
            state.fit(units, pod.placement)
            return
