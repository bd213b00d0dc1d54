"""Stage `retire`: workloads of variants that are no more go when the others serve what they served.

What they serve is demand of the service, so the other variants are sized for all of it: once those run as decided, the
old workloads are removed whole. Where the pools have no room for both, the old ones make it, one replica at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.plan import Action, RemoveWorkload, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit, Step, Told
from pertoken.frozen import replace
from pertoken.planner.proposal import step
from pertoken.planner.service_state import VariantState
from pertoken.planner.settlement import SettledVariant, Settlement

_POOL_STAGES = ("allocate", "reclaim")


def retire(settlement: Settlement) -> Settlement:
    """The settlement with what is done about workloads of removed variants, and why they wait."""
    retired = settlement.state.retired
    if not retired:
        return settlement
    downs: list[Action] = []
    steps: list[Step] = []
    room = _needs_room(settlement)
    waits = _waits(settlement) or ("they lack GPUs" if _limited(settlement.trace) else "")
    for each in retired:
        action, words = _of(settlement, each, waits, room=room)
        if isinstance(action, SetReplicas):
            room = False  # one replica at a time
        downs += [] if action is None else [action]
        after = action.desired if isinstance(action, SetReplicas) else 0 if action is not None else each.current
        told = f"{each.workload.ref} ({each.current} replicas), of no variant any more, {words}"
        steps.append(step("retire", (each.current, after), Reason.VARIANT_REMOVED, Told(told), variant=each.name))
    actions = replace(settlement.actions, downs=(*settlement.actions.downs, *downs))
    return replace(settlement.noting(*steps), actions=actions)


def _of(settlement: Settlement, each: VariantState, waits: str, *, room: bool) -> tuple[Action | None, str]:
    """What is done about one of them in this cycle, if anything, and the words for it."""
    state = settlement.state
    if each.workload.deleting:
        return None, "is being deleted"
    if not settlement.acts:
        return None, "stays while decisions are not carried out"
    idle = not each.current and not each.living
    if idle or not waits:
        message = f"delete {each.workload.ref}: the service has no such variant any more"
        ref, uid = each.workload.ref, each.workload.uid
        return (
            RemoveWorkload(state.spec.key, each.name, ref, state.spec.uid, uid, Reason.VARIANT_REMOVED, message),
            "is deleted",
        )
    leaving = any(pod.terminating and not pod.ended for pod in each.view.pods)
    if room and each.current and not leaving:
        return _smaller(settlement, each), "makes room for the other variants, one replica at a time"
    return None, f"stays until the others serve: {waits}"


def _smaller(settlement: Settlement, each: VariantState) -> SetReplicas:
    workload, fewer = each.workload, each.current - 1
    message = f"scale {workload.ref} from {each.current} to {fewer}: its variant was removed, and the others need room"
    key = settlement.state.spec.key
    version = workload.resource_version
    return SetReplicas(key, each.name, workload.ref, each.current, fewer, Reason.VARIANT_REMOVED, version, message)


def _waits(settlement: Settlement) -> str:
    """Why the others do not yet stand in for what is to go; empty when they do."""
    state = settlement.state
    if state.missing:
        name, gone = state.missing[0]
        return f"variant {name}: {gone.why}"
    untold = sum(each.unreported for each in state.retired)
    if untold:
        return f"{untold} of its serving pods have no fresh metrics"
    if not settlement.proposal.assessment.may_shrink:
        return settlement.proposal.assessment.condition.message
    return _not_yet(settlement)


def _not_yet(settlement: Settlement) -> str:
    for variant in settlement.variants:
        if variant.state.ready < variant.replicas:
            return f"{variant.state.ready} of {variant.replicas} replicas of variant {variant.name} serve"
    return ""


def _needs_room(settlement: Settlement) -> bool:
    """Replicas of the other variants wait for GPUs, or were not given any, and none is on its way."""
    if settlement.proposal.assessment.holds or settlement.state.missing:
        return False
    if any(_arriving(variant) for variant in settlement.variants):
        return False
    pending = any(
        pod.unschedulable_since is not None for variant in settlement.variants for pod in variant.state.living
    )
    return pending or _limited(settlement.trace)


def _arriving(variant: SettledVariant) -> bool:
    """A replica is ordered, has no pods yet, or starts on its node."""
    state = variant.state
    ordered = variant.replicas > state.current or state.living_replicas < state.current
    return ordered or any(pod.node is not None and not pod.ready for pod in state.living)


def _limited(trace: Sequence[Step]) -> bool:
    return any(step.stage in _POOL_STAGES and isinstance(step.detail, Limit) for step in trace)
