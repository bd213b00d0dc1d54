"""Stage `remember`: what the next cycle must know of this one's decision."""

from __future__ import annotations

from typing import Any

from pertoken.frozen import replace
from pertoken.planner.hpa_rules import remember_change, remember_recommendation
from pertoken.planner.memory import Command, ServiceMemory, Utilization, VariantMemory
from pertoken.planner.settlement import SettledVariant, Settlement


def remember(settlement: Settlement) -> ServiceMemory:
    """The service's memory after this cycle."""
    state, stance = settlement.state, settlement.proposal.stance
    memory = state.memory
    variants = {variant.name: _of_variant(settlement, variant) for variant in settlement.variants}
    # What is known of a variant whose target is gone for a moment is kept.
    kept = {name: memory.variants[name] for name, _ in state.missing if name in memory.variants}
    memory = replace(memory, variants={**kept, **variants}, utilizations=_utilizations(settlement))
    if stance.taken_back and state.now >= memory.conflicted_until:
        until = state.now + state.tuning.rails.hands_off_seconds
        memory = replace(memory, conflicted_until=until, conflict=stance.conflict_words)
    return memory


def _utilizations(settlement: Settlement) -> tuple[Utilization, ...]:
    state, newest = settlement.state, settlement.proposal.sizing.utilization
    horizon = state.tuning.estimate.utilization_kept
    kept = tuple(past for past in state.memory.utilizations if state.now - past.at <= horizon)
    if newest is None or (kept and state.now - kept[-1].at < state.settings.cycle_seconds / 2):
        return kept
    return (*kept, Utilization(state.now, float(f"{newest:.4g}")))


def _of_variant(settlement: Settlement, variant: SettledVariant) -> VariantMemory:
    state, proposal, current = settlement.state, settlement.proposal, variant.state.current
    memory, behavior, now = variant.state.memory, proposal.behavior, state.now
    changed: dict[str, Any] = {}
    if not proposal.assessment.holds:
        sized = variant.proposal.sized
        changed["recommendations"] = remember_recommendation(memory.recommendations, sized, behavior, now)
        changed["delivered"] = proposal.sizing.delivered.get(variant.name, memory.delivered)
    delta = variant.replicas - current if settlement.acts else 0
    changed["changes"] = remember_change(memory.changes, delta, behavior, now)
    if delta:
        changed["command"] = _command(variant, now)
    if delta > 0 and variant.proposal.late:
        changed["fed_back_at"] = now
    if len(memory.reverts) >= state.tuning.rails.reverts and now >= state.memory.conflicted_until:
        changed["reverts"] = ()
    if settlement.acts:
        changed["roll"] = variant.roll.roll
    if settlement.acts and variant.roll.blocked is not None:
        until = now + state.tuning.cap.block_intervals * state.settings.cap_interval_seconds
        changed |= {"blocked_cap": variant.roll.blocked, "blocked_until": until}
        changed |= {"blocked_chunk": variant.roll.blocked_chunk}
    return replace(memory, **changed)


def _command(variant: SettledVariant, now: float) -> Command:
    workload = variant.state.workload
    return Command(now, workload.replicas, variant.replicas, workload.replicas_manager, workload.resource_version)
