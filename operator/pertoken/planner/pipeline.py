"""One planning cycle: a snapshot of the world in, decisions and actions out. Pure: equal inputs give equal plans.

The stages, in their order. Each is a function in a file of its own that knows no other stage: it takes the work item
(`Proposal`, from the pools on `Settlement`) and returns it changed, with a step in its trace for what it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from pertoken.domain.cluster import WorkloadFact
from pertoken.domain.plan import Action, Condition, Decision, Plan, VariantDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Fault
from pertoken.domain.world import ServiceView, World
from pertoken.frozen import dataclass, replace
from pertoken.performance.results import Results
from pertoken.planner.allocate.stage import Allocation, allocate, reclaim, request_of
from pertoken.planner.assess import assess
from pertoken.planner.batch_cap.stage import batch_cap
from pertoken.planner.conditions.known import nodes_condition, pool_condition
from pertoken.planner.conditions.stage import conditions
from pertoken.planner.constrain.stage import constrain
from pertoken.planner.decide import decide
from pertoken.planner.decision import decision_of
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.gather import gather
from pertoken.planner.isolation import shared, without_faulty_pools
from pertoken.planner.memory import Memory, PoolMemory, ServiceMemory, backoff_key
from pertoken.planner.notice import notice
from pertoken.planner.pool_state import PoolState, pool_states
from pertoken.planner.proposal import Proposal, begun, step
from pertoken.planner.remember import remember
from pertoken.planner.retire import retire
from pertoken.planner.settle import settle
from pertoken.planner.settlement import NO_ACTIONS, Actions, Settlement
from pertoken.planner.size.stage import size
from pertoken.planner.stabilize import stabilize
from pertoken.planner.tuning import TUNING, Rails, Tuning
from pertoken.units import fault_words

# Each service by itself: what it asks of the pools.
PROPOSE: Final[tuple[Callable[[Proposal], Proposal], ...]] = (
    notice,  # what others did to the workloads, and whether decisions are carried out
    assess,  # what the metrics allow
    estimate,  # what they teach: demand, the shape of requests, calibration, the SLO knee
    size,  # replicas for the demand expected when a new one would serve
    stabilize,  # windows and rate limits, with the meaning that they have in HPA v2
    constrain,  # spend, minimums and maximums, rollouts, pods that nothing can schedule
)

# All services that act, together.
SHARE: Final[tuple[Callable[[Allocation], Allocation], ...]] = (
    allocate,  # scarce GPUs by priority and fair shares, whole replicas on real nodes
    reclaim,  # what higher priorities lack is taken from lower ones
)

# Each service by itself again, highest priority first: what it does with what it got.
SETTLE: Final[tuple[Callable[[Settlement], Settlement], ...]] = (
    batch_cap,  # the engines' cap on running sequences, and its roll over the pods
    decide,  # final replicas, and the actions that bring them about
    retire,  # workloads of variants that are no more go when the others serve
    conditions,  # what the service's status says of it
)

_FAILED: Final = (
    "planning failed on a figure that it cannot work with; nothing is changed. The decision trace has the details"
)
_JUDGED_BY_PLANNING: Final = ("MetricsAvailable", "ScalingLimited", "WithinCostTarget", "WithinLatencyTarget")


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One service's part of the plan; `withdrawn_from` is the pool and variant of pods that were given up."""

    decision: Decision
    memory: ServiceMemory
    actions: Actions = NO_ACTIONS
    withdrawn_from: tuple[tuple[str, str], ...] = ()


def plan(
    world: World, memory: Memory, now: float, tuning: Tuning = TUNING, results: Results | None = None
) -> tuple[Plan, Memory]:
    """Plan one cycle for all services together.

    Args:
        world: the snapshot.
        memory: what the last cycle returned; `pertoken.planner.memory.EMPTY` at first.
        now: seconds since the epoch.
        tuning: the numbers that decide.
        results: of the performance model, kept from cycle to cycle; they save time and change nothing.

    Returns:
        The plan, its actions in the order in which to carry them out (scale-downs, scale-ups, batch changes), and the
        memory for the next cycle. A service that cannot be planned is held; its GPUs stay counted. So are the services
        of a pool that cannot be shared out.
    """
    absent = _absent(memory, now, tuning)
    pools, without = without_faulty_pools(lambda seen: pool_states(seen, absent), world)
    selected = {view.spec.name: len(view.nodes) for view in world.pools}
    figures = tuple(
        replace(
            pools[name].figures(),
            condition=pool_condition(pools[name].spec, world.catalog)
            or nodes_condition(pools[name].spec, selected[name]),
        )
        for name in sorted(pools)
    )
    results = Results() if results is None else results
    inputs = _Inputs(world, memory, now, tuning, results)
    proposals: list[Proposal] = []
    service_plans: list[ServicePlan] = []

    for view in sorted(world.services, key=lambda view: view.spec.key):
        if view.fault:
            service_plans.append(_failed(view, view.fault, inputs))
            continue
        faulty = next((without[variant.spec.pool] for variant in view.variants if variant.spec.pool in without), None)
        if faulty is not None:
            service_plans.append(_failed(view, faulty.error, inputs, faulty.words))
            continue
        proposal = _guarded(view, inputs, partial(_proposed, view, inputs))
        if isinstance(proposal, Proposal):
            proposals.append(proposal)
        else:
            service_plans.append(proposal)
    allocation, held = shared(partial(_through, SHARE), Allocation(tuple(proposals), pools, tuning=tuning))
    service_plans += [
        _failed(proposal.state.view, held[proposal.key].error, inputs, held[proposal.key].words)
        for proposal in proposals
        if proposal.key in held
    ]
    highest_first = sorted(allocation.proposals, key=lambda proposal: (-proposal.state.spec.priority, proposal.key))
    service_plans += [
        _guarded(proposal.state.view, inputs, partial(_settled, proposal, allocation)) for proposal in highest_first
    ]

    service_plans.sort(key=lambda service_plan: service_plan.decision.service)
    decisions = tuple(service_plan.decision for service_plan in service_plans)
    results.end_cycle()
    return Plan(decisions, _ordered(service_plans), figures), _remembered(service_plans, inputs, pools)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The arguments of `plan`."""

    world: World
    memory: Memory
    now: float
    tuning: Tuning
    results: Results


Item = TypeVar("Item")


def _through(stages: Iterable[Callable[[Item], Item]], item: Item) -> Item:
    for stage in stages:
        item = stage(item)
    return item


def _proposed(view: ServiceView, inputs: _Inputs) -> Proposal:
    state = gather(view, inputs.world, inputs.memory, inputs.now, inputs.tuning, inputs.results)
    proposal = _through(PROPOSE, begun(state))
    request_of(proposal)  # a figure that it cannot take concerns this service alone, not the joint stages
    return proposal


def _settled(proposal: Proposal, allocation: Allocation) -> ServicePlan:
    settlement = _through(SETTLE, settle(proposal, allocation.grant_of(proposal.key), allocation.pools))
    withdrawn = proposal.withdrawn if settlement.acts else {}
    pools = tuple((proposal.state.by_name[name].spec.pool, name) for name in withdrawn)
    return ServicePlan(decision_of(settlement), remember(settlement), settlement.actions, pools)


def _guarded(view: ServiceView, inputs: _Inputs, work: Callable[[], Item]) -> Item | ServicePlan:
    """The one place where a service that cannot be planned is caught: it is held, and all others go on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - one bad service must not fail the cycle
        return _failed(view, fault_words(error), inputs)


def _failed(view: ServiceView, error: str, inputs: _Inputs, words: str = _FAILED) -> ServicePlan:
    """Hold a service whose planning failed. The trace alone shows the fault as Python puts it."""
    spec, reason = view.spec, Reason.PLANNING_FAILED
    fault = step("fault", ("", "held"), reason, Fault(error))
    variants = tuple(
        VariantDecision(
            variant.spec.name,
            variant.workload.replicas,
            variant.workload.replicas,
            sum(1 for pod in variant.pods if pod.ready),
            reason,
            unknown=words,
        )
        for variant in view.variants
        if isinstance(variant.workload, WorkloadFact)
    )
    by_type = dict.fromkeys(_JUDGED_BY_PLANNING, Condition(Verdict.UNKNOWN, reason, words))
    by_type["AbleToScale"] = Condition(Verdict.FALSE, reason, words)
    decision = Decision(spec.key, reason, words, variants, by_type, acts=False, trace=(fault,))
    kept = inputs.memory.service(spec.key)
    return ServicePlan(decision, ServiceMemory(spec.uid, inputs.now) if kept is None or kept.uid != spec.uid else kept)


def _ordered(service_plans: Sequence[ServicePlan]) -> tuple[Action, ...]:
    """Scale-downs make room for scale-ups; batch changes come last."""
    downs = [action for service_plan in service_plans for action in service_plan.actions.downs]
    ups = [action for service_plan in service_plans for action in service_plan.actions.ups]
    batch = [action for service_plan in service_plans for action in service_plan.actions.batch]
    return (*downs, *ups, *batch)


def _remembered(service_plans: Sequence[ServicePlan], inputs: _Inputs, pools: Mapping[str, PoolState]) -> Memory:
    services = {str(service_plan.decision.service): service_plan.memory for service_plan in service_plans}
    kept = {key: refused for key, refused in sorted(inputs.memory.pools.items()) if _there(key, pools, services)}
    for service_plan in service_plans:
        for pool, variant in service_plan.withdrawn_from:
            if pool in pools:
                key = backoff_key(pool, service_plan.decision.service, variant)
                before = inputs.memory.pools.get(key, PoolMemory())
                seconds = pools[pool].spec.provisioning_seconds
                kept[key] = backed_off(before, seconds, inputs.now, inputs.tuning.rails)
    return Memory(services, kept, inputs.now)


def _absent(memory: Memory, now: float, tuning: Tuning) -> frozenset[tuple[str, str]]:
    """Variants of which replicas have had no pods for long, as `notice` remembers it."""
    return frozenset(
        (service, name)
        for service, remembered in memory.services.items()
        for name, variant in remembered.variants.items()
        if variant.absent_since is not None and now - variant.absent_since >= tuning.running.absent_seconds
    )


def _there(key: str, pools: Collection[str], services: Collection[str]) -> bool:
    """Whether pool and service of a `backoff_key` exist."""
    pool, _, rest = key.partition("/")
    return pool in pools and rest.rpartition("/")[0] in services


def backed_off(memory: PoolMemory, provisioning_seconds: float, now: float, rails: Rails) -> PoolMemory:
    """The pool after a withdrawal: no scale-ups for twice its provisioning time, doubling while it keeps failing."""
    patience = rails.unschedulable_factor * provisioning_seconds
    again = memory.withdrawals > 0 and now - memory.backoff_until < 2 * patience
    count = memory.withdrawals + 1 if again else 1
    return PoolMemory(now + patience * 2 ** min(count - 1, rails.most_doublings), count)
