"""One planning cycle: a snapshot of the world in, decisions and actions out. Pure: equal inputs give equal plans."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pertoken.domain.cluster import WorkloadFact
from pertoken.domain.plan import Action, Decision, Judgement, Plan, VariantDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.world import ServiceView, World
from pertoken.planner.allocate import Grant, allocate
from pertoken.planner.conclude import Outcome, conclude
from pertoken.planner.facts import Trace
from pertoken.planner.guard import backed_off, backoff_key
from pertoken.planner.known import judge_pool
from pertoken.planner.memory import Memory, PoolMemory, ServiceMemory
from pertoken.planner.place import PoolState, pool_states
from pertoken.planner.propose import Draft, propose
from pertoken.planner.reclaim import reclaim
from pertoken.planner.shares import scene_of

_NOTHING = Grant({}, {}, {})
_JUDGED_BY_PLANNING = ("MetricsAvailable", "ScalingLimited", "WithinCostTarget", "WithinLatencyTarget")
MOST_LETTERS = 500


def plan(world: World, memory: Memory, now: float) -> tuple[Plan, Memory]:
    """Plan one cycle for all services together.

    Args:
        world: the snapshot.
        memory: what the last cycle returned; `pertoken.planner.memory.EMPTY` at first.
        now: seconds since the epoch.

    Returns:
        The plan, its actions in the order in which to carry them out (scale-downs, scale-ups, batch changes), and the
        memory for the next cycle. A service that cannot be planned is held; its GPUs stay counted.
    """
    pools = pool_states(world)
    figures = tuple(
        replace(pools[name].figures(), judgement=judge_pool(pools[name].spec, world.catalog)) for name in sorted(pools)
    )
    outcomes: list[Outcome] = []
    drafts: list[Draft] = []
    for view in sorted(world.services, key=lambda view: view.spec.key):
        try:
            draft = propose(view, world, memory, now)
            _ = draft.request  # built once here, so that a figure that it cannot take concerns this service alone
            drafts.append(draft)
        except Exception as error:  # noqa: BLE001 - one bad service must not fail the cycle
            outcomes.append(_failed(view, error, memory, now))
    grants = allocate([draft.request for draft in drafts if _may_grow(draft)], pools)
    grants = reclaim(scene_of(drafts, grants, pools), grants, pools)
    for draft in sorted(drafts, key=lambda draft: (-draft.facts.spec.priority, draft.facts.spec.key)):
        key = draft.facts.spec.key
        try:
            outcomes.append(conclude(draft, grants.get(key, _NOTHING), pools))
        except Exception as error:  # noqa: BLE001 - as above
            outcomes.append(_failed(draft.facts.view, error, memory, now))
    outcomes.sort(key=lambda outcome: outcome.decision.service)
    return Plan(_decisions(outcomes), _ordered(outcomes), figures), _remember(outcomes, memory, pools, now)


def _may_grow(draft: Draft) -> bool:
    """Only services that act compete for GPUs; what a recommendation would need is shown, not reserved."""
    return draft.inactive is None and draft.conflict[1] is None


def _decisions(outcomes: Iterable[Outcome]) -> tuple[Decision, ...]:
    return tuple(outcome.decision for outcome in outcomes)


def _ordered(outcomes: Iterable[Outcome]) -> tuple[Action, ...]:
    found = list(outcomes)
    downs = [action for outcome in found for action in outcome.downs]
    ups = [action for outcome in found for action in outcome.ups]
    batch = [action for outcome in found for action in outcome.batch]
    return (*downs, *ups, *batch)


def _remember(outcomes: Collection[Outcome], memory: Memory, pools: Mapping[str, PoolState], now: float) -> Memory:
    services: dict[str, ServiceMemory] = {}
    living = {str(outcome.decision.service) for outcome in outcomes}
    kept = {key: one for key, one in sorted(memory.pools.items()) if _still_there(key, pools, living)}
    for outcome in outcomes:
        services[str(outcome.decision.service)] = outcome.memory
        for name, variant in outcome.withdrawn_from:
            if name in pools:
                key = backoff_key(name, outcome.decision.service, variant)
                seconds = pools[name].spec.provisioning_seconds
                kept[key] = backed_off(memory.pools.get(key, PoolMemory()), seconds, now)
    return Memory(services, kept, now)


def _still_there(key: str, pools: Mapping[str, PoolState], services: Collection[str]) -> bool:
    """Whether pool and service of a `backoff_key` exist."""
    pool, _, rest = key.partition("/")
    return pool in pools and rest.rpartition("/")[0] in services


def _failed(view: ServiceView, error: Exception, memory: Memory, now: float) -> Outcome:
    """Hold a service whose planning failed. The trace alone shows the fault as Python puts it."""
    spec = view.spec
    words = (
        "planning failed on a figure that it cannot work with; nothing is changed. The decision trace has the details"
    )
    trace = Trace()
    trace.add("fault", ("", "held"), Reason.PLANNING_FAILED, error=f"{type(error).__name__}: {error}"[:MOST_LETTERS])
    variants = tuple(
        VariantDecision(
            variant.spec.name,
            variant.workload.replicas,
            variant.workload.replicas,
            sum(1 for pod in variant.pods if pod.ready),
            Reason.PLANNING_FAILED,
        )
        for variant in view.variants
        if isinstance(variant.workload, WorkloadFact)
    )
    unknown = Judgement(Verdict.UNKNOWN, Reason.PLANNING_FAILED, words)
    judgements = {
        **dict.fromkeys(_JUDGED_BY_PLANNING, unknown),
        "AbleToScale": Judgement(Verdict.FALSE, Reason.PLANNING_FAILED, words),
    }
    decision = Decision(
        spec.key, Reason.PLANNING_FAILED, words, variants, judgements, acts=False, trace=tuple(trace.steps)
    )
    kept = memory.service(spec.key)
    return Outcome(decision, ServiceMemory(spec.uid, now) if kept is None or kept.uid != spec.uid else kept)
