"""Stage `notice`: what others did to the workloads, and whether decisions are carried out at all.

Another manager may have taken replicas back, Kubernetes may refuse to create pods, the user may have paused the
service. In mode `Recommend` pertoken writes nothing, so nobody is in conflict with it: an autoscaler that scales the
workload may be the one that carries the recommendation out.
"""

from __future__ import annotations

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.frozen import replace
from pertoken.planner.memory import VariantMemory
from pertoken.planner.proposal import Proposal, Stance
from pertoken.planner.service_state import ServiceState, VariantState

OWN_MANAGER_PREFIX = "pertoken"


def notice(proposal: Proposal) -> Proposal:
    """The proposal with what was noticed in the variants' memories, and the service's stance."""
    state = proposal.state
    variants = [_refused(_with_memory(v, _managed(v, state)), state) for v in state.variants]
    if any(noticed is not before for noticed, before in zip(variants, state.variants, strict=True)):
        state = state.with_variants(variants)
        proposal = proposal.with_state(state)
    return replace(proposal, stance=_stance(state))


def _with_memory(variant: VariantState, memory: VariantMemory) -> VariantState:
    return variant if memory is variant.memory else replace(variant, memory=memory)


def _stance(state: ServiceState) -> Stance:
    inactive = _inactive(state)
    off = state.spec.mode is Mode.OFF
    for variant in state.variants:
        if variant.workload.foreign_autoscaler:
            words = f"{variant.workload.foreign_autoscaler} scales {variant.workload.ref}"
            if state.spec.mode is Mode.RECOMMEND:
                return Stance(inactive, off, conflict_words=words)
            return Stance(inactive, off, Reason.FOREIGN_AUTOSCALER, words)
    if state.spec.mode is Mode.RECOMMEND:
        return Stance(inactive, off)
    for variant in state.variants:
        if len(variant.memory.reverts) >= state.tuning.rails.reverts:
            manager = variant.workload.replicas_manager or "another manager"
            words = f"{manager} took back {len(variant.memory.reverts)} changes of {variant.workload.ref} in 10 minutes"
            return Stance(inactive, off, Reason.CONFLICTING_MANAGER, words, taken_back=True)
    if state.now < state.memory.conflicted_until:
        return Stance(inactive, off, Reason.CONFLICTING_MANAGER, state.memory.conflict, taken_back=True)
    return Stance(inactive, off)


def _inactive(state: ServiceState) -> Reason | None:
    """Why decisions are not carried out, None if they are."""
    if state.spec.mode is Mode.OFF:
        return Reason.SWITCHED_OFF
    if state.spec.paused:
        return Reason.PAUSED
    if state.frozen is not None:
        return Reason.FROZEN
    return Reason.RECOMMENDING if state.spec.mode is Mode.RECOMMEND else None


def _managed(variant: VariantState, state: ServiceState) -> VariantMemory:
    """Compare what was commanded with what is there: somebody else may have taken it back."""
    memory, workload, now = variant.memory, variant.workload, state.now
    foreign = workload.replicas_manager
    is_ours = foreign.startswith(OWN_MANAGER_PREFIX)
    reverts = tuple(at for at in memory.reverts if now - at <= state.tuning.rails.revert_seconds)
    ours = memory.ours or is_ours
    if (reverts, ours) != (memory.reverts, memory.ours):
        memory = replace(memory, reverts=reverts, ours=ours)
    command = memory.command
    if command is None:
        return memory
    if workload.replicas == command.desired:
        return memory if command.applied else replace(memory, command=replace(command, applied=True))
    # Without having been seen, a command may simply have failed; a changed manager tells that it did not.
    taken_back = command.applied or (
        bool(foreign)
        and (memory.ours or foreign != command.manager)
        and workload.resource_version != command.resource_version
    )
    if taken_back and foreign and not is_ours:
        return replace(memory, command=None, ours=True, reverts=(*reverts, now))
    return replace(memory, command=None) if command.applied else memory


def _refused(variant: VariantState, state: ServiceState) -> VariantState:
    """What is known of replicas that nobody creates: in the words of their controller, or by their pods.

    A Deployment says so in a condition. Other kinds only have events; for them it counts that pods are missing for
    long while no other pod is starting or ending, for which a controller may wait.
    """
    failure = variant.workload.failure
    if failure and variant.living_replicas < variant.current:
        return replace(variant, refusal=failure)
    waits = any(not pod.ended and not pod.ready for pod in variant.view.pods)
    missing = variant.current - variant.living_replicas
    if missing <= 0 or waits:
        there = variant.memory.absent_since is None
        return variant if there else replace(variant, memory=replace(variant.memory, absent_since=None))
    now = state.now
    since = now if variant.memory.absent_since is None else variant.memory.absent_since
    variant = replace(variant, memory=replace(variant.memory, absent_since=since))
    if now - since < state.tuning.running.absent_seconds:
        return variant
    words = f"{missing} have no pod for {now - since:.0f} s; the events of {variant.workload.ref} may tell why"
    return replace(variant, refusal=words)
